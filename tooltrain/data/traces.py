"""Traces as JSON, one object a trace, and back."""

from __future__ import annotations

from typing import Any

from tooltrain.types import Binding, GoldCall, Trace


def trace_to_json(trace: Trace) -> dict[str, Any]:
    return {
        "id": trace.id,
        "suite": trace.suite,
        "workflow": trace.workflow,
        "query": trace.query,
        "tools": list(trace.tools),
        "calls": [
            {
                "name": call.name,
                "arguments": call.arguments,
                "depends_on": list(call.depends_on),
                "bindings": [
                    {
                        "argument": b.argument,
                        "source": b.source,
                        "path": list(b.path),
                        "selector": b.selector,
                    }
                    for b in call.bindings
                ],
            }
            for call in trace.calls
        ],
        "responses": list(trace.responses),
    }


def trace_from_json(record: dict[str, Any]) -> Trace:
    """Inverse of `trace_to_json`. Raises KeyError on a missing field."""
    calls = tuple(
        GoldCall(
            call["name"],
            call["arguments"],
            tuple(call["depends_on"]),
            tuple(
                Binding(b["argument"], b["source"], tuple(b["path"]), b["selector"])
                for b in call["bindings"]
            ),
        )
        for call in record["calls"]
    )
    return Trace(
        record["id"],
        record["suite"],
        record["workflow"],
        record["query"],
        tuple(record["tools"]),
        calls,
        tuple(record["responses"]),
    )
