"""A completion is kept once; an endpoint that gives none is one clear error without the key."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("openai")

from tooltrain.env.recorder.secrets import REMOVED
from tooltrain.errors import UserError
from tooltrain.synthesis.completions import KEY_VARIABLE, Completions

KEY = "sk-not-to-be-shown"
ASKED = [{"role": "user", "content": "Say something."}]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status, kind, body = self.server.answer(self.headers["Authorization"])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def _completions(tmp_path, answer) -> Iterator[Completions]:
    """answer: of the Authorization header, the status, the content type and the body."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.answer = True, answer
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield Completions(tmp_path / "kept.jsonl", base_url=url, model="small")
    finally:
        server.shutdown()
        server.server_close()


def _said(**answer: object) -> tuple[int, str, str]:
    common = {"id": "1", "object": "chat.completion", "created": 0, "model": "small"}
    return 200, "application/json", json.dumps(common | answer)


def _message(text: str) -> dict:
    message = {"role": "assistant", "content": text}
    return {"index": 0, "finish_reason": "stop", "message": message}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda key: _said(choices=[]), "an answer without choices"),
        (lambda key: _said(choices=None), "an answer without choices"),
        (lambda key: (200, "text/html", "<h1>Hello</h1>"), "an answer without choices"),
        (
            lambda key: (400, "application/json", json.dumps({"error": {"message": key}})),
            f"Bearer {REMOVED}",
        ),
    ],
)
def test_an_endpoint_without_a_completion_is_one_clear_error(
    tmp_path, monkeypatch, answer, message
):
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    with _completions(tmp_path, answer) as completions, pytest.raises(UserError) as caught:
        completions.complete(ASKED)
    told = str(caught.value)
    assert "the endpoint gave no completion: " in told
    assert message in told
    assert "(small at http://127.0.0.1:" in told
    assert KEY not in told


def test_two_threads_that_ask_the_same_at_once_get_the_same(tmp_path):
    both, texts = threading.Barrier(2), iter(("one", "two"))

    def answer(key: str) -> tuple[int, str, str]:
        both.wait(60)
        return _said(choices=[_message(next(texts))])

    found: list[str] = []
    with _completions(tmp_path, answer) as completions:
        threads = [
            threading.Thread(target=lambda: found.append(completions.complete(ASKED)))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found[0] == found[1] == completions.complete(ASKED)
        assert (completions.asked, completions.cached) == (2, 1)
    (line,) = (tmp_path / "kept.jsonl").read_text().splitlines()
    assert json.loads(line)["text"] == found[0]
