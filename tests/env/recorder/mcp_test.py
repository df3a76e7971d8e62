"""MCP servers as tools: one written here with the SDK, and two written by others."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("mcp")

from tooltrain.env.recorder import mcp
from tooltrain.env.recorder.backend import Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.http import Credential
from tooltrain.env.recorder.mcp import MCP, Process, Url
from tooltrain.env.recorder.plan import Field, Plan, Range, ToolPlan, Values
from tooltrain.env.recorder.run import record
from tooltrain.env.recorder.schema_plan import plan_from_schemas
from tooltrain.env.recorder.secrets import REMOVED
from tooltrain.env.recording import Recording
from tooltrain.errors import UserError

_SERVER = '''
import os, sys, time
from typing import Literal
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("cities")
READ_ONLY = ToolAnnotations(read_only_hint=True)

@server.tool(annotations=READ_ONLY)
def find(kind: Literal["big", "small"]) -> dict[str, list[str]]:
    """Ids of cities."""
    return {"ids": [f"{kind}-{i}" for i in range(5)]}

@server.tool(name="city.details", annotations=READ_ONLY)
def details(id: str) -> str:
    if id.endswith("3"):
        raise ValueError("no such city")
    return f"city {id}"

@server.tool()
def die() -> str:
    os._exit(1)

@server.tool()
def sleep() -> str:
    time.sleep(30)
    return "late"

@server.tool(annotations=READ_ONLY)
def environment() -> str:
    return str(dict(os.environ))

print("ready", os.environ.get("TOOLTRAIN_TEST_KEY"), file=sys.stderr)
if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")
'''
_KEY = "s3cret-mcp-key"
_PATIENT_S = 180.0  # to start a server: its imports take a minute on a busy machine


@pytest.fixture
def server(tmp_path, monkeypatch) -> Process:
    monkeypatch.setenv("TOOLTRAIN_TEST_KEY", _KEY)
    path = tmp_path / "server.py"
    path.write_text(_SERVER)
    return Process((sys.executable, str(path)), ("TOOLTRAIN_TEST_KEY",))


@pytest.fixture
def patient(monkeypatch) -> None:
    monkeypatch.setattr(mcp, "_CONNECT_TIMEOUT_S", _PATIENT_S)


@contextlib.contextmanager
def _listening(command: list[str], port: int, **environment: str) -> Iterator[None]:
    """A server process in a session of its own, once its port answers."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _PATIENT_S
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_a_server_is_recorded_over_stdio_with_its_own_schemas(server, patient, tmp_path, capfd):
    with (
        MCP(server) as backend,
        Recording.open(tmp_path / "recording") as recording,
    ):
        assert set(backend.tools) == {"find", "city_details", "die", "sleep", "environment"}
        assert backend.tools["city_details"].original_name == "city.details"
        assert backend.tools["find"].properties["kind"]["enum"] == ["big", "small"]
        derived, left_out = plan_from_schemas(backend)
        assert [tool.tool for tool in derived.tools] == ["find", "environment"]
        assert set(left_out) == {"city_details", "die", "sleep"}
        ids = Field("find", ("ids", "[]"))
        plan = Plan((*derived.tools, ToolPlan("city_details", {"id": ids})))
        report = record(backend, plan, recording, progress=False)
        found = {arguments["kind"]: response for arguments, response in recording.entries("find")}
        assert found["small"] == {"ids": [f"small-{i}" for i in range(5)]}
        assert recording.count("city_details") == 8
        assert recording.count("environment") == 0
    assert report.tools["city_details"].failed == 2
    assert "holds a credential" in "\n".join(report.lines())
    assert _KEY not in "\n".join(report.lines()) + "".join(capfd.readouterr())
    assert all(
        _KEY.encode() not in path.read_bytes() for path in (tmp_path / "recording").iterdir()
    )


