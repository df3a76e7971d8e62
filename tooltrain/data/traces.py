"""Traces as JSON, one object a trace, and back.

Responses are left out unless asked for: they are the cache's, found by the call, and
stand there once instead of once a query (25 kB a trace on booking).
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from tooltrain.types import Binding, GoldCall, Trace


def trace_to_json(trace: Trace, *, responses: bool = False) -> dict[str, Any]:
    record = {
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
    }
    if trace.difficulty:
        record["difficulty"] = dict(trace.difficulty)
    return record | {"responses": list(trace.responses)} if responses else record


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
        tuple(record.get("responses", ())),
        dict(record.get("difficulty", {})),
    )


def write_jsonl(path: str | os.PathLike[str], traces: Iterable[Trace]) -> None:
    """Writes whole traces, responses with them, one JSON text a line."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for trace in traces:
            record = trace_to_json(trace, responses=True)
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
