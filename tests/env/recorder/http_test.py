"""The HTTP backend against a real server that misbehaves in every way it can."""

from __future__ import annotations

import collections
import contextlib
import gzip
import http.server
import json
import logging
import pathlib
import threading
import urllib.parse
from collections.abc import Iterator

import pytest

from tooltrain.env.recorder.backend import Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.http import HTTP, Credential, Endpoint, Parameter, retry_after_s
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.plan import Plan, Range, ToolPlan, Values
from tooltrain.env.recorder.run import record
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError

KEY = "s3cret/key+with=signs"
CREDENTIALS = (
    Credential("X-Key", "TOOLTRAIN_TEST_KEY"),
    Credential("api_key", "TOOLTRAIN_TEST_KEY", place="query"),
)
BIG = [{"id": i, "text": "x" * 1000} for i in range(10_000)]  # 10 MB


BOMB = gzip.compress(b" " * (20 << 20))


class _Handler(http.server.BaseHTTPRequestHandler):
    """GET /KIND?n=… answers as KIND says; what came is kept in `server.seen`."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        kind, n = parts.path.strip("/"), int(query.get("n", 0))
        with self.server.lock:
            self.server.seen.append((kind, n, dict(self.headers), self.path))
            self.server.times[kind, n] += 1
            time = self.server.times[kind, n]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            getattr(self, f"_{kind}")(n, time)

    do_POST = do_GET

    def _send(self, body: bytes, status: int = 200, length: int = -1, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length < 0 else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _ok(self, n: int, time: int) -> None:
        self._send(json.dumps({"n": n}).encode())

    def _late(self, n: int, time: int) -> None:
        self.server.ended.wait(0.2)
        self._ok(n, time)

    def _never(self, n: int, time: int) -> None:
        self.server.ended.wait()

    def _drip(self, n: int, time: int) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n1")  # valid JSON at every moment
        while not self.server.ended.wait(0.05):
            self.wfile.write(b"1")

    def _busy(self, n: int, time: int) -> None:  # 429 once, then the answer
        if time == 1:
            self._send(b"{}", 429, Retry_After="0")
        else:
            self._ok(n, time)

    def _away(self, n: int, time: int) -> None:
        self._send(b"{}", 429, Retry_After="86400")

    def _broken(self, n: int, time: int) -> None:  # odd ones never recover
        if n % 2 or time == 1:
            self._send(b'{"error": "internal"}', 500)
        else:
            self._ok(n, time)

    def _truncated(self, n: int, time: int) -> None:  # cut once; odd ones always
        if n % 2 or time == 1:
            self._send(b'{"n": 1', length=1000 if n % 4 else -1)
        else:
            self._ok(n, time)

    def _html(self, n: int, time: int) -> None:
        self._send(b"<!doctype html><h1>Please wait</h1>")

    def _big(self, n: int, time: int) -> None:
        self._send(json.dumps({"n": n, "rows": BIG}).encode())

    def _zipped(self, n: int, time: int) -> None:
        self._send(gzip.compress(json.dumps({"n": n}).encode()), Content_Encoding="gzip")

    def _bomb(self, n: int, time: int) -> None:
        self._send(BOMB, Content_Encoding="gzip")

    def _elsewhere(self, n: int, time: int) -> None:  # odd: the credential is copied over
        location = f"{self.server.other}/ok?n={n}"
        if n % 2:
            location += "&" + urllib.parse.urlsplit(self.path).query
        self._send(b"", 302, Location=location)

    def _leak(self, n: int, time: int) -> None:
        key = urllib.parse.quote(self.headers["X-Key"], safe="")
        self._send(b"", 302, Location=f"{self.server.other}/ok?token={key}")

    def _moved(self, n: int, time: int) -> None:
        self._send(b"", 301, Location=f"/ok?n={n}")

    def _loop(self, n: int, time: int) -> None:
        self._send(b"", 302, Location=f"/loop?n={n}")

    def _missing(self, n: int, time: int) -> None:
        self._send(b'{"error": "no such n"}', 404)

    def _denied(self, n: int, time: int) -> None:
        self._send(f'{{"error": "bad key {self.headers["X-Key"]}"}}'.encode(), 403)

    def _echo(self, n: int, time: int) -> None:
        self._send(json.dumps({"headers": dict(self.headers), "path": self.path}).encode())

    def _empty(self, n: int, time: int) -> None:
        self._send(b"", 204)

    def _show(self, n: int, time: int) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        path = urllib.parse.urlsplit(self.path)
        query = [p for p in urllib.parse.parse_qsl(path.query) if p[0] != "api_key"]
        shown = {"query": query, "trace": self.headers.get("X-Trace"), "body": body}
        self._send(json.dumps(shown).encode())


@contextlib.contextmanager
def _server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.block_on_close = False
    server.lock, server.seen = threading.Lock(), []
    server.times = collections.Counter()
    server.ended = threading.Event()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def server(monkeypatch) -> Iterator[http.server.ThreadingHTTPServer]:
    monkeypatch.setenv("TOOLTRAIN_TEST_KEY", KEY)
    with _server() as here, _server() as other:
        here.other_server, here.other = other, other.url
        yield here


def _endpoint(kind: str) -> Endpoint:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    return Endpoint(Tool(kind, "", schema), f"/{kind}")


def _backend(server: http.server.ThreadingHTTPServer, *kinds: str, **options: float) -> HTTP:
    return HTTP(server.url, [_endpoint(kind) for kind in kinds], CREDENTIALS, **options)


OBTAINABLE = {
    "ok": 4,
    "late": 4,
    "busy": 4,
    "broken": 2,
    "truncated": 2,
    "big": 2,
    "zipped": 4,
    "elsewhere": 4,
    "moved": 4,
}
NEVER = ("never", "drip", "away", "html", "leak", "loop", "missing", "denied", "echo", "empty")


def test_everything_obtainable_is_recorded_and_nothing_else(server, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    counts = OBTAINABLE | dict.fromkeys(NEVER, 2)
    most = {kind: 2 if kind == "big" else 4 for kind in OBTAINABLE} | dict.fromkeys(NEVER, 2)
    limits = Limits(concurrency=8, attempts=2, backoff_s=0.01, max_backoff_s=1.0)
    # The answers that come have all the time of a busy machine.
    silent, speaking = ("never", "drip"), tuple(k for k in counts if k not in ("never", "drip"))
    with Recording.open(tmp_path / "recording") as recording:
        reports = []
        for kinds, timeout_s in ((silent, 1.0), (speaking, 60.0)):
            plan = Plan(tuple(ToolPlan(k, {"n": Range(0, most[k] - 1)}) for k in kinds))
            with _backend(server, *kinds, timeout_s=timeout_s) as backend:
                reports.append(record(backend, plan, recording, limits, progress=True))
        got = {kind: recording.count(kind) for kind in counts}
        assert got == OBTAINABLE | dict.fromkeys(NEVER, 0)
        for kind in OBTAINABLE:
            for arguments, response in recording.entries(kind):
                assert response["n"] == arguments["n"]
                assert kind != "big" or response["rows"] == BIG
        tools = reports[0].tools | reports[1].tools
        failed = {kind: tools[kind].failed for kind in counts}
        assert failed == {k: most[k] - got[k] for k in counts}
        assert all(report.complete for report in reports)
        text = " ".join(line for report in reports for line in report.lines())
        for message in ("HTTP 404", "HTTP 403", "HTTP 500", "HTML", "no answer within 1 s"):
            assert message in text
        recording.seal(tmp_path / "cache.sqlite").close()
    # Credentials went to their own host with every request, and nowhere else.
    assert all(headers["X-Key"] == KEY and "api_key=" in p for _, _, headers, p in server.seen)
    assert len(server.other_server.seen) >= 4
    for _, _, headers, path in server.other_server.seen:
        assert "X-Key" not in headers
        assert "api_key" not in path
    written = caplog.text + "".join(capfd.readouterr()) + text
    files = b"".join(p.read_bytes() for p in pathlib.Path(tmp_path).rglob("*") if p.is_file())
    for spelling in (KEY, urllib.parse.quote(KEY, safe=""), urllib.parse.quote_plus(KEY)):
        assert spelling not in written
        assert spelling.encode() not in files


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("never", Unavailable, "no answer within"),
        ("drip", Unavailable, "no answer within"),
        ("broken", Unavailable, "HTTP 500"),
        ("truncated", Unavailable, "cut off"),
        ("html", Unavailable, "HTML"),
        ("denied", Denied, "HTTP 403"),
        ("missing", ToolFailure, "no such n"),
        ("loop", ToolFailure, "more than 5 redirects"),
        ("leak", ToolFailure, "holds the credential"),
        ("empty", ToolFailure, "empty response"),
        ("bomb", ToolFailure, "more than 1,000,000 bytes"),
    ],
)
def test_each_failure_has_its_kind(server, kind, error, message):
    timeout_s = 0.4 if kind in ("never", "drip") else 60.0
    with _backend(server, kind, timeout_s=timeout_s, max_body_bytes=10**6) as backend:
        with pytest.raises(error, match=message) as caught:
            backend.call(kind, {"n": 1})
        assert type(caught.value) is error


def test_what_the_server_asks_for_is_known_to_the_retry(server):
    with _backend(server, "away") as backend, pytest.raises(Unavailable) as caught:
        backend.call("away", {"n": 0})
    assert caught.value.retry_after_s == 86400


def test_a_date_in_retry_after_is_understood_and_nonsense_is_not():
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("Wed, 21 Oct 2115 07:28:00 GMT") > 1e9
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


def test_nothing_listens(server):
    with _server() as gone:
        url = gone.url
    with pytest.raises(Unavailable, match="connection failed"):
        HTTP(url, [_endpoint("ok")]).call("ok", {"n": 1})


def test_arguments_go_where_the_table_says(server):
    schema = {"type": "object", "properties": {}, "required": []}
    places = {
        "ids": Parameter("query", "comma"),
        "legs": Parameter("query", "json"),
        "trace": Parameter("header", name="X-Trace"),
        "deep": Parameter("body"),
        "kind": Parameter("path"),
    }
    endpoint = Endpoint(Tool("show", "", schema), "/{kind}", "POST", places)
    with HTTP(server.url, [endpoint]) as backend:
        arguments = {"kind": "show", "ids": [1, 2.0], "legs": [{"a": "b c"}], "trace": True}
        shown = backend.call("show", arguments | {"deep": {"x": None}, "more": 3})
    assert shown["query"] == [["ids", "1,2"], ["legs", '[{"a":"b c"}]']]
    assert shown["trace"] == "true"
    assert json.loads(shown["body"]) == {"deep": {"x": None}, "more": 3}
    with HTTP(server.url, [_endpoint("show")]) as backend:
        shown = backend.call("show", {"n": 1, "tag": ["a", "b&c"]})
    assert shown["query"] == [["n", "1"], ["tag", "a"], ["tag", "b&c"]]


def test_a_value_cannot_leave_its_place_in_the_path(server):
    tool = Tool("ok", "", {"type": "object", "properties": {"id": {"type": "string"}}})
    with HTTP(server.url, [Endpoint(tool, "/ok?n=1&id={id}")]) as backend:
        assert backend.call("ok", {"id": "x/../echo?n=5#"}) == {"n": 1}
    assert server.seen[-1][3] == "/ok?n=1&id=x%2F..%2Fecho%3Fn%3D5%23"


def test_a_header_cannot_be_split(server):
    endpoint = Endpoint(_endpoint("ok").tool, "/ok", parameters={"n": Parameter("header")})
    with HTTP(server.url, [endpoint]) as backend, pytest.raises(ToolFailure, match="no valid"):
        backend.call("ok", {"n": "1\r\nX-Evil: 1"})


def test_a_missing_or_exposed_credential_is_one_clear_error(monkeypatch):
    monkeypatch.delenv("TOOLTRAIN_TEST_KEY", raising=False)
    with pytest.raises(UserError, match="TOOLTRAIN_TEST_KEY is not set"):
        HTTP("https://example.org", [], CREDENTIALS)
    monkeypatch.setenv("TOOLTRAIN_TEST_KEY", KEY)
    with pytest.raises(UserError, match=r"example.org unencrypted"):
        HTTP("http://example.org", [], CREDENTIALS)
    with pytest.raises(UserError, match="with no credentials in it") as caught:
        HTTP("https://user:hunter22@example.org", [])
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host:abc", "http://[::1", "http://user:hunter22/@host"])
def test_a_url_that_cannot_be_read_is_one_clear_error_without_it(url):
    with pytest.raises(
        UserError, match="base URL has a host or port that cannot be read"
    ) as caught:
        HTTP(url, [])
    assert url not in str(caught.value)
    assert "hunter22" not in str(caught.value)


def test_what_a_response_may_hold_can_be_sent_or_is_a_failure(server):
    endpoint = Endpoint(Tool("show", "", {"type": "object", "properties": {}}), "/show", "POST")
    with HTTP(server.url, [endpoint, _endpoint("ok")]) as backend:
        assert json.loads(backend.call("show", {"n": 2**70})["body"]) == {"n": 2**70}
        with pytest.raises(ToolFailure, match="no valid HTTP request"):
            backend.call("ok", {"n": "\ud800"})


def test_a_plan_may_not_smuggle_the_credential_into_the_cache(server, tmp_path):
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
    endpoint = Endpoint(Tool("ok", "", schema), "/ok")
    plan = Plan((ToolPlan("ok", {"q": Values((KEY, "fine"))}),))
    with HTTP(server.url, [endpoint], CREDENTIALS) as backend, Recording.open(tmp_path) as to:
        report = record(backend, plan, to, progress=False)
        assert [arguments for arguments, _ in to.entries("ok")] == [{"q": "fine"}]
    assert report.tools["ok"].failures == {"the request or its response holds a credential": 1}
