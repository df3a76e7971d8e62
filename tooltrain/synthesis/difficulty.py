"""Difficulty: what makes a trace hard, as numbers that can be scheduled and tabled.

calls        gold calls                           depth   longest chain of calls
width        most calls of one turn               bindings  arguments taken from responses
repeated     calls beyond the first of their tool tools   tools offered in the prompt
distractors  offered tools that no gold call uses nearness  share of distractors that a
                                                          gold tool feeds or is fed by
selectors    bindings whose element is told by other than being the first
response_tokens  of all views together, as `projection.estimate_tokens` counts
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence

from tooltrain.env.cache import Edge
from tooltrain.env.projection import estimate_tokens
from tooltrain.types import GoldCall, turns


def difficulty(
    calls: Sequence[GoldCall],
    views: Sequence[str],
    offered: Sequence[str],
    edges: Iterable[Edge],
) -> dict[str, int | float]:
    """Of a trace: its gold calls, what is shown of each response, the offered tools; edges
    of the tool graph say which tools are near each other."""
    needed = {call.name for call in calls}
    distractors = set(offered) - needed
    near = neighbours(needed, edges)
    by_turn = collections.Counter(turns(tuple(calls)))
    bindings = [binding for call in calls for binding in call.bindings]
    return {
        "calls": len(calls),
        "depth": len(by_turn),
        "width": max(by_turn.values(), default=0),
        "repeated": len(calls) - len(needed),
        "bindings": len(bindings),
        "selectors": sum(b.selector not in ("", "first") for b in bindings),
        "tools": len(set(offered)),
        "distractors": len(distractors),
        "nearness": len(distractors & near) / len(distractors) if distractors else 0.0,
        "response_tokens": sum(map(estimate_tokens, views)),
    }


def neighbours(tools: Iterable[str], edges: Iterable[Edge]) -> set[str]:
    """Tools that some of `tools` feed, or are fed by, in the tool graph."""
    tools = set(tools)
    return {
        end
        for edge in edges
        for end, other in ((edge.source, edge.target), (edge.target, edge.source))
        if other in tools
    } - tools
