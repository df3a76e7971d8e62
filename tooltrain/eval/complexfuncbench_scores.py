"""Scores of ComplexFuncBench episodes: one row a sample, tables with intervals over them."""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from tooltrain.env.environment import Environment
from tooltrain.eval.complexfuncbench_reference import reference_reading
from tooltrain.eval.complexfuncbench_samples import PUBLISHED_TURNS, BenchmarkSample
from tooltrain.eval.complexfuncbench_strict import strict_reading
from tooltrain.eval.evaluate import NUM_RESAMPLES, bootstrap_interval
from tooltrain.eval.taxonomy import Outcome
from tooltrain.types import Call, CallRecord, EndReason, Json

SEEN = {True: "shares a call", False: "shares no call"}  # with what was trained on
READINGS = ("strict", "reference")
# A metric is a quotient of two counts of a sample's row.
METRICS = {
    f"{reading}_{metric}": (f"{reading}_{over}", under.format(reading))
    for reading in READINGS
    for metric, over, under in (
        ("turn_accuracy", "turns", "turns"),
        ("call_accuracy", "calls", "{}_counted_calls"),
        ("success", "success", "samples"),
    )
}


def score(
    sample: BenchmarkSample,
    records: Sequence[CallRecord],
    end: EndReason,
    environment: Environment,
) -> dict[str, Json]:
    """One episode's row, ready for JSON: its calls, how it ended, and both readings.

    calls[i]: name and arguments (or malformed: what was wrong), turn, kind, and gold: the
    gold call it played right in the strict reading, or null.
    """
    strict = strict_reading(sample, records, end, environment)
    reference = reference_reading(sample, records, end)
    return {
        "id": sample.id,
        "position": sample.position,
        "domain": sample.domain,
        "turns": max(sample.turns) + 1,
        "gold_calls": len(sample.requests),
        "calls": [
            {**_call_to_json(record), "turn": record.turn, "kind": record.kind.value, "gold": gold}
            for record, gold in zip(records, strict.gold, strict=True)
        ],
        "end": end.value,
        "outcome": strict.failure.outcome.value,
        "failed_call": strict.failure.record,
        "failed_gold": strict.failure.gold,
        "failed_argument": strict.failure.argument,
        "counts": {
            "samples": 1,
            "turns": max(sample.turns) + 1,
            "strict_turns": strict.completed_turns,
            "strict_calls": strict.right_calls,
            "strict_counted_calls": strict.counted_calls,
            "strict_success": int(strict.success),
            "reference_turns": reference.completed_turns,
            "reference_calls": reference.matched_calls,
            "reference_counted_calls": len(sample.requests),
            "reference_success": int(reference.success),
        },
    }


def _call_to_json(record: CallRecord) -> dict[str, Json]:
    if isinstance(record.call, Call):
        return {"name": record.call.name, "arguments": record.call.arguments}
    return {"malformed": f"{record.call.kind}: {record.call.detail}"}


def summarize(
    rows: Sequence[Mapping[str, Any]], *, seed: int = 0, seen: Collection[str] | None = None
) -> dict[str, Any]:
    """Tables of scored samples, ready for JSON.

    seen: ids of samples of which a gold call was trained on; given, there is a table by_seen of
    them and one of the others, for as many as there are of each.

    Keys: samples, gold ({turns_per_sample, published_turns_per_sample, calls_per_sample}),
    overall and by_domain, by_turns, by_calls ({group: table}), outcomes and ends ({label:
    samples}). A table holds the number of samples and, for each metric, {mean, low, high}
    twice: under its name the mean over samples, under pooled_<name> the quotient of sums
    over samples, which is how the official tables count turns and calls. Intervals are 95%
    percentile bootstrap intervals over samples. Raises ValueError for no rows.
    """
    if not rows:
        raise ValueError("no samples to summarize; score at least one")
    rows = sorted(rows, key=lambda row: row["position"])
    counts = [row["counts"] for row in rows]

    def grouped(key: str) -> dict[str, Any]:
        groups: dict[Any, list[Mapping[str, int]]] = {}
        for row in rows:
            groups.setdefault(row[key], []).append(row["counts"])
        return {str(name): _table(groups[name], seed) for name in sorted(groups)}

    by_seen = {}
    if seen is not None:
        parts = {
            name: [r["counts"] for r in rows if (r["id"] in seen) is is_seen]
            for is_seen, name in SEEN.items()
        }
        by_seen = {"by_seen": {name: _table(part, seed) for name, part in parts.items() if part}}
    outcomes = collections.Counter(row["outcome"] for row in rows)
    ends = collections.Counter(row["end"] for row in rows)
    return {
        "samples": len(rows),
        "gold": {
            "turns_per_sample": sum(row["turns"] for row in rows) / len(rows),
            "published_turns_per_sample": PUBLISHED_TURNS,
            "calls_per_sample": sum(row["gold_calls"] for row in rows) / len(rows),
        },
        "overall": _table(counts, seed),
        "by_domain": grouped("domain"),
        "by_turns": grouped("turns"),
        "by_calls": grouped("gold_calls"),
        **by_seen,
        "outcomes": {outcome.value: outcomes[outcome.value] for outcome in Outcome},
        "ends": dict(sorted(ends.items())),
    }


