"""A cache is whole or not there, and anything else is one clear error."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from tooltrain.env.cache import Cache, CacheError, CacheWriter, Edge, Sample, SampleCall
from tooltrain.env.schema import Tool

TOOL = Tool(
    "find",
    "Finds.",
    {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "find(it)",
)
SAMPLE = Sample(
    "Hotels-0",
    0,
    "Hotels",
    "Find \N{SNOWMAN}",
    (
        SampleCall("find", {"name": "a"}, {"id": 1}),
        SampleCall("find", {"name": 1}, [None, 1.5], (("name", 0, "id"),)),
    ),
    True,
)
EDGE = Edge("find", ("[]", "id"), "find", "name", 2)


def _write(path: pathlib.Path, names: str = "ab", **meta: str) -> None:
    with CacheWriter.create(path) as writer:
        writer.add_tool(TOOL)
        for name in names:
            writer.add_entry("find", {"name": name}, {"found": name})
        writer.add_sample(SAMPLE)
        writer.add_edges([EDGE])
        for key, value in meta.items():
            writer.add_meta(key, value)


def test_what_was_written_is_read(tmp_path):
    path = tmp_path / "a?b#c d.sqlite"  # characters that an URI would take for its own
    _write(path, source="here")
    cache = Cache.open(path)
    assert cache.tools() == {"find": TOOL}
    assert cache.lookup("find", '{"name":"a"}') == (True, {"found": "a"})
    assert cache.lookup("find", '{"name":"z"}') == (False, None)
    assert list(cache.entries("find")) == [({"name": n}, {"found": n}) for n in "ab"]
    assert len(cache) == 2
    assert list(cache.samples()) == [SAMPLE]
    assert cache.edges() == (EDGE,)
    assert cache.meta("source") == "here"
    with pytest.raises(KeyError):
        cache.meta("other")


def test_a_null_response_is_recorded(tmp_path):
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(TOOL)
        writer.add_entry("find", {"name": "a"}, None)
    assert Cache.open(tmp_path / "c.sqlite").lookup("find", '{"name":"a"}') == (True, None)


def test_one_request_is_recorded_once(tmp_path):
    with pytest.raises(sqlite3.IntegrityError):
        _write(tmp_path / "c.sqlite", "aa")
    assert list(tmp_path.iterdir()) == []


def test_the_digest_names_the_content_not_the_order(tmp_path):
    for file, names in (("1", "ab"), ("2", "ba"), ("3", "ac")):
        _write(tmp_path / file, names)
    one, two, three = (Cache.open(tmp_path / file).digest for file in "123")
    assert one == two != three


def test_an_error_while_writing_leaves_the_old_cache(tmp_path):
    path = tmp_path / "c.sqlite"
    _write(path)
    before = path.read_bytes()
    with pytest.raises(sqlite3.IntegrityError):
        _write(path, "aa")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


_KILLED = """
import sys
from tooltrain.env.cache import CacheWriter
from tooltrain.env.schema import Tool
with CacheWriter.create(sys.argv[1]) as writer:
    writer.add_tool(Tool("find", "", {}))
    print("writing", flush=True)
    i = 0
    while True:
        i += 1
        writer.add_entry("find", {"i": i}, [i] * 1000)
"""


def test_a_killed_writer_leaves_the_old_cache_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "c.sqlite"
    _write(path)
    before = path.read_bytes()
    command = [sys.executable, "-c", _KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    _write(path, "xyz")
    assert list(tmp_path.iterdir()) == [path]
    assert len(Cache.open(path)) == 3


def test_writers_at_once_do_not_mix(tmp_path):
    path = tmp_path / "c.sqlite"
    other = tmp_path / f"c.sqlite.{os.getppid()}.partial"  # as of a writer that lives
    other.write_bytes(b"half")
    _write(path)
    assert other.read_bytes() == b"half"
    assert len(Cache.open(path)) == 2


def _cut(path: pathlib.Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "no cache at .*record one with"),
        (lambda path: path.write_bytes(b""), "is not a tooltrain cache .no SQLite header"),
        (lambda path: path.write_bytes(b"PK" * 500), "is not a tooltrain cache .no SQLite header"),
        (lambda path: _cut(path, 50), "is not a tooltrain cache .no SQLite header"),
        (lambda path: _cut(path, 5000), "is cut off: 5000 bytes, its header says"),
        (lambda path: _cut(path, path.stat().st_size - 1), "is cut off"),
    ],
)
def test_a_file_that_is_no_whole_cache_is_one_clear_error(tmp_path, spoil, message):
    path = tmp_path / "c.sqlite"
    _write(path)
    spoil(path)
    left = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(CacheError, match=message) as error:
        Cache.open(path)
    assert "\n" not in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == left


def test_another_database_is_no_cache(tmp_path):
    with sqlite3.connect(tmp_path / "c.sqlite") as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    with pytest.raises(CacheError, match=r"no such table: meta.*delete .* and record it again"):
        Cache.open(tmp_path / "c.sqlite")


def test_another_format_is_an_error_that_names_both(tmp_path):
    path = tmp_path / "c.sqlite"
    _write(path)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE name = 'format_version'")
    db.close()
    with pytest.raises(CacheError, match="has format 99, this version reads 1 and 2"):
        Cache.open(path)


def test_a_directory_is_no_cache(tmp_path):
    with pytest.raises(CacheError, match="no cache at"):
        Cache.open(tmp_path)


def test_a_cache_can_be_read_where_nothing_can_be_written(tmp_path):
    _write(tmp_path / "c.sqlite")
    locked = tmp_path / "locked"
    locked.mkdir()
    shutil.copy(tmp_path / "c.sqlite", locked / "c.sqlite")
    locked.chmod(0o555)
    try:
        assert len(Cache.open(locked / "c.sqlite")) == 2
        assert [p.name for p in locked.iterdir()] == ["c.sqlite"]
    finally:
        locked.chmod(0o755)
