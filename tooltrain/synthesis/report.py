"""What a synthesis made and rejected, what it looks like beside the benchmark, and how far
its splits are from it and from any given file."""

from __future__ import annotations

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from tooltrain.env.cache import Sample
from tooltrain.env.environment import Environment
from tooltrain.synthesis.contamination import of_file, of_samples, of_traces, overlap
from tooltrain.synthesis.generate import TRAIN, Generated, Settings
from tooltrain.types import GoldCall, Trace, turns

Shape = tuple[str, tuple[GoldCall, ...]]  # a query and its gold calls


BENCHMARK = "ComplexFuncBench"


def report(
    generated: Generated,
    environment: Environment,
    settings: Settings,
    against: Sequence[str] = (),
) -> dict[str, Any]:
    """Counts by split, rejections by reason, shapes, and the overlap with other sets.

    calls_in_benchmark: share of a split's different gold calls that are also calls of the
    benchmark's samples; 1.0 wherever the cache was recorded from them, 0.0 where it has none.
    shapes: of each split and of the benchmark (`shape`). contamination: `overlap` of each split
    with the benchmark and with each trace file (or list of queries) of `against`.
    """
    samples = list(environment.cache.samples())
    others = {BENCHMARK: of_samples(samples)} if samples else {}
    others |= {path: of_file(path) for path in against}
    benchmark = {
        (call.name, environment.tools[call.name].canonical(call.arguments))
        for sample in samples
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
    shapes = {name: shape(map(_of_trace, t)) for name, t in generated.splits.items() if len(t)}
    if samples:
        shapes[BENCHMARK] = shape(map(_of_sample, samples))
    contamination = {
        name: {
            other: overlap(of_traces(t), found, environment.tools)
            for other, found in others.items()
        }
        for name, t in generated.splits.items()
    }
    reasons: collections.Counter[str] = collections.Counter()
    for reason, count in generated.rejected.items():
        reasons[reason.partition(":")[0]] += count
    return {
        "cache_digest": environment.cache.digest,
        "settings": dataclasses.asdict(settings),
        "splits": splits,
        "shapes": shapes,
        "contamination": contamination,
        "rejected": dict(reasons.most_common()),
        "rejected_in_full": dict(generated.rejected.most_common()),
        "fillings_by_workflow": dict(sorted(generated.workflows.items())),
    }


def report_lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for name, s in found["splits"].items():
        line = (
            f"{name}: {s['traces']:,} traces of {s['workflows']} workflows, "
            f"{s['calls_per_trace']:.1f} calls each; {s['calls_in_train']:.0%} of its calls are in "
            "train"
        )
        if BENCHMARK in found["shapes"]:  # the cache has its samples
            line += f", {s['calls_in_benchmark']:.0%} in {BENCHMARK}"
        lines.append(line)
    rejected = ", ".join(f"{count:,} {reason}" for reason, count in found["rejected"].items())
    return [*lines, f"rejected: {rejected}", *_shape_lines(found), *_contamination_lines(found)]


def _shape_lines(found: dict[str, Any]) -> list[str]:
    """A table: a row a set, a column a measure, mean and greatest value in each."""
    head = "".join(f"{name.replace('_', ' '):>18}" for name in MEASURES)
    lines = [f"{'mean (greatest)':<20}{head}"]
    for name, measured in found["shapes"].items():
        cells = [f"{measured[m]['mean']:.1f} ({measured[m]['max']:,})" for m in MEASURES]
        lines.append(f"{name:<20}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def _contamination_lines(found: dict[str, Any]) -> list[str]:
    return [
        f"{name} in {other}: {shares['identical_calls']:.1%} of {shares['calls']:,} calls, "
        f"{shares['identical_requests']:.1%} of {shares['requests']:,} requests, "
        f"{shares['identical_queries']:.1%} of {shares['queries']:,} queries "
        f"({shares['near_queries']:.1%} nearly)"
        for name, by_other in found["contamination"].items()
        for other, shares in by_other.items()
    ]


MEASURES = ("calls", "depth", "width", "tools", "arguments", "query_words")


def shape(items: Iterable[Shape]) -> dict[str, dict[str, float]]:
    """Mean, median and greatest value of each of `MEASURES` over a set.

    depth: turns that the dependencies need; width: most calls of one turn; tools: different
    ones called; arguments: of all calls together.
    """
    columns: dict[str, list[int]] = {name: [] for name in MEASURES}
    for query, calls in items:
        by_turn = collections.Counter(turns(calls))
        columns["calls"].append(len(calls))
        columns["depth"].append(len(by_turn))
        columns["width"].append(max(by_turn.values(), default=0))
        columns["tools"].append(len({call.name for call in calls}))
        columns["arguments"].append(sum(len(call.arguments) for call in calls))
        columns["query_words"].append(len(query.split()))
    return {
        name: {
            "mean": statistics.fmean(values),
            "median": statistics.median(values),
            "max": max(values),
        }
        for name, values in columns.items()
    }


def _of_trace(trace: Trace) -> Shape:
    return trace.query, trace.calls


def _of_sample(sample: Sample) -> Shape:
    """The benchmark's own references say which call needs which."""
    calls = []
    for i, call in enumerate(sample.calls):
        needs = {source for _, source, _ in call.references if source < i}
        calls.append(GoldCall(call.name, call.arguments, tuple(sorted(needs))))
    return sample.query, tuple(calls)


def _calls(traces: list[Trace], environment: Environment) -> set[tuple[str, str]]:
    return {
        (call.name, environment.tools[call.name].canonical(call.arguments))
        for trace in traces
        for call in trace.calls
    }


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))
