"""Tools behind HTTP: a table of endpoints, one base URL, credentials from the environment.

What counts as a response is a complete JSON document with a 2xx status, and nothing else.

    2xx, JSON                        response
    2xx, cut off, HTML, not JSON     Unavailable: overloaded servers send such pages
    3xx                              followed, 5 at most; to another origin without credentials
    401, 403                         Denied
    408, 425, 429, 5xx, time-out     Unavailable, with what Retry-After says
    other 4xx                        ToolFailure
"""

from __future__ import annotations

import dataclasses
import datetime
import email.utils
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import orjson

from tooltrain.env.recorder import secrets
from tooltrain.env.recorder.backend import Backend, Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.opener import Deadline, opener
from tooltrain.env.response import encode
from tooltrain.env.schema import Tool, number_text
from tooltrain.errors import UserError
from tooltrain.types import Json

_MAX_REDIRECTS = 5
_EXCERPT_CHARS = 1200  # of a body; the recorder redacts it, and cuts it far shorter after that
_READ_BYTES = 1 << 16
PASSING_STATUSES = (408, 425, 429)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclasses.dataclass(frozen=True)
class Parameter:
    """Where an argument goes in a request, and how a list of values is written there:
    name=a&name=b, name=a,b or name=["a","b"]."""

    place: Literal["path", "query", "header", "body"]
    lists: Literal["repeat", "comma", "json"] = "repeat"
    name: str = ""  # on the wire, if not the argument's


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A tool as an HTTP request. path: below the base URL, "{name}" for an argument in it.

    An argument that `parameters` does not name goes into the path if it is there, else
    into the query (GET) or the JSON body (other methods).
    """

    tool: Tool
    path: str
    method: str = "GET"
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)

    def parameter(self, argument: str) -> Parameter:
        if argument in self.parameters:
            return self.parameters[argument]
        if f"{{{argument}}}" in self.path:
            return Parameter("path")
        return Parameter("query" if self.method == "GET" else "body")


@dataclasses.dataclass(frozen=True)
class Credential:
    """A header or query parameter whose value is `prefix` and an environment variable's."""

    name: str
    variable: str
    place: Literal["header", "query"] = "header"
    prefix: str = ""