def test_a_server_that_dies_is_started_again(server, patient):
    with MCP(server) as backend:
        with pytest.raises(Unavailable, match="closed"):
            backend.call("die", {})
        assert backend.call("find", {"kind": "big"})["ids"][0] == "big-0"
        with pytest.raises(ToolFailure, match=r"city\.details"):
            backend.call("city_details", {"id": "x3"})


def test_a_tool_that_never_answers_is_waited_for_no_longer_than_said(server, patient):
    with (
        MCP(server, timeout_s=1.0) as backend,
        pytest.raises(Unavailable),
    ):
        backend.call("sleep", {})


def test_a_server_is_recorded_over_streamable_http(server):
    port = _free_port()
    with _listening([*server.command, str(port)], port):
        key = Credential("Authorization", "TOOLTRAIN_TEST_KEY", prefix="Bearer ")
        with MCP(Url(f"http://127.0.0.1:{port}/mcp", (key,))) as backend:
            assert backend.call("find", {"kind": "small"})["ids"][-1] == "small-4"


def test_no_server_is_one_clear_error(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="check the command or URL"):
        MCP(Process((str(tmp_path / "nothing"),)))
    monkeypatch.setattr(mcp, "_CONNECT_TIMEOUT_S", 10)
    with pytest.raises(UserError, match="check the command or URL"):
        MCP(Url(f"http://127.0.0.1:{_free_port()}/mcp"))


def test_a_credential_is_not_sent_unencrypted_to_another_machine():
    key = Credential("Authorization", "TOOLTRAIN_TEST_KEY", prefix="Bearer ")
    with pytest.raises(UserError, match=r"example\.org unencrypted"):
        MCP(Url("http://example.org/mcp", (key,)))


