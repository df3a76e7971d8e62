"""Learning curves: the metrics that are worth watching, of one run or of several.

One run: curves that belong together share a chart, a colour each. Several: a chart a metric
and a colour a run; the validation of the same metric is dashed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tooltrain.report.figures import COLORS, Line, curves
from tooltrain.report.runs import Run
from tooltrain.types import EndReason

_POINTS = 400  # of a line, at most: a screen shows no more


class _Chart(NamedTuple):
    stage: str
    title: str
    names: Mapping[str, str]  # metric -> label
    paired: bool = False  # the same quantity on training and on validation


CHARTS = (
    _Chart(
        "sft", "SFT: loss, nats per token", {"loss": "training", "eval/loss": "validation"}, True
    ),
    _Chart(
        "sft",
        "SFT: token accuracy",
        {"token_accuracy": "training", "eval/token_accuracy": "validation"},
        True,
    ),
    _Chart("grpo", "GRPO: reward", {"reward": "reward"}),
    _Chart(
        "grpo",
        "GRPO: terms of the reward",
        {
            f"reward/{term}": term.replace("_", " ")
            for term in ("atomic", "orchestration", "executed", "dependencies_met", "exact")
        },
    ),
    _Chart(
        "grpo",
        "GRPO: strict turn accuracy",
        {"strict_turn_accuracy": "training", "eval/strict_turn_accuracy": "validation, greedy"},
        True,
    ),
    _Chart(
        "grpo",
        "GRPO: success",
        {"success": "training", "eval/success": "validation, greedy"},
        True,
    ),
    _Chart("grpo", "GRPO: entropy, nats per token", {"entropy": "entropy"}),
    _Chart(
        "grpo",
        "GRPO: KL, nats per token",
        {"kl": "to the reference policy", "approx_kl": "to the behaviour policy"},
    ),
)
# For a closer look.
MORE_CHARTS = (
    _Chart("sft", "SFT: gradient norm", {"grad_norm": "gradient norm"}),
    _Chart("grpo", "GRPO: share of tokens clipped", {"clip_fraction": "clipped"}),
    _Chart("grpo", "GRPO: share of groups that differ", {"nonzero_variance_share": "groups"}),
    _Chart(
        "grpo",
        "GRPO: what became of calls",
        {
            f"call/{kind}": kind.replace("_", " ")
            for kind in ("ok", "not_recorded", "invalid_arguments", "unknown_tool", "malformed")
        },
    ),
    _Chart("grpo", "GRPO: length of episodes", {"turns": "turns", "calls_per_episode": "calls"}),
    _Chart(
        "grpo",
        "GRPO: tokens an episode",
        {"episode_tokens": "all", "sampled_tokens": "sampled"},
    ),
    _Chart(
        "grpo",
        "GRPO: how episodes end",
        {f"end/{end.value}": end.value.replace("_", " ") for end in EndReason},
    ),
    _Chart(
        "grpo",
        "GRPO: sampler and trainer apart, nats per token",
        {"mismatch_kl": "KL", "mismatch_abs": "absolute difference"},
    ),
    _Chart("grpo", "GRPO: gradient norm", {"grad_norm": "gradient norm"}),
)


def drawn(runs: Sequence[Run], charts: Sequence[_Chart]) -> list[str]:
    """SVG figures of `charts`; a metric that nobody logged, or only zeros, is left out."""
    wanted: list[tuple[str, list[Line]]] = []
    for chart in charts:
        if len(runs) == 1:
            wanted.append((chart.title, _of_one(runs[0], chart)))
        elif chart.paired:
            wanted.append((chart.title, _of_several(runs, chart.stage, list(chart.names))))
        else:
            wanted += [
                (
                    chart.title if len(chart.names) == 1 else f"{chart.title}, {label}",
                    _of_several(runs, chart.stage, [name]),
                )
                for name, label in chart.names.items()
            ]
    return [curves(title, lines) for title, lines in wanted if lines]


def colors(runs: Sequence[Run]) -> dict[str, str]:
    """The colour of each run that logged something, in charts of several."""
    logged = [run for run in runs if any(run.metrics.values())]
    return {run.name: COLORS[i % len(COLORS)] for i, run in enumerate(logged)}


def _of_one(run: Run, chart: _Chart) -> list[Line]:
    found = [(label, *points(run, chart.stage, name)) for name, label in chart.names.items()]
    found = [(label, steps, values) for label, steps, values in found if any(values)]
    named = len(found) > 1  # one curve needs no legend: the title names it
    return [
        Line(steps, values, COLORS[i % len(COLORS)], label if named else "")
        for i, (label, steps, values) in enumerate(found)
    ]


def _of_several(runs: Sequence[Run], stage: str, names: Sequence[str]) -> list[Line]:
    """A line for each run and name; the page says once which colour is whose."""

    def lines() -> Iterator[Line]:
        for run in runs:
            for name, dashed in zip(names, (False, True), strict=False):
                steps, values = points(run, stage, name)
                if any(values):
                    yield Line(steps, values, colors(runs)[run.name], "", dashed)

    return list(lines())


def points(run: Run, stage: str, name: str) -> tuple[list[float], list[float]]:
    """Steps and values; of a long run the means of equal parts. What is not finite is left out."""
    lines = run.metrics.get(stage, ())
    points = [
        (line["step"], line[name]) for line in lines if math.isfinite(line.get(name, math.nan))
    ]
    width = -(-len(points) // _POINTS) or 1
    parts = [points[i : i + width] for i in range(0, len(points), width)]
    return (
        [sum(step for step, _ in part) / len(part) for part in parts],
        [sum(value for _, value in part) / len(part) for part in parts],
    )
