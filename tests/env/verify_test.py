"""Verify passes what is whole and names whatever was changed."""

from __future__ import annotations

import random
import sqlite3

import pytest
import zstandard

from tooltrain.env import sealing
from tooltrain.env.cache import CacheError, CacheWriter, Sample, SampleCall
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
from tooltrain.env.verify import verify

TOOL = Tool(
    "find",
    "",
    {"type": "object", "properties": {"n": {"type": "integer"}, "b": {"type": "boolean"}}},
)
SAMPLE = Sample("s-0", 0, "d", "q", (SampleCall("find", {"n": 1}, {"found": 1}),))


@pytest.fixture
def path(tmp_path):
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(TOOL)
        for n in range(100):
            writer.add_entry("find", {"n": n}, {"found": n, "name": f"the number {n}"})
        writer.add_sample(SAMPLE)
    return tmp_path / "c.sqlite"


def test_a_cache_is_whole(path):
    found = verify(path)
    assert (found.tools, found.entries, found.samples) == (1, 100, 1)
    assert found.faults == []
    with sqlite3.connect(path) as db:
        assert found.digest == dict(db.execute("SELECT * FROM meta"))["digest"]
    db.close()


def test_a_recording_is_whole_and_has_the_digest_that_it_will_be_sealed_with(tmp_path):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        for n in (2, 1):
            recording.add("find", {"n": n}, n)
        recording.commit()
        found = verify(recording.path)  # while it is recorded
        assert (found.entries, found.faults) == (2, [])
        assert recording.seal(tmp_path / "c.sqlite").digest == found.digest


def test_what_a_recorder_adds_meanwhile_is_not_looked_at(tmp_path, monkeypatch):
    with Recording.open(tmp_path) as recording:
        recording.add_tool(TOOL)
        recording.add("find", {"n": 1}, 1)
        recording.commit()
        row = sealing.Digest.tool

        def add_more(digest: sealing.Digest, name: str, parameters: str) -> None:
            recording.add_tool(Tool("seek", "", TOOL.parameters))
            for tool in ("find", "seek"):
                recording.add(tool, {"n": 2}, 2)
            recording.commit()
            row(digest, name, parameters)

        monkeypatch.setattr(sealing.Digest, "tool", add_more)
        found = verify(recording.path)
        assert (found.tools, found.entries, found.faults) == (1, 1, [])
        monkeypatch.undo()
        assert verify(recording.path).entries == 3


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("UPDATE entries SET response = x'00' WHERE key = '{\"n\":7}'", 'find {"n":7}: '),
        ("UPDATE entries SET key = '{\"n\": 7}' WHERE key = '{\"n\":7}'", 'is {"n":7}'),
        ("UPDATE entries SET arguments = '{\"n\":8}' WHERE key = '{\"n\":7}'", 'is {"n":8}'),
        ("UPDATE entries SET arguments = '8' WHERE key = '{\"n\":7}'", 'find {"n":7}: '),
        ("UPDATE entries SET tool = 'fnd' WHERE key = '{\"n\":7}'", "not in the cache: fnd"),
        ("DELETE FROM entries WHERE key = '{\"n\":7}'", "the digest says"),
        ("UPDATE samples SET query = 'other'", "the digest says"),
        ("UPDATE samples SET calls = x'00'", "sample s-0"),
        ("UPDATE tools SET parameters = '{}'", "the digest says"),
        ("UPDATE tools SET parameters = '{'", "parameters of find"),
    ],
)
def test_a_change_is_named(path, change, fault):
    with sqlite3.connect(path) as db:
        assert db.execute(change).rowcount == 1
    db.close()
    found = verify(path)
    assert any(fault in line for line in found.faults), found.faults


def test_another_response_in_a_blob_that_can_be_read_is_found_by_the_digest(path):
    with sqlite3.connect(path) as db:
        blob = zstandard.ZstdCompressor().compress(b'{"found": 8}')
        db.execute("UPDATE entries SET response = ? WHERE key = '{\"n\":7}'", (blob,))
    db.close()
    (fault,) = verify(path).faults
    assert fault.startswith("the digest says")


def test_faults_are_counted_and_the_first_listed(path):
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET response = x'00'")
    db.close()
    found = verify(path)
    assert found.num_faults == 101
    assert len(found.faults) == 20


def test_bytes_overwritten_anywhere_are_a_fault_or_change_nothing(path):
    """No exception but CacheError; what passes has the same entries."""
    whole = path.read_bytes()
    before = verify(path)
    rng = random.Random(0)
    found_faulty = 0
    for _ in range(60):
        at = rng.randrange(100, len(whole) - 64)
        path.write_bytes(whole[:at] + rng.randbytes(64) + whole[at + 64 :])
        try:
            after = verify(path)
        except CacheError:
            found_faulty += 1
            continue
        found_faulty += bool(after.faults)
        if not after.faults:
            assert (after.entries, after.digest) == (before.entries, before.digest)
    assert found_faulty > 10  # the rest lies in the free space of pages, most of so small a file


def test_what_is_no_cache_is_one_clear_error(tmp_path):
    (tmp_path / "x").write_bytes(b"PK" * 99)
    for name in ("x", "absent"):
        with pytest.raises(CacheError, match=r"no SQLite header|no cache at"):
            verify(tmp_path / name)
