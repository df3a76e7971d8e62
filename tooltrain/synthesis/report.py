"""What a synthesis made and rejected, and how far its splits are from the benchmark."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any

from tooltrain.env.environment import Environment
from tooltrain.synthesis.generate import TRAIN, Generated, Settings
from tooltrain.types import Trace


def report(generated: Generated, environment: Environment, settings: Settings) -> dict[str, Any]:
    """Counts by split, rejections by reason, and the overlap with ComplexFuncBench.

    calls_in_benchmark: share of a split's different gold calls that are also calls of
    the benchmark's samples; 1.0 wherever the cache was recorded from them.
    """
    benchmark = {
        (call.name, environment.tools[call.name].canonical(call.arguments))
        for sample in environment.cache.samples()
        for call in sample.calls
    }
    splits = {}
    train_calls = _calls(generated.splits[TRAIN], environment)
    for name, traces in generated.splits.items():
        calls = _calls(traces, environment)
        splits[name] = {
            "traces": len(traces),
            "workflows": len({t.workflow for t in traces}),
            "queries": len({t.query for t in traces}),
            "calls_per_trace": _mean([len(t.calls) for t in traces]),
            "query_chars": _mean([len(t.query) for t in traces]),
            "calls_in_train": len(calls & train_calls) / max(1, len(calls)),
            "calls_in_benchmark": len(calls & benchmark) / max(1, len(calls)),
        }
    reasons: collections.Counter[str] = collections.Counter()
    for reason, count in generated.rejected.items():
        reasons[reason.partition(":")[0]] += count
    return {
        "cache_digest": environment.cache.digest,
        "settings": dataclasses.asdict(settings),
        "splits": splits,
        "rejected": dict(reasons.most_common()),
        "rejected_in_full": dict(generated.rejected.most_common()),
        "fillings_by_workflow": dict(sorted(generated.workflows.items())),
    }


def report_lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{name}: {s['traces']:,} traces of {s['workflows']} workflows, "
        f"{s['calls_per_trace']:.1f} calls each; {s['calls_in_train']:.0%} of its calls are in "
        f"train, {s['calls_in_benchmark']:.0%} in ComplexFuncBench"
        for name, s in found["splits"].items()
    ]
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in found["rejected"].items())
    return [*lines, f"rejected: {rejected}"]


def _calls(traces: list[Trace], environment: Environment) -> set[tuple[str, str]]:
    return {
        (call.name, environment.tools[call.name].canonical(call.arguments))
        for trace in traces
        for call in trace.calls
    }


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))
