"""A recording loses nothing acknowledged, stores nothing twice, and seals to one digest."""

from __future__ import annotations

import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.env.cache import Cache, CacheError, CacheWriter, Edge, Sample, SampleCall
from tooltrain.env.recording import COMMIT_EVERY_ENTRIES, Recording
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError

TOOL = Tool(
    "find",
    "Finds.",
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "find(it)",
)
OTHER = Tool("square", "", {"type": "object", "properties": {"x": {"type": "integer"}}})


def _key(name: str) -> str:
    return TOOL.canonical({"name": name})


def test_what_was_recorded_is_there_after_reopening(tmp_path):
    with Recording.open(tmp_path / "run") as recording:
        recording.add_tool(TOOL)
        assert recording.add("find", {"name": "a"}, {"id": 1})
        assert not recording.add("find", {"name": "a"}, {"id": 2})
        recording.set_meta("source", "here")
    with Recording.open(tmp_path / "run") as recording:
        assert recording.tools == {"find": TOOL}
        assert recording.has("find", _key("a"))
        assert not recording.has("find", _key("b"))
        assert list(recording.entries("find")) == [({"name": "a"}, {"id": 1})]
        assert (recording.count("find"), recording.count("square"), recording.count()) == (1, 0, 1)
        assert recording.meta("source") == "here"
        with pytest.raises(KeyError):
            recording.meta("other")


def test_a_sealed_recording_is_a_cache_of_the_same_digest_as_one_written_at_once(tmp_path):
    sample = Sample("s-0", 0, "d", "q", (SampleCall("find", {"name": "a"}, 1),))
    edge = Edge("find", ("id",), "find", "name", 3)
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        for name in "ba":
            recording.add("find", {"name": name}, name)
        recording.add_sample(sample)
        recording.add_edges([edge])
        recording.set_meta("source", "here")
        sealed = recording.seal(tmp_path / "sealed.sqlite")
        assert recording.add("find", {"name": "c"}, "c")  # it goes on
    with CacheWriter.create(tmp_path / "written.sqlite") as writer:
        writer.add_tool(TOOL)
        for name in "ab":
            writer.add_entry("find", {"name": name}, name)
        writer.add_sample(sample)
        writer.add_edges([edge])
        writer.add_meta("source", "here")
    assert sealed.path.read_bytes() == (tmp_path / "written.sqlite").read_bytes()
    assert Cache.open(tmp_path / "written.sqlite").digest == sealed.digest
    assert list(sealed.samples()) == [sample]
    assert sealed.edges() == (edge,)


_names = st.lists(st.text(st.characters(codec="utf-8"), max_size=8), unique=True, max_size=60)


@settings(max_examples=20, deadline=None)
@given(_names, st.randoms(use_true_random=False))
def test_the_sealed_file_does_not_tell_the_order(tmp_path_factory, names, rng):
    files = []
    for _ in range(2):
        directory = tmp_path_factory.mktemp("order")
        rng.shuffle(names)
        with Recording.open(directory) as recording:
            recording.add_tool(OTHER)
            recording.add_tool(TOOL)
            for name in names:
                recording.add("find", {"name": name}, {"found": name * 9, "who": "someone"})
            recording.seal(directory / "c.sqlite")
        files.append((directory / "c.sqlite").read_bytes())
    assert files[0] == files[1]