def _table(counts: Sequence[Mapping[str, int]], seed: int) -> dict[str, Any]:
    over = np.array([[c[a] for a, _ in METRICS.values()] for c in counts], np.float64)
    under = np.array([[c[b] for _, b in METRICS.values()] for c in counts], np.float64)
    # A sample without any counted call cannot be: gold has at least one.
    low, high = bootstrap_interval(over / under, seed=seed)
    table: dict[str, Any] = {"samples": len(counts)}
    for i, name in enumerate(METRICS):
        mean = float((over[:, i] / under[:, i]).mean())
        table[name] = {"mean": mean, "low": float(low[i]), "high": float(high[i])}
    low, high = _pooled_interval(over, under, seed)
    for i, name in enumerate(METRICS):
        pooled = float(over[:, i].sum() / under[:, i].sum())
        table[f"pooled_{name}"] = {"mean": pooled, "low": float(low[i]), "high": float(high[i])}
    return table


def _pooled_interval(
    over: np.ndarray, under: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same resamples as `bootstrap_interval`, of the quotient of sums."""
    rng = np.random.default_rng(seed)
    quotients = []
    for _ in range(NUM_RESAMPLES):
        drawn = rng.integers(len(over), size=len(over))
        quotients.append(over[drawn].sum(0) / under[drawn].sum(0))
    low, high = np.percentile(np.stack(quotients), [2.5, 97.5], axis=0)
    return low, high


def table_lines(summary: Mapping[str, Any]) -> list[str]:
    """The headline tables as text: per domain and overall, in per cent with intervals."""
    columns = [
        (f"{reading} {title}", f"{prefix}{reading}_{metric}")
        for reading in READINGS
        for title, prefix, metric in (
            ("success", "", "success"),
            ("turns", "pooled_", "turn_accuracy"),
            ("calls", "pooled_", "call_accuracy"),
        )
    ]
    lines = ["  ".join([f"{'':>14} {'n':>5}", *(f"{title:>19}" for title, _ in columns)])]
    groups = [*summary["by_domain"].items(), ("all", summary["overall"])]
    for name, table in [*groups, *summary.get("by_seen", {}).items()]:
        cells = [_interval(table[metric]) for _, metric in columns]
        lines.append("  ".join([f"{name:>14} {table['samples']:>5}", *cells]))
    failures = {k: n for k, n in summary["outcomes"].items() if n}
    gold = summary["gold"]
    lines.append(f"outcomes: {', '.join(f'{name} {count}' for name, count in failures.items())}")
    lines.append(
        f"gold: {gold['turns_per_sample']:.2f} turns a sample (published: "
        f"{gold['published_turns_per_sample']}), {gold['calls_per_sample']:.2f} calls"
    )
    return lines


def _interval(metric: Mapping[str, float]) -> str:
    mean, low, high = (100 * metric[key] for key in ("mean", "low", "high"))
    return f"{f'{mean:.1f} [{low:.1f}, {high:.1f}]':>19}"
