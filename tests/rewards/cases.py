"""Trajectories and gold for the reward tests: from the worked vectors, and random ones."""

from __future__ import annotations

import json
import pathlib

import numpy as np
from hypothesis import strategies as st

from tooltrain.types import (
    Binding,
    Call,
    CallRecord,
    EncodedCalls,
    EncodedGold,
    GoldCall,
    MalformedCall,
    ObservationKind,
    turns,
)

MALFORMED = MalformedCall("bad_json", "not JSON")


def read_lines(path: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def record_from(call: dict) -> CallRecord:
    """A call as matched_vectors.jsonl writes it."""
    if "malformed" in call:
        return CallRecord(MALFORMED, call["turn"], ObservationKind.MALFORMED)
    kind = ObservationKind.OK if call["ok"] else ObservationKind.NOT_RECORDED
    return CallRecord(Call(call["name"], call["arguments"]), call["turn"], kind)


def gold_from(step: dict) -> GoldCall:
    bindings = tuple(Binding(name, source, ()) for name, source in step["bindings"].items())
    return GoldCall(step["name"], step["arguments"], tuple(step["depends_on"]), bindings)


def play(gold, turn_of=None) -> list[CallRecord]:
    """The trajectory that carries out gold, each call in its turn."""
    turn_of = turn_of or turns(tuple(gold))
    return [
        CallRecord(Call(step.name, dict(step.arguments)), turn, ObservationKind.OK)
        for step, turn in zip(gold, turn_of, strict=True)
    ]


def row(encoded: EncodedCalls | EncodedGold, index: int):
    return type(encoded)(*(np.asarray(field)[index] for field in encoded))


NAMES = ("find", "search", "book", "rate")
ARGUMENTS = ("id", "query", "date", "lat")
scalars = st.one_of(
    st.sampled_from(["Paris", "paris", "New York", "a_b", "", "7"]),
    st.integers(-3, 3),
    st.sampled_from([0.5, 2.0, -1.25]),
    st.booleans(),
    st.none(),
)
values = st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.just("k"), scalars))
arguments = st.dictionaries(st.sampled_from(ARGUMENTS), values, max_size=4)


@st.composite
def golds(draw, min_steps: int = 1, max_steps: int = 6, distinct: bool = False):
    """A random gold DAG: dependencies on earlier calls, some arguments bound to them."""
    steps: list[GoldCall] = []
    for index in range(draw(st.integers(min_steps, max_steps))):
        fields = draw(arguments)
        if distinct:  # no two calls alike
            fields = {**fields, "n": index}
        depends_on = (
            tuple(sorted(draw(st.sets(st.integers(0, index - 1), max_size=3)))) if index else ()
        )
        bindings = tuple(
            Binding(name, draw(st.sampled_from(depends_on)), ())
            for name in fields
            if depends_on and draw(st.booleans())
        )
        steps.append(GoldCall(draw(st.sampled_from(NAMES)), fields, depends_on, bindings))
    return tuple(steps)


@st.composite
def trajectories(draw, gold, max_extra: int = 3):
    """Calls made of gold by dropping, repeating, reordering and damaging, and noise."""
    source = list(gold) * 2
    records = []
    for _ in range(draw(st.integers(0, len(gold) + max_extra))):
        kind = draw(st.sampled_from(["gold", "gold", "edited", "noise", "malformed"]))
        turn = draw(st.integers(0, 5))
        executed = draw(st.sampled_from([ObservationKind.OK, ObservationKind.NOT_RECORDED]))
        if kind == "malformed":
            records.append(CallRecord(MALFORMED, turn, ObservationKind.MALFORMED))
            continue
        if kind == "noise":
            call = Call(draw(st.sampled_from(NAMES)), draw(arguments))
        else:
            step = draw(st.sampled_from(source))
            fields = dict(step.arguments)
            if kind == "edited":
                fields.update(draw(arguments))
            call = Call(step.name, fields)
        records.append(CallRecord(call, turn, executed))
    return records
