"""urllib's opener with a deadline for whole requests, and without its redirects."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.request
from typing import IO


def opener(deadline: Deadline) -> urllib.request.OpenerDirector:
    """Opens http and https, through the environment's proxies; raises HTTPError for every
    status that is not 2xx. Requests are made inside `with deadline.after(seconds)`."""
    tls = ssl.create_default_context()
    return urllib.request.build_opener(
        _NoRedirects, _PlainHandler(deadline), _TLSHandler(deadline, tls)
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> None:
        return None  # so that every 3xx is raised, and the caller decides


class Deadline(threading.local):
    """The deadline of a thread's request. When it has passed, the request's sockets are shut:
    a socket's own time-out starts anew with every byte, so that a server that drips would
    hold a worker for ever."""

    def __init__(self) -> None:
        self._request: _Cut | None = None

    def after(self, seconds: float) -> _Cut:
        self._request = _Cut(seconds)
        return self._request

    def opened(self, connection: socket.socket) -> None:
        self._request.add(connection)

    def passed(self) -> bool:
        return self._request.due.is_set()


class _Cut:
    """Context of one request; after `seconds` its sockets are shut."""

    def __init__(self, seconds: float):
        self.due = threading.Event()
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> _Cut:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._sockets.append(connection)
        if self.due.is_set():
            self._shut()

    def _shut(self) -> None:
        self.due.set()
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):  # closed already
                    # Not SSLSocket's own, which takes the TLS state from under a reader.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _connection(kind: type[http.client.HTTPConnection], deadline: Deadline) -> type:
    class Connection(kind):
        def connect(self) -> None:
            super().connect()
            deadline.opened(self.sock)

    return Connection


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, deadline: Deadline):
        super().__init__()
        self._kind = _connection(http.client.HTTPConnection, deadline)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind, req)


class _TLSHandler(urllib.request.HTTPSHandler):
    def __init__(self, deadline: Deadline, context: ssl.SSLContext):
        super().__init__(context=context)
        self._tls, self._kind = context, _connection(http.client.HTTPSConnection, deadline)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._kind, req, context=self._tls)