@dataclasses.dataclass(frozen=True)
class _Sent:
    """One HTTP request, its credentials apart from it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None


class HTTP(Backend):
    """Endpoints below one base URL.

    headers: sent to that origin only, as credentials are. read: takes the response's
    document, returns what is recorded, and raises ToolFailure where a 2xx is a failure all
    the same. timeout_s: of a whole request, redirects and slow bodies included; opening a
    connection may take as long again. Raises UserError when a credential's variable is not
    set, or when it would travel unencrypted to another machine, or for a URL that is none.
    """

    def __init__(
        self,
        base_url: str,
        endpoints: Sequence[Endpoint],
        credentials: Sequence[Credential] = (),
        *,
        headers: Mapping[str, str] | None = None,
        read: Callable[[Json], Json] = lambda document: document,
        timeout_s: float = 30.0,
        max_body_bytes: int = 64 << 20,
    ):
        parts = split_url(base_url, "the base URL")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UserError(
                f"the base URL must be http(s)://host/…, with no credentials in it, got a "
                f"{parts.scheme or 'scheme-less'} one"
            )
        if credentials:
            check_encrypted(parts)
        values = {c.variable: secrets.from_environment(c.variable) for c in credentials}
        self.secrets = secrets.Secrets(values.values())
        self._credentials = [(c, c.prefix + values[c.variable]) for c in credentials]
        self.tools = {endpoint.tool.name: endpoint.tool for endpoint in endpoints}
        self.read_only = frozenset(e.tool.name for e in endpoints if e.method == "GET")
        self._endpoints = {endpoint.tool.name: endpoint for endpoint in endpoints}
        self._base = base_url.rstrip("/")
        self._origin = _origin(base_url)
        self._headers = dict(headers or {})
        self._read = read
        self._timeout_s, self._max_body_bytes = timeout_s, max_body_bytes
        self._deadline = Deadline()
        self._opener = opener(self._deadline)

    def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        try:
            request = self._request(self._endpoints[tool], arguments)
            with self._deadline.after(self._timeout_s):
                body = self._follow(request)
        except (OSError, http.client.HTTPException) as error:
            # The error's own text may quote the URL, and with it a credential.
            late = isinstance(getattr(error, "reason", error), TimeoutError)
            if not late and not self._deadline.passed():
                raise Unavailable(f"connection failed ({type(error).__name__})") from None
            body = None
        except ValueError as error:
            raise ToolFailure(f"no valid HTTP request ({type(error).__name__})") from None
        # A body without a length ends like a whole one when its socket is shut.
        if body is None or self._deadline.passed():
            raise Unavailable(f"no answer within {self._timeout_s:g} s")
        if not body.strip():
            raise ToolFailure("empty response")
        try:
            document = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
        except orjson.JSONDecodeError:
            kind = "HTML" if body.lstrip()[:1] == b"<" else "not JSON, or cut off"
            raise Unavailable(f"the response is {kind}: {_excerpt(body)}") from None
        return self._read(document)

    def _request(self, endpoint: Endpoint, arguments: Mapping[str, Json]) -> _Sent:
        path, query, headers = endpoint.path, [], {"Accept": "application/json"}
        fields: dict[str, Json] = {}
        for argument, value in arguments.items():
            parameter = endpoint.parameter(argument)
            name = parameter.name or argument
            if parameter.place == "path":
                text = urllib.parse.quote(_texts(value, "comma")[0], safe="")
                path = path.replace(f"{{{name}}}", text)
            elif parameter.place == "query":
                query += [(name, text) for text in _texts(value, parameter.lists)]
            elif parameter.place == "header":
                headers[name] = _texts(value, "comma")[0]
            else:
                fields[name] = value
        body = None
        if fields:
            body = encode(fields)
            headers["Content-Type"] = "application/json"
        url = self._base + path + ("?" + urllib.parse.urlencode(query) if query else "")
        return _Sent(endpoint.method, url, headers, body)

    def _follow(self, request: _Sent) -> bytes:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                with self._opener.open(self._signed(request), timeout=self._timeout_s) as answer:
                    return self._body(answer)
            except urllib.error.HTTPError as error:
                with error:
                    request = self._redirected(request, error)
        raise ToolFailure(f"more than {_MAX_REDIRECTS} redirects")

    def _signed(self, request: _Sent) -> urllib.request.Request:
        """The request with its credentials, if it goes to their origin."""
        url = request.url
        headers = {"User-Agent": "tooltrain-recorder", "Accept-Encoding": "gzip"}
        headers |= request.headers
        if _origin(url) == self._origin:
            headers |= self._headers
            for credential, value in self._credentials:
                if credential.place == "header":
                    headers[credential.name] = value
                else:
                    pair = urllib.parse.urlencode({credential.name: value})
                    url += ("&" if urllib.parse.urlsplit(url).query else "?") + pair
        return urllib.request.Request(url, request.body, headers, method=request.method)

    def _redirected(self, request: _Sent, error: urllib.error.HTTPError) -> _Sent:
        """The request that a 3xx leads to. Raises the failure that other statuses are."""
        status, location = error.code, error.headers.get("Location")
        if status not in (301, 302, 303, 307, 308) or not location:
            raise _failure(status, error)
        url = urllib.parse.urljoin(request.url, location)
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ToolFailure("a redirect to something that is not HTTP")
        # A server may have copied the query it got, credential included, into Location.
        ours = {c.name for c, _ in self._credentials if c.place == "query"}
        pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
        if any(name in ours for name, _ in pairs):
            kept = urllib.parse.urlencode([pair for pair in pairs if pair[0] not in ours])
            parts = parts._replace(query=kept)
        url = urllib.parse.urlunsplit(parts._replace(fragment=""))
        if self.secrets.found_in(url):
            raise ToolFailure("a redirect to a URL that holds the credential")
        method, body, headers = request.method, request.body, request.headers
        if _origin(url) != self._origin:
            if method != "GET":
                raise ToolFailure(f"a {method} was redirected to another host")
            headers = {"Accept": request.headers["Accept"]}
        elif status == 303 or (status in (301, 302) and method == "POST"):
            method, body = "GET", None
        return _Sent(method, url, headers, body)

    def _body(self, answer: http.client.HTTPResponse) -> bytes:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("identity", "gzip", ""):
            raise ToolFailure(f"a response in content encoding {encoding[:20]}")
        unzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        chunks, size = [], 0
        while chunk := answer.read1(_READ_BYTES):
            if unzip is not None:
                try:
                    chunk = unzip.decompress(chunk, self._max_body_bytes + 1)
                except zlib.error:
                    raise Unavailable("a response that is not the gzip it says it is") from None
            chunks.append(chunk)
            size += len(chunk)
            if size > self._max_body_bytes:
                raise ToolFailure(f"a response of more than {self._max_body_bytes:,} bytes")
        if answer.length or (unzip is not None and not unzip.eof):
            raise Unavailable("the response was cut off")
        return b"".join(chunks)


def split_url(url: str, what: str) -> urllib.parse.SplitResult:
    """The parts of `what`. Raises UserError where its host or port cannot be read."""
    try:
        parts = urllib.parse.urlsplit(url)
        parts.port  # noqa: B018  raises too
    except ValueError:
        # Without the URL: a credential may be in it.
        raise UserError(
            f"{what} has a host or port that cannot be read; write it as http(s)://host:port/…"
        ) from None
    return parts


def check_encrypted(url: urllib.parse.SplitResult) -> None:
    """Raises UserError where credentials would travel unencrypted to another machine."""
    if url.scheme == "http" and url.hostname not in _LOOPBACK:
        raise UserError(f"credentials would go to {url.hostname} unencrypted; use its https URL")


def _failure(status: int, error: urllib.error.HTTPError) -> ToolFailure:
    try:
        excerpt = _excerpt(error.read(_READ_BYTES))
    except (OSError, http.client.HTTPException):
        excerpt = ""
    message = f"HTTP {status} {excerpt}".strip()
    if status in (401, 403):
        return Denied(message)
    if status in PASSING_STATUSES or status >= 500:
        return Unavailable(message, retry_after_s(error.headers.get("Retry-After")))
    return ToolFailure(message)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header: a number of them, or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - datetime.datetime.now(datetime.UTC)).total_seconds())


def _excerpt(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())[:_EXCERPT_CHARS]


def _origin(url: str) -> tuple[str, str, int]:
    parts = urllib.parse.urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


def _texts(value: Json, lists: str) -> list[str]:
    """A value as it stands in a URL; several where a list repeats its parameter."""
    if isinstance(value, list) and lists != "json":
        texts = [_texts(item, "json")[0] for item in value]
        return [",".join(texts)] if lists == "comma" else texts
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, int | float):
        return [number_text(value)]
    return [value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))]
