"""Tools of an MCP server, over stdio or streamable HTTP, with the official `mcp` SDK.

The server says what tools it has and what their schemas are. What is recorded of a result
is its structured content if it has any; else the JSON that its one text holds; else
`{"text": …}`; else `{"content": [blocks]}`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import dataclasses
import importlib.util
import logging
import pathlib
import tempfile
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from tooltrain.env.recorder import secrets
from tooltrain.env.recorder.backend import Backend, Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.http import (
    PASSING_STATUSES,
    Credential,
    check_encrypted,
    retry_after_s,
    split_url,
)
from tooltrain.env.schema import Tool, safe_name
from tooltrain.errors import UserError
from tooltrain.types import Json

if TYPE_CHECKING:
    import httpx2
    import mcp

_MAX_PAGES = 100  # of tools, from a server whose paging never ends
_CONNECT_TIMEOUT_S = 60.0  # of a server that is started, and of its list of tools
_GRACE_S = 5.0  # beyond a call's own time-out, before it is given up from outside
# JSON-RPC 2.0, section 5.1, and the codes that the MCP SDK adds.
_INVALID_REQUEST, _INTERNAL_ERROR = -32600, -32603
_CONNECTION_CLOSED, _REQUEST_TIMEOUT = -32000, -32001


@dataclasses.dataclass(frozen=True)
class Process:
    """A server that is started as a process and spoken to over its stdin and stdout.

    variables: names of environment variables that it needs; it gets those and the few that
    the SDK passes on (PATH, HOME, …). Their values count as credentials.
    """

    command: tuple[str, ...]
    variables: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Url:
    """A server at a URL. credentials: headers only."""

    url: str
    credentials: tuple[Credential, ...] = ()


class MCP(Backend):
    """Tools of one MCP server; a connection that breaks is opened anew by the next call.

    Raises UserError when the SDK is not installed, the server cannot be reached or does not list
    its tools, two of them have one name, a credential's variable is not set, or it would travel
    unencrypted to another machine.
    """

    def __init__(self, server: Process | Url, *, timeout_s: float = 60.0):
        if importlib.util.find_spec("mcp") is None:
            raise UserError("MCP servers need the extra `mcp`: pip install 'tooltrain[mcp]'")
        self._server = server
        self._timeout_s = timeout_s
        if isinstance(server, Process):
            names = server.variables
        else:
            names = tuple(credential.variable for credential in server.credentials)
            if any(credential.place != "header" for credential in server.credentials):
                raise UserError("credentials of an MCP server go into headers")
            if names:
                check_encrypted(split_url(server.url, "the MCP server's URL"))
        self._values = {name: secrets.from_environment(name) for name in names}
        self.secrets = secrets.Secrets(self._values.values())
        if self._values:  # the SDK logs lines of a server that it cannot read
            logging.getLogger("mcp").propagate = False
            logging.getLogger("mcp").addHandler(logging.NullHandler())
        self._log = tempfile.NamedTemporaryFile("w+", prefix="mcp-", suffix=".log")  # noqa: SIM115
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()
        self._session: _Session | None = None
        try:
            session = self._connected()
            self._describe(self._answer(session, self._list(session), _CONNECT_TIMEOUT_S))
        except ToolFailure as error:
            message = self.secrets.redact(str(error))
            self.close()
            raise UserError(f"{message}; check the command or URL") from None
        except BaseException:
            self.close()
            raise

    def _describe(self, listed: Sequence[mcp.Tool]) -> None:
        self.tools = {}
        for tool in listed:
            name = safe_name(tool.name)
            if name in self.tools:
                raise UserError(
                    f"the server has two tools that read {name} as an OpenAI name; rename one"
                )
            self.tools[name] = Tool(name, tool.description or "", tool.input_schema, tool.name)
        self.read_only = frozenset(
            safe_name(t.name) for t in listed if t.annotations and t.annotations.read_only_hint
        )

    def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        session = self._connected()
        name = self.tools[tool].original_name
        call = session.client.call_tool(name, dict(arguments), self._timeout_s)
        result = self._answer(session, call, self._timeout_s + _GRACE_S)
        if result.is_error:
            raise ToolFailure(_said(result) or "the tool reports an error without saying which")
        return _response(result)

    def close(self) -> None:
        with self._lock:
            if self._session is not None:
                self._end(self._session)
                self._session = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_GRACE_S)
        if not self._loop.is_running():
            self._loop.close()
        self._log.close()

    def _answer(self, session: _Session, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        """What the server answers to `work`; a ToolFailure if it does not."""
        status = _Status()
        future = asyncio.run_coroutine_threadsafe(_watched(work, status), self._loop)
        try:
            return future.result(timeout_s)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise Unavailable(f"no answer within {timeout_s:g} s") from None
        except Exception as error:
            raise self._failure(error, session, status) from None

    def _connected(self) -> _Session:
        with self._lock:
            if self._session is not None and not self._session.broken:
                return self._session
            if self._session is not None:
                self._end(self._session)
            self._session = _Session()
            session = self._session
            session.task = asyncio.run_coroutine_threadsafe(self._serve(session), self._loop)
            try:
                concurrent.futures.wait(
                    (session.ready, session.task),
                    _CONNECT_TIMEOUT_S,
                    concurrent.futures.FIRST_COMPLETED,
                )
                if session.ready.done():
                    return session
            finally:
                session.broken |= not session.ready.done()
            error = session.task.exception() if session.task.done() else None
            reason = _root(error) if error else f"no answer within {_CONNECT_TIMEOUT_S:g} s"
            raise Unavailable(f"no MCP server: {reason}{self._last_words()}")

    def _end(self, session: _Session) -> None:
        self._loop.call_soon_threadsafe(session.closing.set)
        concurrent.futures.wait((session.task,), _GRACE_S)
        session.task.cancel()

    async def _serve(self, session: _Session) -> None:
        """One connection, from its opening to its end, in one task as the SDK needs it."""
        import mcp
        from mcp.client.streamable_http import streamable_http_client

        if isinstance(self._server, Process):
            parameters = mcp.StdioServerParameters(
                command=self._server.command[0],
                args=list(self._server.command[1:]),
                env=dict(self._values),
            )
            transport = mcp.stdio_client(parameters, errlog=self._log)
            async with mcp.Client(transport, read_timeout_seconds=_CONNECT_TIMEOUT_S) as client:
                await session.opened(client)
        else:
            async with self._http_client() as http:
                transport = streamable_http_client(self._server.url, http_client=http)
                async with mcp.Client(transport, read_timeout_seconds=_CONNECT_TIMEOUT_S) as client:
                    await session.opened(client)

    def _http_client(self) -> httpx2.AsyncClient:
        import httpx2

        headers = {c.name: c.prefix + self._values[c.variable] for c in self._server.credentials}

        async def keep_status(response: httpx2.Response) -> None:
            status = _STATUS.get()
            if status is not None and response.request.method == "POST":
                status.code = response.status_code
                status.retry_after_s = retry_after_s(response.headers.get("Retry-After"))

        # The SDK itself follows redirects, within the URL's origin only.
        return httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(self._timeout_s),
            event_hooks={"response": [keep_status]},
        )

    async def _list(self, session: _Session) -> list[mcp.Tool]:
        tools, cursor = [], None
        for _ in range(_MAX_PAGES):
            page = await session.client.list_tools(cursor=cursor)
            tools += page.tools
            cursor = page.next_cursor
            if cursor is None:
                break
        return tools

    def _failure(self, error: Exception, session: _Session, status: _Status) -> ToolFailure:
        import mcp

        if not isinstance(error, mcp.MCPError):
            # A result against the tool's own output schema is a fault of the tool's; all else
            # comes from a connection that broke.
            if isinstance(error, RuntimeError):
                return ToolFailure(str(error))
            session.broken = True
            return Unavailable(f"the connection broke ({type(error).__name__})")
        if error.code == _INTERNAL_ERROR and status.code >= 400:
            message = f"HTTP {status.code} {error}"
            if status.code in (401, 403):
                return Denied(message)
            if status.code in PASSING_STATUSES or status.code >= 500:
                return Unavailable(message, status.retry_after_s)
            return ToolFailure(message)
        ended = error.code == _INVALID_REQUEST and "terminated" in str(error)
        if error.code == _CONNECTION_CLOSED or ended:
            session.broken = True
            return Unavailable(f"the connection closed{self._last_words()}")
        if error.code in (_INTERNAL_ERROR, _REQUEST_TIMEOUT):
            return Unavailable(str(error))
        return ToolFailure(str(error))

    def _last_words(self) -> str:
        """The last line that a server process wrote to stderr."""
        lines = pathlib.Path(self._log.name).read_text(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f" ({said[-1]})" if said else ""


@dataclasses.dataclass
class _Status:
    """How HTTP answered the last POST of one request to the server, which the SDK's error does
    not say. code: 0 before there is an answer, and over stdio."""

    code: int = 0
    retry_after_s: float | None = None


# The SDK posts a message in the context in which it was sent.
_STATUS: contextvars.ContextVar[_Status | None] = contextvars.ContextVar("_STATUS", default=None)


async def _watched(work: Coroutine[Any, Any, Any], status: _Status) -> Any:
    _STATUS.set(status)
    return await work


class _Session:
    """One connection. broken: not to be used again."""

    def __init__(self) -> None:
        self.ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.task: concurrent.futures.Future[None]
        self.closing = asyncio.Event()
        self.client: mcp.Client
        self.broken = False

    async def opened(self, client: mcp.Client) -> None:
        self.client = client
        self.ready.set_result(None)
        await self.closing.wait()


def _root(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _said(result: mcp.types.CallToolResult) -> str:
    return " ".join(block.text for block in result.content if block.type == "text")


def _response(result: mcp.types.CallToolResult) -> Json:
    if result.structured_content is not None:
        return result.structured_content
    if len(result.content) == 1 and result.content[0].type == "text":
        text = result.content[0].text
        try:
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            return {"text": text}
        # A bare number or word is text that happens to be JSON.
        return document if isinstance(document, dict | list) else {"text": text}
    blocks = [block.model_dump(mode="json", by_alias=True) for block in result.content]
    return {"content": [{k: v for k, v in block.items() if v is not None} for block in blocks]}
