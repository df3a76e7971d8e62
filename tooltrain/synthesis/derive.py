"""Derivability: can every gold argument be worked out from what the policy is shown?

Three ways are allowed: the query states the value (in a form that `statements` knows),
an earlier response holds it at the binding's path and its projection shows it, or it
is the schema's default. A trace with any other argument would teach guessing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tooltrain.env.projection import leaf_values
from tooltrain.env.schema import Tool
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.statements import states
from tooltrain.types import Binding, GoldCall, Json, Trace


def at_path(value: Json, path: Sequence[str | int]) -> Json:
    """The leaf at a path with list positions. Raises LookupError when there is none."""
    for step in path:
        value = value[step]
    return value


def underivable(trace: Trace, views: Sequence[str], tools: Mapping[str, Tool]) -> list[str]:
    """Reasons why `trace` is not derivable, empty when it is.

    views: the projection of each gold call's response, as text.
    """
    shown = [{value_text(v) for _, v in leaf_values(json.loads(view))} - {None} for view in views]
    reasons = []
    for call in trace.calls:
        bindings = {binding.argument: binding for binding in call.bindings}
        for name, value in call.arguments.items():
            schema = tools[call.name].properties.get(name, {})
            if name in bindings:
                if fault := _binding_fault(bindings[name], value, trace, shown):
                    reasons.append(f"{fault}: {call.name}.{name}")
            elif not states(trace.query, value) and value != schema.get("default", _NOTHING):
                reasons.append(f"not stated: {call.name}.{name}")
        reasons += _selector_faults(call, trace.query)
    return reasons


_NOTHING = object()


def _binding_fault(
    binding: Binding, value: Json, trace: Trace, shown: Sequence[set[str]]
) -> str | None:
    try:
        found = at_path(trace.responses[binding.source], binding.path)
    except (LookupError, TypeError):
        return "not in the response"
    if value_text(found) != value_text(value):
        return "another value in the response"
    return None if value_text(value) in shown[binding.source] else "not visible"


def _selector_faults(call: GoldCall, query: str) -> list[str]:
    """A `where(field=value)` must be explained by the query."""
    faults = set()
    for binding in call.bindings:
        if binding.selector.startswith("where("):
            value = binding.selector[len("where(") : -1].partition("=")[2]
            if not states(query, value):
                faults.add(f"selector not stated: {call.name}")
    return sorted(faults)
