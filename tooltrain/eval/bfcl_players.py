"""Who plays BFCL: a chat endpoint (all categories) or a trained policy (single-turn ones)."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from tooltrain.data.chat_template import tool_schema
from tooltrain.errors import UserError
from tooltrain.eval.bfcl import MULTI_TURN, Bfcl, Entry
from tooltrain.eval.bfcl_multi_turn import MAX_STEPS, World
from tooltrain.eval.endpoint import ContextFull, Endpoint
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.rollout.episode import Prompt
from tooltrain.types import Call, Json, MalformedCall, Observation, ObservationKind

Calls = list[Call | MalformedCall]


class Answered(NamedTuple):
    """turns[t][s]: the calls of answer s to user turn t; fewer turns where it was stopped."""

    entry: Entry
    turns: list[list[Calls]]


class Player(Protocol):
    """identity: JSON; what the answers depend on."""

    identity: dict[str, Json]

    def play(self, entries: Sequence[Entry], bfcl: Bfcl) -> Iterator[Answered]: ...


class EndpointPlayer:
    """An endpoint; in multi-turn tests it calls until it answers without a call."""

    def __init__(self, endpoint: Endpoint):
        self._endpoint = endpoint
        self.identity = {"player": "endpoint", **endpoint.identity}

    def play(self, entries: Sequence[Entry], bfcl: Bfcl) -> Iterator[Answered]:
        yield from self._endpoint.map(functools.partial(self._converse, bfcl), entries)

    def _converse(self, bfcl: Bfcl, entry: Entry) -> Answered:
        tools = [tool_schema(tool) for tool in entry.tools]
        messages: list[dict[str, Any]] = []
        turns: list[list[Calls]] = []
        world = World(bfcl, entry) if entry.category == MULTI_TURN else None
        for said in entry.messages:
            messages += said
            steps: list[Calls] = []
            while True:
                if len(steps) == MAX_STEPS:
                    return Answered(entry, turns)
                try:
                    answer = self._endpoint.answer(messages, tools)
                except ContextFull:
                    return Answered(entry, turns)
                messages.append(answer.message)
                if not answer.calls:
                    break
                steps.append(answer.calls)
                if world is None:
                    break
                messages += [
                    {"role": "tool", "tool_call_id": id_, "content": world.execute(call)}
                    for call, id_ in zip(answer.calls, answer.ids, strict=True)
                ]
            turns.append(steps)
        return Answered(entry, turns)


class _Nothing:
    """No environment: a single-turn answer is judged by its calls alone."""

    def execute(self, call: Call | MalformedCall, offered=None) -> Observation:
        del call, offered
        return Observation(ObservationKind.NOT_RECORDED, None)

    def show(self, call: Call | MalformedCall, observation: Observation) -> str:
        del call, observation
        return ""


class PolicyPlayer:
    """A trained policy. Its rollouts have one user turn, so multi-turn tests are refused."""

    def __init__(self, policy: TrainedPolicy):
        self._policy = policy
        self.identity = policy.identity

    def play(self, entries: Sequence[Entry], bfcl: Bfcl) -> Iterator[Answered]:
        """Raises UserError for tests of several user turns."""
        del bfcl
        if any(entry.category == MULTI_TURN for entry in entries):
            raise UserError(
                f"{MULTI_TURN} has several user turns, which rollouts have not; choose other "
                "--categories, or serve the policy and play it as an endpoint"
            )
        index = {entry.id: i for i, entry in enumerate(entries)}

        def prompt(entry: Entry) -> Prompt:
            query = "\n".join(message["content"] for message in entry.messages[0])
            tokens = self._policy.template.prompt(query, entry.tools)
            return Prompt(index[entry.id], tuple(tokens), tuple(t.name for t in entry.tools))

        played = self._policy.play(entries, prompt, _Nothing(), max_turns=1)
        for entry, rollout in played:
            calls = [record.call for record in rollout.records]
            yield Answered(entry, [[calls] if calls else []])
