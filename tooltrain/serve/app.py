"""The HTTP side: OpenAI's chat completions over a batcher, as an ASGI application.

    POST /v1/chat/completions   tools, parallel tool calls, stream
    GET  /v1/models  /health  /metrics (Prometheus text)

Errors have OpenAI's shape, {"error": {"message", "type", "param", "code"}}: 400 what was
sent, 401 the key, 404 the model, 413 the size, 429 too many waiting, 503 starting, stopping
or failed, 504 the time limit. A client that goes away, streaming or not, frees its slot.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tooltrain.serve.batcher import Batcher, Busy, Closed, Status, Ticket
from tooltrain.serve.conversation import Conversations, content_of
from tooltrain.serve.request import ApiError, Asked, Limits, bad_request, read_request


class Server:
    """Answers with what `batcher` samples. api_key: "" asks for none."""

    def __init__(
        self,
        batcher: Batcher,
        conversations: Conversations,
        *,
        model: str,
        limits: Limits,
        api_key: str = "",
    ):
        self.batcher = batcher
        self._conversations = conversations
        self.model = model
        self._limits = limits
        self._api_key = api_key
        self._statuses: collections.Counter[int] = collections.Counter()
        self._created = int(time.time())
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._completions, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ]
        )

    # --- endpoints ------------------------------------------------------------------

    async def _completions(self, request: Request) -> Response:
        try:
            self._authorize(request)
            self._refuse_unless_ready()
            asked = read_request(
                await self._body(request),
                model=self.model,
                conversations=self._conversations,
                limits=self._limits,
                max_len=self.batcher.max_len,
            )
            stream = self._sampled(asked)
            if asked.stream:
                # The first piece is awaited here, so that what fails at once has a status.
                pieces = self._events(asked, stream)
                first = await self._within(anext(pieces), request)
                self._statuses[200] += 1
                return StreamingResponse(_chain(first, pieces), media_type="text/event-stream")
            body = await self._within(self._whole(asked, stream), request)
        except ApiError as error:
            self._statuses[error.status] += 1
            headers = {"Retry-After": "1"} if error.status in (429, 503) else None
            return JSONResponse(error.body, error.status, headers)
        except ClientDisconnect:
            self._statuses[499] += 1
            return Response(status_code=499)
        self._statuses[200] += 1
        return JSONResponse(body)

    async def _models(self, request: Request) -> Response:
        try:
            self._authorize(request)
        except ApiError as error:
            return JSONResponse(error.body, error.status)
        card = {
            "id": self.model,
            "object": "model",
            "created": self._created,
            "owned_by": "tooltrain",
        }
        return JSONResponse({"object": "list", "data": [card]})

    async def _health(self, request: Request) -> Response:
        del request
        status = self.batcher.status
        return JSONResponse({"status": status.value}, 200 if status is Status.READY else 503)

    async def _metrics(self, request: Request) -> Response:
        del request
        lines = [
            f'tooltrain_requests_total{{status="{status}"}} {count}'
            for status, count in sorted(self._statuses.items())
        ]
        lines += [
            f"tooltrain_requests_live {self.batcher.live}",
            f"tooltrain_requests_waiting {self.batcher.waiting}",
            f"tooltrain_sampled_tokens_total {self.batcher.sampled_tokens}",
            f"tooltrain_decode_segments_total {self.batcher.segments}",
            f"tooltrain_prompt_tokens_total {self.batcher.prompt_tokens}",
            f"tooltrain_prompt_tokens_reused_total {self.batcher.reused_tokens}",
        ]
        return PlainTextResponse("\n".join(lines) + "\n")

    # --- reading a request ----------------------------------------------------------

    def _authorize(self, request: Request) -> None:
        if not self._api_key:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._api_key.encode()):
            raise ApiError(401, "wrong API key", "authentication_error", "invalid_api_key")

    def _refuse_unless_ready(self) -> None:
        status = self.batcher.status
        if status is not Status.READY:
            raise _unavailable(status)

    async def _body(self, request: Request) -> dict[str, Any]:
        data = bytearray()
        async for piece in request.stream():
            data += piece
            if len(data) > self._limits.max_body_bytes:
                raise ApiError(
                    413,
                    f"the request exceeds {self._limits.max_body_bytes} bytes",
                    "invalid_request_error",
                    "request_too_large",
                )
        try:
            body = orjson.loads(bytes(data))
        except orjson.JSONDecodeError as error:
            raise bad_request(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict):
            raise bad_request("the body must be a JSON object")
        return body

    # --- sampling and writing ---------------------------------------------------------

    async def _sampled(self, asked: Asked) -> AsyncIterator[Sequence[int]]:
        """Pieces of sampled ids. The slot is freed however this ends."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue = asyncio.Queue()

        def deliver(piece) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(queue.put_nowait, piece)

        ticket = Ticket(asked.ids, asked.budget, asked.sampling, asked.seed, deliver)
        try:
            self.batcher.submit(ticket)
        except Busy:
            raise ApiError(429, "too many requests wait", "rate_limit_error", "busy") from None
        except Closed:
            raise _unavailable(self.batcher.status) from None
        # Not asyncio.timeout: the first piece and the others are awaited in different tasks.
        deadline = loop.time() + self._limits.timeout_s
        try:
            while True:
                piece = await asyncio.wait_for(queue.get(), deadline - loop.time())
                if piece is None:
                    return
                if isinstance(piece, Closed):
                    raise _unavailable(Status.STOPPING)
                if isinstance(piece, Exception):
                    raise ApiError(500, "sampling failed", "server_error", "internal_error")
                asked.reused = ticket.reused
                yield piece
        except TimeoutError:
            message = f"not finished within {self._limits.timeout_s} seconds"
            raise ApiError(504, message, "server_error", "timeout") from None
        finally:
            ticket.cancel()

    async def _whole(self, asked: Asked, stream: AsyncIterator[Sequence[int]]) -> dict[str, Any]:
        ids: list[int] = []
        async with contextlib.aclosing(stream):
            async for piece in stream:
                ids += piece
        message, reason = self._finished(asked, ids)
        choice = {"index": 0, "message": message, "finish_reason": reason, "logprobs": None}
        return self._envelope("chat.completion", [choice], _usage(asked, ids))

    async def _events(
        self, asked: Asked, stream: AsyncIterator[Sequence[int]]
    ) -> AsyncIterator[bytes]:
        """Server-sent events: text before the first call as it is written, then the calls."""
        ids: list[int] = []
        sent = ""
        id_ = f"chatcmpl-{uuid.uuid4().hex}"

        def event(delta: dict[str, Any], reason: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            return _event(self._envelope("chat.completion.chunk", [choice], None, id_))

        async with contextlib.aclosing(stream):
            try:
                async for piece in stream:
                    if not ids:
                        yield event({"role": "assistant", "content": ""})
                    ids += piece
                    text = self._shown(ids)
                    if text.startswith(sent) and len(text) > len(sent):
                        yield event({"content": text[len(sent) :]})
                        sent = text
            except ApiError as error:
                if not ids:
                    raise  # nothing was sent: it can still be an answer with a status
                yield _event(error.body)
                return
        message, reason = self._finished(asked, ids)
        content = message["content"] or ""
        if content.startswith(sent) and len(content) > len(sent):
            yield event({"content": content[len(sent) :]})
        for index, call in enumerate(message.get("tool_calls", ())):
            yield event({"tool_calls": [{"index": index, **call}]})
        yield event({}, reason)
        if asked.include_usage:
            yield _event(self._envelope("chat.completion.chunk", [], _usage(asked, ids), id_))
        yield b"data: [DONE]\n\n"

    def _shown(self, ids: Sequence[int]) -> str:
        """Text that no later token can take back: before a call, no half character or tag."""
        eos = self._conversations.template.eos_id
        text = self._conversations.template.text([i for i in ids if i != eos])
        text = content_of(text.rstrip("\ufffd"))
        for length in range(min(len("<tool_call>"), len(text)), 0, -1):
            if "<tool_call>".startswith(text[-length:]):
                return text[:-length].rstrip("\n")
        return text

    def _finished(self, asked: Asked, ids: Sequence[int]) -> tuple[dict[str, Any], str]:
        message, reason = self._conversations.answer(ids, parallel=asked.parallel)
        stopped = bool(ids) and ids[-1] == self._conversations.template.eos_id
        return message, reason if stopped else "length"

    def _envelope(
        self, kind: str, choices: list, usage: dict | None, id_: str = ""
    ) -> dict[str, Any]:
        body = {
            "id": id_ or f"chatcmpl-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "choices": choices,
        }
        return {**body, "usage": usage} if usage else body

    async def _within(self, work, request: Request):
        """`work`, given up if the client goes away before it is done."""
        task = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ClientDisconnect
        finally:
            for pending in (task, gone):
                pending.cancel()
                with contextlib.suppress(BaseException):
                    await pending


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(rest):
        yield first
        async for event in rest:
            yield event


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


def _usage(asked: Asked, ids: Sequence[int]) -> dict[str, Any]:
    return {
        "prompt_tokens": len(asked.ids),
        "completion_tokens": len(ids),
        "total_tokens": len(asked.ids) + len(ids),
        "prompt_tokens_details": {"cached_tokens": asked.reused},
    }


def _unavailable(status: Status) -> ApiError:
    if status is Status.STARTING:
        return ApiError(503, "the server is starting", "server_error", "starting")
    if status is Status.FAILED:
        return ApiError(503, "the server failed; its log says why", "server_error", "failed")
    return ApiError(503, "the server is stopping", "server_error", "stopping")