class _Handler(http.server.BaseHTTPRequestHandler):
    """A server over streamable HTTP that refuses: each tool fails as its name says."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:  # the SDK's own stream, which a server need not have
        self._send(405)
        self.server.refused_stream.set()

    do_DELETE = do_GET

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "id" not in message:
            self._send(202)
        elif message["method"] == "initialize":
            about = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}}
            self._answer(message, result=about | {"serverInfo": {"name": "x", "version": "1"}})
        elif message["method"] == "tools/list" and self.server.tools:
            schema = {"type": "object", "properties": {}}
            tools = [{"name": name, "inputSchema": schema} for name in self.server.tools]
            self._answer(message, result={"tools": tools})
        elif message["method"] == "tools/call":
            getattr(self, f"_{message['params']['name']}")(message)
        else:
            said = f"not for {self.headers['Authorization']}"
            self._answer(message, error={"code": -32601, "message": said})

    def _busy(self, message: dict) -> None:
        self._send(429, Retry_After="7")

    def _denied(self, message: dict) -> None:
        self._send(403)
        self.server.refused_call.set()

    def _broken(self, message: dict) -> None:
        self._answer(message, error={"code": -32603, "message": "no such row"})

    def _broken_after(self, message: dict) -> None:
        self.server.refused_call.wait()
        self._broken(message)

    def _answer(self, message: dict, **outcome: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"]} | outcome).encode()
        self._send(200, body, Content_Type="application/json", Mcp_Session_Id="one")

    def _send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def _refusing(*tools: str) -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.tools = True, tools
    server.refused_stream, server.refused_call = threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}/mcp"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield server
    finally:
        server.refused_call.set()
        server.shutdown()
        server.server_close()


def test_a_refusal_counts_for_the_call_that_it_answers_alone(patient):
    tools = ("busy", "denied", "broken", "broken_after")
    with _refusing(*tools) as server, MCP(Url(server.url)) as backend:
        assert server.refused_stream.wait(_PATIENT_S)
        with pytest.raises(Unavailable, match=r"^no such row$"):
            backend.call("broken", {})
        with pytest.raises(Unavailable, match="HTTP 429") as busy:
            backend.call("busy", {})
        assert busy.value.retry_after_s == 7
        failures: list[ToolFailure] = []

        def call_broken() -> None:
            try:
                backend.call("broken_after", {})
            except ToolFailure as error:
                failures.append(error)

        under_way = threading.Thread(target=call_broken)
        under_way.start()  # ends after the other was refused
        with pytest.raises(Denied, match="HTTP 403"):
            backend.call("denied", {})
        under_way.join()
        (failure,) = failures
        assert (type(failure), str(failure)) == (Unavailable, "no such row")


def test_a_server_that_lists_no_tools_is_one_clear_error_without_the_credential(
    patient, monkeypatch
):
    monkeypatch.setenv("TOOLTRAIN_TEST_KEY", _KEY)
    key = Credential("Authorization", "TOOLTRAIN_TEST_KEY", prefix="Bearer ")
    with _refusing() as server, pytest.raises(UserError) as caught:
        MCP(Url(server.url, (key,)))
    assert str(caught.value) == f"not for Bearer {REMOVED}; check the command or URL"


def test_two_tools_of_one_name_are_one_clear_error_and_leave_nothing_open(patient):
    with _refusing("a.b", "a_b") as server:
        with pytest.raises(UserError, match="two tools that read a_b"):
            MCP(Url(server.url))
        assert "mcp" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.slow
@pytest.mark.network
def test_a_server_of_others_from_pypi_is_recorded(patient, tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [environment / "bin" / "python", "-m", "pip", "install", "-q", "mcp-server-time"]
    subprocess.run(pip, check=True)
    zones = Values(("Europe/Paris", "Asia/Tokyo", "America/New_York", "Nowhere/Atlantis"))
    times = Values(("00:30", "12:00", "23:15"))
    sources = {"source_timezone": zones, "target_timezone": zones, "time": times}
    plan = Plan((ToolPlan("convert_time", sources),))
    server = Process((str(environment / "bin" / "mcp-server-time"), "--local-timezone=UTC"))
    with (
        MCP(server) as backend,
        Recording.open(tmp_path / "recording") as recording,
    ):
        report = record(backend, plan, recording)
        entries = list(recording.entries("convert_time"))
    assert report.tools["convert_time"].planned == 4 * 4 * 3
    assert len(entries) == 3 * 3 * 3  # Atlantis is an error, which is no response
    for arguments, response in entries:
        assert response["source"]["timezone"] == arguments["source_timezone"]
        assert f"T{arguments['time']}" in response["source"]["datetime"]


@pytest.mark.slow
@pytest.mark.network
def test_a_server_of_others_from_npm_is_recorded_over_both_transports(patient, tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    package = "@modelcontextprotocol/server-everything"
    subprocess.run([npm, "install", "--silent", "--prefix", tmp_path, package], check=True)
    program = str(pathlib.Path(tmp_path, "node_modules", ".bin", "mcp-server-everything"))
    plan = Plan(
        (
            ToolPlan("get-sum", {"a": Range(0, 9), "b": Range(0, 9)}),
            ToolPlan("echo", {"message": Values(("one", "two", "three"))}),
            ToolPlan("get-resource-links", {"count": Range(1, 10)}),
        )
    )

    def recorded(server: Process | Url, name: str) -> dict[str, dict[str, object]]:
        with (
            MCP(server) as backend,
            Recording.open(tmp_path / name) as recording,
        ):
            report = record(backend, plan, recording)
            assert report.total("failed") == 0
            return {
                tool.tool: {str(a): response for a, response in recording.entries(tool.tool)}
                for tool in plan.tools
            }

    port = _free_port()
    stdio = recorded(Process((program, "stdio")), "stdio")
    with _listening([program, "streamableHttp"], port, PORT=str(port)):
        http = recorded(Url(f"http://127.0.0.1:{port}/mcp"), "http")
    assert stdio == http
    assert {tool: len(entries) for tool, entries in stdio.items()} == {
        "get-sum": 100,
        "echo": 3,
        "get-resource-links": 10,
    }
    assert "5" in stdio["get-sum"]["{'a': 2, 'b': 3}"]["text"]
