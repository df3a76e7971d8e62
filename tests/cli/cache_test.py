"""The cache command: looks, checks, merges, and says what is wrong in one line."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest

from tests.given_flags import given
from tooltrain.cli import cache
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError

TOOL = Tool("find", "", {"type": "object", "properties": {"n": {"type": "integer"}}})


def _write(path: pathlib.Path, *numbers: int, response: str = "x") -> pathlib.Path:
    with CacheWriter.create(path) as writer:
        writer.add_tool(TOOL)
        writer.add_tool(Tool("idle", "", {}))
        for n in numbers:
            writer.add_entry("find", {"n": n}, {"found": n, "name": response})
        writer.add_meta("source", "here")
    return path


def _run(*argv: object, **flags: object) -> None:
    with given(cache.FLAGS, **flags):
        cache.cache(["cache", *map(str, argv)])


def test_inspect_shows_tools_sizes_and_a_sample(tmp_path, capsys):
    path = _write(tmp_path / "c.sqlite", 1, 2, 3)
    _run("inspect", path)
    out = capsys.readouterr().out
    lines = [line.split() for line in out.splitlines()]
    assert f"{path}: 3 entries of 2 tools" in out
    assert ["digest", Cache.open(path).digest] in lines
    assert ["source", "here"] in lines
    assert ["find", "3"] in [line[:2] for line in lines]
    assert ["idle", "0"] in [line[:2] for line in lines]
    assert 'find {"n": 1}\n  -> {"found": 1, "name": "x"}' in out


def test_inspect_of_one_tool_shows_as_many_entries_as_wanted(tmp_path, capsys):
    path = _write(tmp_path / "c.sqlite", *range(10))
    _run("inspect", path, tool="find", entries=2)
    out = capsys.readouterr().out
    assert [n for n in range(10) if f'find {{"n": {n}}}' in out] == [0, 5]
    assert "idle" not in out
    with pytest.raises(UserError, match="has no tool 'fnd'; it has: find, idle"):
        _run("inspect", path, tool="fnd")


def test_booking_can_be_inspected_and_verified(booking_cache, capsys):
    _run("inspect", booking_cache)
    _run("verify", booking_cache)
    out = capsys.readouterr().out
    assert "3,877 entries of 40 tools" in out
    assert "1,000 samples, 108 edges" in out
    assert "40 tools, 3,877 entries, 1,000 samples" in out
    assert ": whole" in out


def test_a_faulty_file_is_named_and_the_others_are_looked_at(tmp_path, capsys):
    good, bad = _write(tmp_path / "good", 1), _write(tmp_path / "bad", 1)
    data = bad.read_bytes()
    at = data.index(b'{"n":1}')
    bad.write_bytes(data[:at] + b'{"n":2}' + data[at + 7 :])
    with pytest.raises(UserError, match="1 of 2 files are faulty"):
        _run("verify", bad, good)
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{bad}: ")
    assert out[0].endswith(" faults")
    assert out[-1].endswith(": whole")


def test_merge_writes_a_new_file_only(tmp_path, capsys):
    a, b = _write(tmp_path / "a", 1, 2), _write(tmp_path / "b", 2, 3)
    _run("merge", a, b, out=str(tmp_path / "m"))
    assert len(Cache.open(tmp_path / "m")) == 3
    assert "3 entries of 2 tools" in capsys.readouterr().out
    before = (tmp_path / "m").read_bytes()
    with pytest.raises(UserError, match="m is there already"):
        _run("merge", a, b, out=str(tmp_path / "m"))
    assert (tmp_path / "m").read_bytes() == before


def test_merge_says_how_conflicts_were_resolved(tmp_path, capsys):
    a, b = _write(tmp_path / "a", 1), _write(tmp_path / "b", 1, response="y")
    with pytest.raises(UserError, match="--conflict=first or --conflict=last"):
        _run("merge", a, b, out=str(tmp_path / "m"))
    _run("merge", a, b, out=str(tmp_path / "m"), conflict="last")
    assert "1 were answered differently: the last answer is kept" in capsys.readouterr().out
    assert Cache.open(tmp_path / "m").lookup("find", '{"n":1}')[1]["name"] == "y"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "unknown command none; allowed: inspect, verify, merge"),
        (["look"], "unknown command look; allowed: inspect, verify, merge"),
        (["inspect"], "inspect takes one file, got 0"),
        (["verify"], "verify takes one file or more, got none"),
        (["merge", "a", "b"], "merge takes --out=FILE and two files or more"),
        (["verify", "/nowhere"], "no cache at /nowhere"),
    ],
)
def test_wrong_use_is_one_clear_error(argv, message):
    with pytest.raises(UserError, match=message):
        _run(*argv)


def test_the_command_line_fails_with_one_line(tmp_path):
    command = [sys.executable, "-m", "tooltrain.cli.cache"]
    root = pathlib.Path(__file__).resolve().parents[2]
    for argv, message in (
        (["inspect", str(tmp_path)], "error: no cache at "),
        (["inspect", "--entries=x"], "error: flag --entries=x"),
    ):
        done = subprocess.run([*command, *argv], cwd=root, capture_output=True, text=True)
        assert done.returncode == 1
        assert done.stderr.startswith(message)
        assert done.stderr.count("\n") == 1
