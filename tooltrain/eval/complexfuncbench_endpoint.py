"""ComplexFuncBench played by an OpenAI-compatible chat endpoint.

Each sample is a conversation: the query alone, as the official procedure asks it, the
tools with their whole schemas, then calls and responses until a message without calls.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from tooltrain.data.chat_template import tool_schema
from tooltrain.eval.complexfuncbench_players import Played
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample
from tooltrain.eval.endpoint import ContextFull, Endpoint
from tooltrain.types import CallRecord, EndReason


class EndpointPlayer:
    """A player behind an endpoint; an episode has at most `max_turns` answers."""

    def __init__(self, endpoint: Endpoint, *, max_turns: int = 20):
        self._endpoint = endpoint
        self._max_turns = max_turns
        self.identity = {"player": "endpoint", **endpoint.identity, "max_turns": max_turns}

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        converse = functools.partial(self._converse, environment)
        yield from self._endpoint.map(converse, samples)

    def _converse(self, environment: BenchmarkEnvironment, sample: BenchmarkSample) -> Played:
        tools = [tool_schema(environment.tools[name]) for name in sample.trace.tools]
        messages: list[dict[str, Any]] = [{"role": "user", "content": sample.trace.query}]
        records: list[CallRecord] = []
        for turn in range(self._max_turns):
            try:
                answer = self._endpoint.answer(messages, tools)
            except ContextFull:
                return Played(sample, tuple(records), EndReason.CONTEXT_FULL)
            messages.append(answer.message)
            for call, id_ in zip(answer.calls, answer.ids, strict=True):
                observation = environment.execute(call, sample.offered)
                records.append(CallRecord(call, turn, observation.kind))
                shown = environment.show(call, observation)
                messages.append({"role": "tool", "tool_call_id": id_, "content": shown})
            if answer.cut:
                return Played(sample, tuple(records), EndReason.MAX_TURN_TOKENS)
            if not answer.calls:
                return Played(sample, tuple(records), EndReason.FINISHED)
        return Played(sample, tuple(records), EndReason.MAX_TURNS)
