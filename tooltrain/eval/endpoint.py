"""Any OpenAI-compatible chat endpoint as a policy: greedy, parallel, safe to stop."""

from __future__ import annotations

import concurrent.futures
import os
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from tooltrain.calls.parser import read_call
from tooltrain.errors import UserError
from tooltrain.types import Call, Json, MalformedCall

_MAX_FAILURES = 10  # requests in a row that failed after their retries: the endpoint is down

Item = TypeVar("Item")
Result = TypeVar("Result")


class ContextFull(Exception):
    """The conversation no longer fits into what the endpoint's model can read."""


class Answer(NamedTuple):
    """message: as it goes into the conversation. calls[i] is answered under ids[i].
    cut: the answer ran into a limit on its length."""

    message: dict[str, Any]
    calls: list[Call | MalformedCall]
    ids: list[str]
    cut: bool


class Endpoint:
    """What is served as `model` behind `base_url`. The key is read from OPENAI_API_KEY and
    kept nowhere; identity names neither it nor what else an address may hold.

    parallel: requests at a time. max_tokens: of one answer; 0 leaves it to the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        parallel: int = 8,
        max_tokens: int = 0,
        timeout_s: float = 600.0,
        max_retries: int = 4,
    ):
        """Raises UserError without the `openai` package, a model's name or a usable URL."""
        try:
            import openai
        except ImportError:
            raise UserError(
                "an endpoint needs the openai client: pip install 'tooltrain[llm]'"
            ) from None
        where = urllib.parse.urlsplit(base_url)
        if where.scheme not in ("http", "https") or not where.hostname or not model:
            raise UserError(
                f"got endpoint {base_url!r} and model {model!r}; wanted an address such as "
                "http://127.0.0.1:8000/v1 and the name under which it serves the model"
            )
        self._openai = openai
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=os.environ.get("OPENAI_API_KEY") or "none",
            timeout=timeout_s,
            max_retries=max_retries,
        )
        self._limits = {"max_tokens": max_tokens} if max_tokens else {}
        self._parallel = parallel
        self.model = model
        port = f":{where.port}" if where.port else ""
        self.identity: dict[str, Json] = {
            "endpoint": f"{where.scheme}://{where.hostname}{port}{where.path}",
            "model": model,
            "max_tokens": max_tokens,
        }

    def answer(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[dict[str, object]]
    ) -> Answer:
        """The next assistant message. Raises ContextFull, and openai.APIError for the rest."""
        try:
            choice = self._client.chat.completions.create(
                model=self.model,
                messages=list(messages),
                temperature=0,
                **({"tools": list(tools)} if tools else {}),
                **self._limits,
            ).choices[0]
        except self._openai.BadRequestError as error:
            if error.code != "context_length_exceeded" and "context length" not in str(error):
                raise
            raise ContextFull(str(error)) from None
        asked = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in choice.message.tool_calls or []
        ]
        message = {"role": "assistant", "content": choice.message.content}
        if asked:
            message["tool_calls"] = asked
        return Answer(
            message,
            [read_call(call["function"]) for call in asked],
            [call["id"] for call in asked],
            choice.finish_reason == "length",
        )

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """function(item) of every item as they finish; those that failed are left out.

        Raises UserError at the end if any failed, and early if the endpoint refuses the key
        or the model, or does not answer any more.
        """
        last: Exception | None = None
        failed = in_a_row = 0
        fatal = (
            self._openai.AuthenticationError,
            self._openai.PermissionDeniedError,
            self._openai.NotFoundError,
        )
        pool = concurrent.futures.ThreadPoolExecutor(self._parallel)
        try:
            running = [pool.submit(function, item) for item in items]
            for done in concurrent.futures.as_completed(running):
                try:
                    result = done.result()
                except self._openai.APIError as error:
                    last, failed, in_a_row = error, failed + 1, in_a_row + 1
                    if isinstance(error, fatal) or in_a_row >= _MAX_FAILURES:
                        break
                    continue
                in_a_row = 0
                yield result
        finally:
            pool.shutdown(cancel_futures=True)
        if last:
            raise UserError(
                f"{self.identity['endpoint']} failed in {failed} of {len(items)} samples, last "
                f"with {type(last).__name__}: {str(last)[:300]}; run again to play those that "
                "are missing"
            )
