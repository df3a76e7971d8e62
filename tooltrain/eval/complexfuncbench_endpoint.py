"""ComplexFuncBench played by any OpenAI-compatible chat endpoint, greedily.

Each sample is a conversation: the query alone, as the official procedure asks it, the
tools with their whole schemas, then calls and responses until a message without calls.
"""

from __future__ import annotations

import concurrent.futures
import os
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from tooltrain.calls.parser import read_call
from tooltrain.data.chat_template import tool_schema
from tooltrain.errors import UserError
from tooltrain.eval.complexfuncbench_players import Played
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample
from tooltrain.types import CallRecord, EndReason

_MAX_FAILURES = 10  # requests in a row that failed after their retries: the endpoint is down


class Endpoint:
    """A player behind `base_url`. The key is read from OPENAI_API_KEY and kept nowhere.

    parallel: conversations at a time. max_tokens: of one answer; 0 leaves it to the endpoint.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        parallel: int = 8,
        max_turns: int = 20,
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
        self._max_turns = max_turns
        shown = f"{where.scheme}://{where.hostname}{f':{where.port}' if where.port else ''}"
        self.identity = {
            "player": "endpoint",
            "endpoint": shown + where.path,  # a user, a password or a query may be secret
            "model": model,
            "max_turns": max_turns,
            "max_tokens": max_tokens,
        }

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        """Hands out conversations as they finish. One that failed is left for another run.

        Raises UserError at the end if any failed, and at once if the endpoint refuses the
        key or the model, or does not answer any more.
        """
        failures: list[Exception] = []
        failed = in_a_row = 0
        pool = concurrent.futures.ThreadPoolExecutor(self._parallel)
        try:
            running = [pool.submit(self._converse, sample, environment) for sample in samples]
            for done in concurrent.futures.as_completed(running):
                try:
                    played = done.result()
                except self._openai.APIError as error:
                    failures = [error]
                    failed, in_a_row = failed + 1, in_a_row + 1
                    fatal = (
                        self._openai.AuthenticationError,
                        self._openai.PermissionDeniedError,
                        self._openai.NotFoundError,
                    )
                    if isinstance(error, fatal) or in_a_row >= _MAX_FAILURES:
                        break
                    continue
                in_a_row = 0
                yield played
        finally:
            pool.shutdown(cancel_futures=True)
        if failures:
            raise UserError(
                f"{self.identity['endpoint']} failed in {failed} of {len(samples)} samples, last "
                f"with {type(failures[0]).__name__}: {str(failures[0])[:300]}; run again to play "
                "those that are missing"
            )

    def _converse(self, sample: BenchmarkSample, environment: BenchmarkEnvironment) -> Played:
        tools = [tool_schema(environment.tools[name]) for name in sample.trace.tools]
        messages: list[dict[str, Any]] = [{"role": "user", "content": sample.trace.query}]
        records: list[CallRecord] = []
        for turn in range(self._max_turns):
            try:
                choice = self._client.chat.completions.create(
                    model=self.identity["model"],
                    messages=messages,
                    tools=tools,
                    temperature=0,
                    **self._limits,
                ).choices[0]
            except self._openai.BadRequestError as error:
                if error.code != "context_length_exceeded" and "context length" not in str(error):
                    raise
                return Played(sample, tuple(records), EndReason.CONTEXT_FULL)
            asked = choice.message.tool_calls or []
            cut = choice.finish_reason == "length"
            messages.append(
                {
                    "role": "assistant",
                    "content": choice.message.content,
                    **({"tool_calls": [_as_sent(call) for call in asked]} if asked else {}),
                }
            )
            for call in asked:
                function = _as_sent(call)["function"]
                read = read_call(function)
                observation = environment.execute(read, sample.offered)
                records.append(CallRecord(read, turn, observation.kind))
                shown = environment.show(read, observation)
                messages.append({"role": "tool", "tool_call_id": call.id, "content": shown})
            if cut:
                return Played(sample, tuple(records), EndReason.MAX_TURN_TOKENS)
            if not asked:
                return Played(sample, tuple(records), EndReason.FINISHED)
        return Played(sample, tuple(records), EndReason.MAX_TURNS)


def _as_sent(call: Any) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    return {"id": call.id, "type": "function", "function": function}
