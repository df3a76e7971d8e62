"""The record command: once is enough, and nothing that stands there is ever written over."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from absl.testing import flagsaver

from tooltrain.cli import record
from tooltrain.env.cache import CacheWriter
from tooltrain.errors import UserError


def _record(config, workdir, **flags: str) -> None:
    with flagsaver.flagsaver(**flags):
        record.record(config, str(workdir))


def _files(directory: pathlib.Path) -> dict[pathlib.Path, str]:
    return {
        p: hashlib.sha256(p.read_bytes()).hexdigest() for p in directory.rglob("*") if p.is_file()
    }


def test_recording_again_changes_nothing_and_says_so(
    booking_cache, booking_wheel, booking_config, capsys
):
    before = booking_cache.stat()
    _record(booking_config, booking_cache.parent.parent, wheel="/nowhere.whl")
    assert booking_cache.stat() == before
    assert "is there already: 3,877 entries, digest " in capsys.readouterr().out


def test_an_unknown_source_is_one_clear_error(booking_config, tmp_path):
    with pytest.raises(UserError, match="unknown --source=weather; allowed: complexfuncbench"):
        _record(booking_config, tmp_path, source="weather")
    assert list(tmp_path.iterdir()) == []


def test_another_wheel_is_one_clear_error(booking_config, tmp_path):
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"has sha256 .* expected"):
        _record(booking_config, tmp_path / "work", wheel=str(wheel))
    assert [p.name for p in tmp_path.iterdir()] == ["w.whl"]


def test_a_truncated_cache_is_one_clear_error_and_left_alone(
    booking_cache, booking_config, booking_wheel, tmp_path
):
    path = tmp_path / "cache" / "booking.sqlite"
    path.parent.mkdir()
    shutil.copy(booking_cache, path)
    with path.open("r+b") as file:
        file.truncate(100_000)
    before = _files(tmp_path)
    with pytest.raises(UserError, match=r"is cut off: 100000 bytes.*delete .* and record it again"):
        _record(booking_config, tmp_path, wheel=str(booking_wheel))
    assert _files(tmp_path) == before


def test_a_file_that_is_no_cache_is_left_alone(booking_config, tmp_path):
    booking_config.cache = str(tmp_path / "thesis.doc")
    (tmp_path / "thesis.doc").write_bytes(b"three years of work")
    with pytest.raises(UserError, match=r"thesis.doc is not a tooltrain cache"):
        _record(booking_config, tmp_path)
    assert (tmp_path / "thesis.doc").read_bytes() == b"three years of work"


def test_a_cache_of_another_source_is_left_alone(booking_config, tmp_path):
    booking_config.cache = str(tmp_path / "mine.sqlite")
    with CacheWriter.create(booking_config.cache):
        pass
    before = _files(tmp_path)
    with pytest.raises(UserError, match=r"is a cache of another source .sha256 none"):
        _record(booking_config, tmp_path)
    assert _files(tmp_path) == before


def test_a_killed_import_leaves_no_cache_and_the_next_one_is_whole(
    booking_wheel, booking_cache, booking_config, tmp_path, capsys
):
    command = [sys.executable, "-m", "tooltrain.cli.record", f"--wheel={booking_wheel}"]
    command.append(f"--workdir={tmp_path}")
    root = pathlib.Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.glob("cache/*.partial")):
            time.sleep(0.01)  # polling for a file, not waiting for a time
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    path = tmp_path / "cache" / "booking.sqlite"
    assert not path.exists()
    _record(booking_config, tmp_path, wheel=str(booking_wheel))
    out = capsys.readouterr().out
    for count in ("1,000 samples, 5,070 calls", "3,877 unique requests", "204 of them merged"):
        assert count in out
    assert "108 edges in the tool graph, 4,982 bindings" in out
    assert _files(tmp_path).keys() == {path}
    assert path.read_bytes() == booking_cache.read_bytes()
