"""A server in this process, for the tests of this folder; they need the serve and llm extras."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request

import pytest

from tooltrain.serve.conversation import Conversations
from tooltrain.serve.request import Limits

openai = pytest.importorskip("openai")
uvicorn = pytest.importorskip("uvicorn")
app = pytest.importorskip("tooltrain.serve.app")


class Served:
    """`batcher` at `url`, under the name of "tiny"."""

    def __init__(self, batcher, template, **options):
        limits = {"max_body_bytes": 20_000, "max_tokens": 24} | options.pop("limits", {})
        limits = Limits(**limits)
        self.server = app.Server(
            batcher, Conversations(template), model="tiny", limits=limits, **options
        )
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        config = uvicorn.Config(self.server.app, log_level="warning")
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._uvicorn.run, args=([listening],), daemon=True)
        self._thread.start()

    def client(self, key="none"):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=2, timeout=240)

    def get(self, path):
        """(status, body) of a page that stands beside /v1."""
        return _fetch(self.url.removesuffix("/v1") + path)

    def post(self, body):
        """(status, body) of a completion, asked for without the client and its retries."""
        status, text = _fetch(f"{self.url}/chat/completions", json.dumps(body).encode())
        return status, json.loads(text)

    def stop(self):
        self._uvicorn.should_exit = True
        self._thread.join()


def _fetch(url, data=None):
    try:
        with urllib.request.urlopen(url, data=data, timeout=240) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
