"""The serving process: listens at once, is ready when all is compiled, drains when stopped.

    start ──▶ /health 503 "starting" ──▶ /health 200 "ok" ──▶ SIGTERM or SIGINT
              requests: 503, starting      "serving … at …"      │
                                                                 ▼
    exit 0 ◀── answers written ◀── /health 503 "stopping": new requests get 503, those that
                                   were taken are finished, for at most drain_s

A second signal stops at once.
"""

from __future__ import annotations

import os
import socket
import threading
from types import FrameType

import uvicorn

from tooltrain.errors import UserError
from tooltrain.serve.app import Server
from tooltrain.serve.batcher import Status

_WRITING_S = 5  # after the drain, for clients to take what is written


def listen(host: str, port: int) -> socket.socket:
    """A socket on which clients can connect, and wait for `run`. port: 0 is any free one.

    Raises UserError if there cannot be one.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UserError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another "
            "--port (0: any free one) or --host"
        ) from None


def run(server: Server, listening: socket.socket, *, drain_s: float) -> None:
    """Serves until a signal. drain_s: seconds. Raises what the warm-up failed with."""
    config = uvicorn.Config(
        server.app, log_level="warning", timeout_graceful_shutdown=_WRITING_S, lifespan="off"
    )
    process = _Process(config, server, drain_s)
    host, port = listening.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    threading.Thread(target=process.announce, args=(url,), daemon=True).start()
    process.run(sockets=[listening])
    if server.batcher.failure:
        raise server.batcher.failure
    if server.batcher.status is Status.STARTING:
        # A thread inside the compiler cannot be ended, and Python's own end aborts over it.
        os._exit(0)
    server.batcher.close(drain=False)  # where a second signal cut the first one's wait short


class _Process(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, server: Server, drain_s: float):
        super().__init__(config)
        self._server = server
        self._drain_s = drain_s

    def announce(self, url: str) -> None:
        """Says when requests are taken, which is when a script may send them."""
        print(f"listening on {url}, compiling: /health says when it is ready", flush=True)
        try:
            self._server.batcher.wait_until_warm()
        except Exception:  # run() raises it, in the main thread
            self.should_exit = True
            return
        if self._server.batcher.status is Status.READY:
            print(f"serving {self._server.model} at {url}/v1", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """uvicorn's would close the listener first and then die of the signal."""
        del sig, frame
        if self._server.batcher.status is Status.READY:
            threading.Thread(target=self._drain, daemon=True).start()
        else:  # nothing was taken yet, or this is the second signal
            self.should_exit = self.force_exit = True

    def _drain(self) -> None:
        batcher = self._server.batcher
        print(f"stopping: {batcher.live + batcher.waiting} requests to finish", flush=True)
        batcher.close(drain=True, timeout_s=self._drain_s)
        self.should_exit = True