def test_entries_can_be_added_while_entries_are_read(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        for i in range(600):
            recording.add("find", {"name": f"{i:04}"}, i)
        seen = []
        for arguments, _ in recording.entries("find"):
            seen.append(arguments["name"])
            recording.add("find", {"name": f"a{arguments['name']}"}, 0)
            if len(seen) == 1000:
                break
        assert seen[:600] == [f"{i:04}" for i in range(600)]
        assert seen[600:] == [f"a{i:04}" for i in range(400)]


def test_entries_are_committed_without_asking_after_some_number(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        for i in range(COMMIT_EVERY_ENTRIES):
            recording.add("find", {"name": str(i)}, i)
        with sqlite3.connect(recording.path) as db:  # as any reader sees it
            (count,) = db.execute("SELECT count(*) FROM entries").fetchone()
        db.close()
    assert count == COMMIT_EVERY_ENTRIES


def test_many_threads_record_each_request_once(tmp_path):
    added = []
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)

        def work() -> None:
            names = list(range(200))
            random.shuffle(names)
            added.extend(recording.add("find", {"name": str(i)}, i) for i in names)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recording.count() == 200
    assert (sum(added), len(added)) == (200, 800)


def test_a_second_recorder_is_one_clear_error(tmp_path):
    with Recording.open(tmp_path), pytest.raises(UserError, match="is being recorded by process"):
        Recording.open(tmp_path)
    Recording.open(tmp_path).close()


def test_a_tool_with_other_parameters_is_an_error_and_new_words_are_taken(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        words = Tool("find", "Finds well.", TOOL.parameters, "find!")
        recording.add_tool(words)
        with pytest.raises(UserError, match="tool find with other parameters"):
            recording.add_tool(Tool("find", "", {}))
    with Recording.open(tmp_path) as recording:
        assert recording.tools == {"find": words}


@pytest.mark.parametrize("response", [float("nan"), {"a": [float("inf")]}, {1: 2}, {"a": {3}}])
def test_what_json_cannot_hold_is_an_error_and_not_recorded(tmp_path, response):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        with pytest.raises(ValueError, match=r"not JSON compliant|JSON has no|a key must be"):
            recording.add("find", {"name": "a"}, response)
        assert recording.count() == 0


def test_other_files_are_left_alone(tmp_path):
    with CacheWriter.create(tmp_path / "c.sqlite"):
        pass
    (tmp_path / "text.txt").write_text("three years of work" * 99)
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    for name, message in (
        ("c.sqlite", "is a sealed cache, not a recording"),
        ("text.txt", "is not a recording .file is not a database"),
        ("other.db", "a database of others"),
    ):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(CacheError, match=message):
            Recording.open(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_a_recording_is_no_cache_and_is_not_to_be_deleted(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        path = recording.path
    with pytest.raises(CacheError, match="is a recording, not a cache") as error:
        Cache.open(path)
    assert "delete" not in str(error.value)


# Records i = 0, 1, … and says what `commit` acknowledged.
_KILLED = """
import sys
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
tool = Tool("square", "", {"type": "object", "properties": {"x": {"type": "integer"}}})
with Recording.open(sys.argv[1]) as recording:
    recording.add_tool(tool)
    i = recording.count()
    print(i, flush=True)
    while True:
        recording.add("square", {"x": i}, [i * i] * 50)
        i += 1
        if i % 7 == 0:
            recording.commit()
            print(i, flush=True)
"""


def _kill_at_random_moments(directory: pathlib.Path, times: int) -> None:
    rng = random.Random(0)
    acknowledged = 0
    for _ in range(times):
        command = [sys.executable, "-c", _KILLED, str(directory)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert int(process.stdout.readline()) >= acknowledged
            time.sleep(rng.uniform(0, 0.1))  # the moment is what is tested
            process.send_signal(signal.SIGKILL)
            lines = process.stdout.read().split("\n")
            acknowledged = max([acknowledged, *map(int, filter(None, lines[:-1]))])
        with Recording.open(directory) as recording:
            entries = list(recording.entries("square"))
            numbers = sorted(arguments["x"] for arguments, _ in entries)
            assert numbers == list(range(len(numbers)))
            assert len(numbers) >= acknowledged
            assert all(response == [a["x"] ** 2] * 50 for a, response in entries)
            cache = recording.seal(directory / "c.sqlite")
        assert len(cache) == len(numbers)
    assert acknowledged > 0


def test_nothing_acknowledged_is_lost_by_a_kill(tmp_path):
    _kill_at_random_moments(tmp_path, 3)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_30_kills(tmp_path):
    _kill_at_random_moments(tmp_path, 30)


def test_the_sealed_cache_can_be_read_from_all_threads(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        for i in range(300):
            recording.add("find", {"name": str(i)}, {"id": i})
        cache = recording.seal(tmp_path / "c.sqlite")
    wrong = []

    def work() -> None:
        for i in range(300):
            if cache.lookup("find", _key(str(i))) != (True, {"id": i}):
                wrong.append(i)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    cache.close()


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters())
    | st.text(st.characters(categories=["Cs"]), max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(responses=st.lists(_json, min_size=1, max_size=20))
def test_responses_are_read_as_they_were_given(tmp_path_factory, responses):
    directory = tmp_path_factory.mktemp("exact")
    with Recording.open(directory) as recording:
        recording.add_tool(TOOL)
        for i, response in enumerate(responses):
            recording.add("find", {"name": str(i)}, response)
        cache = recording.seal(directory / "c.sqlite")
    for i, response in enumerate(responses):
        found, read = cache.lookup("find", _key(str(i)))
        assert found
        assert json.dumps(read) == json.dumps(response)
