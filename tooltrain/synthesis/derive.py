"""Derivability: can every gold argument be worked out from what the policy is shown?

Three ways are allowed: the query states the value (in a form that `readings` knows), an
earlier response holds it at the binding's path and its projection shows it, or it is the
schema's default. A trace with any other argument would teach guessing. An element of a
list must be told by its selector from what the query says and the view shows.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence

from tooltrain.env.projection import leaf_values
from tooltrain.env.schema import Tool
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.readings import Reading, holds
from tooltrain.synthesis.statements import is_opaque
from tooltrain.synthesis.wordings import ORDINALS, superlatives
from tooltrain.types import Binding, GoldCall, Json, Trace

_VIEWS_KEPT = 16_384  # views repeat: a response is shown in every trace that plays its call
_NOTHING = object()


def at_path(value: Json, path: Sequence[str | int]) -> Json:
    """The leaf at a path with list positions. Raises LookupError when there is none."""
    for step in path:
        value = value[step]
    return value


def underivable(trace: Trace, views: Sequence[str], tools: Mapping[str, Tool]) -> list[str]:
    """Reasons why `trace` is not derivable, empty when it is.

    views: the projection of each gold call's response, as text.
    """
    reading = Reading(trace.query)
    reasons = []
    for call in trace.calls:
        bindings = {binding.argument: binding for binding in call.bindings}
        for name, value in call.arguments.items():
            if name in bindings:
                if fault := binding_fault(bindings[name], value, trace, views):
                    reasons.append(f"{fault}: {call.name}.{name}")
            elif not is_stated(reading, value, name) and not is_default(tools, call, name):
                reasons.append(f"not stated: {call.name}.{name}")
        reasons += selector_faults(call, reading, views)
    return reasons


def is_default(tools: Mapping[str, Tool], call: GoldCall, name: str) -> bool:
    """True if the argument has its schema's default."""
    if call.name not in tools:
        return False
    schema = tools[call.name].properties.get(name, {})
    return call.arguments[name] == schema.get("default", _NOTHING)


def is_stated(reading: Reading, value: Json, argument: str) -> bool:
    """True if the query states the value; of a list or object, every leaf."""
    if isinstance(value, list | dict):
        leaves = list(leaf_values(value))
        return bool(leaves) and all(reading.how(leaf, argument) for _, leaf in leaves)
    return reading.how(value, argument) is not None


@functools.lru_cache(_VIEWS_KEPT)
def shown_texts(view: str) -> frozenset[str | None]:
    """Texts of the values that a view shows."""
    return frozenset(value_text(value) for _, value in leaf_values(json.loads(view)))


def binding_fault(binding: Binding, value: Json, trace: Trace, views: Sequence[str]) -> str | None:
    """Why the bound value cannot be read from its source, None if it can."""
    try:
        found = at_path(trace.responses[binding.source], binding.path)
    except (LookupError, TypeError):
        return "not in the response"
    text = value_text(value)
    if text is None or value_text(found) != text:
        return "another value in the response"
    return None if text in shown_texts(views[binding.source]) else "not visible"


def leaks(trace: Trace) -> list[str]:
    """What a query must not say: a tool's name, and ids that only a response knows."""
    query = trace.query.lower()
    faults = [
        f"names a tool: {name}"
        for name in dict.fromkeys(trace.tools)
        if "_" in name and holds(query, name.lower())  # a tool named `time` is a word
    ]
    for call in trace.calls:
        for name, value in call.arguments.items():
            text = value_text(value)
            if is_opaque(value) and text is not None and holds(query, text.lower()):
                faults.append(f"states an id: {call.name}.{name}")
    return faults


def selector_faults(call: GoldCall, reading: Reading, views: Sequence[str]) -> list[str]:
    """A selector other than "first" must be stated, and its field seen on every element."""
    faults = set()
    for binding in call.bindings:
        kind, _, inner = binding.selector.partition("(")
        inner = inner[:-1]
        if kind == "where":
            stated = reading.how(inner.partition("=")[2]) is not None
        elif kind in ("argmin", "argmax"):
            words = superlatives(inner.rpartition(".")[2], kind == "argmax")
            stated = any(holds(reading.query.lower(), form) for form in words)
            if not _all_seen(views[binding.source], binding.path, inner):
                faults.add(f"selector not visible: {call.name}")
        elif kind == "nth":
            stated = holds(reading.query.lower(), ORDINALS[int(inner) - 1])
        else:
            stated = True
        if not stated:
            faults.add(f"selector not stated: {call.name}")
    return sorted(faults)


def _all_seen(view: str, path: Sequence[str | int], field: str) -> bool:
    """True if the view shows `field` (names joined by dots) of every element of the list."""
    last = max(i for i, step in enumerate(path) if isinstance(step, int))
    try:
        siblings = at_path(json.loads(view), path[:last])
        for sibling in siblings:  # a count of the rest is a text, which has no fields
            at_path(sibling, field.split("."))
    except (LookupError, TypeError):
        return False
    return True
