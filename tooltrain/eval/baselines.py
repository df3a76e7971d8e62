"""Players that need no policy, so that every score has something to stand beside.

Each plays in the real environment: its records say what really became of its calls. No
tokens were sampled, so the rollouts carry none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

import numpy as np

from tooltrain.env.environment import Environment
from tooltrain.env.schema import Tool
from tooltrain.types import Call, CallRecord, EndReason, Json, Rollout, Trace, turns

Player = Callable[[Trace, Environment], list[list[Call]]]  # -> the calls of each turn

_QUOTED = re.compile(r'"([^"]+)"')
_CAPITALISED = re.compile(r"\b[A-Z][^\s.,;:?!]*(?: [A-Z][^\s.,;:?!]*)*")
_WORD = re.compile(r"[^\s,;?!\"]+")


def gold_calls(trace: Trace, environment: Environment) -> list[list[Call]]:
    """The gold calls, each dependency level in one turn: what a perfect policy does."""
    del environment
    played: list[list[Call]] = [[] for _ in range(max(turns(trace.calls)) + 1)]
    for gold, level in zip(trace.calls, turns(trace.calls), strict=True):
        played[level].append(Call(gold.name, gold.arguments))
    return played


def random_calls(trace: Trace, environment: Environment) -> list[list[Call]]:
    """As many calls as gold has, one a turn: a random offered tool, every required argument
    a random word of the query (a number where the schema wants one).

    Knowing the number of calls flatters it. Seeded by the trace's id.
    """
    rng = random.Random(f"random_calls {trace.id}")
    words = _WORD.findall(trace.query) or [""]
    numbers = [int(word) for word in words if word.isdecimal()] or [1]

    def random_value(tool: Tool, argument: str) -> Json:
        numeric = tool.properties.get(argument, {}).get("type") in ("number", "integer")
        return rng.choice(numbers) if numeric else rng.choice(words)

    played = []
    for _ in trace.calls:
        tool = environment.tools[rng.choice(trace.tools)]
        played.append([Call(tool.name, {a: random_value(tool, a) for a in tool.required})])
    return played


def first_lookup(trace: Trace, environment: Environment) -> list[list[Call]]:
    """One call: the first offered look-up tool with the query's most telling words.

    A look-up tool needs exactly one argument, `query`. The words are the first quoted
    ones, else the longest run of capitalised ones. No look-up tool offered: no call.
    """
    for name in trace.tools:
        if environment.tools[name].required == ("query",):
            quoted = _QUOTED.search(trace.query)
            names = _CAPITALISED.findall(trace.query) or [trace.query]
            words = quoted[1] if quoted else max(names, key=len)
            return [[Call(name, {"query": words})]]
    return []


PLAYERS: dict[str, Player] = {
    "random": random_calls,
    "first look-up": first_lookup,
    "gold": gold_calls,
}


def play(player: Player, traces: Sequence[Trace], environment: Environment) -> list[Rollout]:
    """One rollout a trace: the player's calls, executed with the trace's tools on offer."""
    rollouts = []
    for index, trace in enumerate(traces):
        played = player(trace, environment)
        records = tuple(
            CallRecord(call, turn, environment.execute(call, trace.tools).kind)
            for turn, calls in enumerate(played)
            for call in calls
        )
        rollouts.append(
            Rollout(
                prompt=index,
                generation=0,
                tokens=np.zeros(0, np.int32),
                completion_mask=np.zeros(0, bool),
                logprobs=np.zeros(0, np.float32),
                records=records,
                num_turns=len(played) + 1,
                end=EndReason.FINISHED,
            )
        )
    return rollouts
