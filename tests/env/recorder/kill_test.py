"""kill -9 at random moments: what was acknowledged is kept, and nothing is stored twice."""

from __future__ import annotations

import collections
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys

import pytest

from tooltrain.env.verify import verify

_ROOT = pathlib.Path(__file__).resolve().parents[3]

# Records; each request made is a line of ASKED, and each commit that returned is one of ACKED.
_RECORDER = """
import os, sys, threading
from tooltrain.env.recorder.callables import Callables, described
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan
from tooltrain.env.recorder.run import record
from tooltrain.env.recording import Recording

directory, concurrency = sys.argv[1], int(sys.argv[2])
asked = os.open(f"{directory}/asked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
acked = os.open(f"{directory}/acked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def page(number: int) -> dict:
    os.write(asked, b"page %d\\n" % number)
    return {"ids": [number * 100 + i for i in range(100)], "text": "page " * 20}

pause = threading.Event()  # a tool takes its time: the kills find the recorder at work

def item(id: int) -> dict:
    pause.wait(0.0005)
    os.write(asked, b"item %d\\n" % id)
    return {"id": id, "square": id * id, "text": f"item {id} " * (id % 50)}

class Acknowledging(Recording):
    def add(self, tool, arguments, response):
        self.waiting.append(f"{tool} {next(iter(arguments.values()))}\\n")
        return super().add(tool, arguments, response)

    def commit(self):
        super().commit()
        self.acknowledge()

    def acknowledge(self):
        os.write(acked, "".join(self.waiting).encode())
        self.waiting.clear()

Acknowledging.waiting = []
plan = Plan((ToolPlan("page", {"number": Range(0, 49)}),
             ToolPlan("item", {"id": Field("page", ("ids", "[]"))}, max_requests=4000)))
with Acknowledging.open(f"{directory}/recording") as recording:
    tools = Callables([described(page), described(item)])
    limits = Limits(concurrency=concurrency)
    report = record(tools, plan, recording, limits, progress=False)
    recording.seal(f"{directory}/cache.sqlite")
    assert report.complete
"""


def _lines(path: pathlib.Path) -> collections.Counter[str]:
    return collections.Counter(path.read_text().splitlines() if path.exists() else ())


def _start(directory: pathlib.Path, concurrency: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _RECORDER, str(directory), str(concurrency)]
    return subprocess.Popen(command, cwd=_ROOT)


def _stored(directory: pathlib.Path) -> collections.Counter[str]:
    """Every entry on the disk, read past the recorder's own code."""
    found: collections.Counter[str] = collections.Counter()
    path = directory / "recording" / "recording.sqlite"
    if path.exists():
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone():
                for tool, key in db.execute("SELECT tool, key FROM entries"):
                    found[f"{tool} {key.rstrip('}').rpartition(':')[2]}"] += 1
        db.close()
    return found


def _kill_at_random(tmp_path: pathlib.Path, kills: int, rng: random.Random) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    assert _start(whole, 1).wait() == 0
    requests = len(_lines(whole / "asked"))
    assert requests == 50 + 4000
    directory, killed = tmp_path / "killed", 0
    directory.mkdir()
    acknowledged_before: collections.Counter[str] = collections.Counter()
    asked_before: collections.Counter[str] = collections.Counter()
    # A life gets at most its share of the work, so that none ends before it is killed.
    while killed < kills:
        process = _start(directory, rng.choice((1, 4)))
        at = rng.random() * 0.8 * requests / kills
        while process.poll() is None:
            done = sum((_lines(directory / "asked") - asked_before).values())
            if done >= at:
                process.send_signal(signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL
        killed += 1
        stored, acknowledged = _stored(directory), _lines(directory / "acked")
        assert set(acknowledged) <= set(stored)  # nothing acknowledged is lost
        assert set(stored.values()) <= {1}  # nothing is stored twice
        asked = _lines(directory / "asked")
        again = set(asked - asked_before) & set(acknowledged_before)
        assert again == set()  # what is kept is not asked again
        acknowledged_before, asked_before = acknowledged, asked
        # A life may end before the file has its tables.
        if stored:
            assert verify(directory / "recording" / "recording.sqlite").faults == []
    assert _start(directory, 1).wait() == 0
    assert verify(directory / "cache.sqlite").faults == []
    digests = []
    for cache in (whole, directory):
        with sqlite3.connect(cache / "cache.sqlite") as db:
            digests += db.execute("SELECT value FROM meta WHERE name = 'digest'").fetchall()
    assert digests[0] == digests[1]


def test_three_kills_lose_nothing_and_store_nothing_twice(tmp_path):
    _kill_at_random(tmp_path, 3, random.Random(0))


@pytest.mark.slow
def test_thirty_kills_lose_nothing_and_store_nothing_twice(tmp_path):
    _kill_at_random(tmp_path, 30, random.Random(1))
