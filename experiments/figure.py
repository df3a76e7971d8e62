"""Draws results/NAME.svg and writes results/NAME.md from what a sweep left in results/NAME.json.

    python -m experiments.figure NAME ...

A row an arm: strict turn accuracy on the test traces, and beside it the reward that the arm was
trained on, of the same greedy episodes; before GRPO and after it. An arm whose reward went up
and whose accuracy went down shows as two dots that moved apart.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.seeds import interval
from tooltrain.report import figures
from tooltrain.report.runs import MAIN_SPLIT, STAGES

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
_TITLES = {"accuracy": "strict turn accuracy, %", "reward": "its own reward, %"}
_SHARES = {
    "repeats_skipped": "repeats skipped, %",
    "calls_over_gold": "calls / gold, %",
    "early_stops": "early stops, %",
}
Values = Mapping[str, list[float]]  # by stage, one a seed


def draw(results: pathlib.Path) -> None:
    """Writes the figure and the table beside `results`."""
    found = json.loads(results.read_text())
    shown = {name: _by_arm(found, read) for name, read in _READ.items()}
    panels = [
        figures.Panel(
            title,
            {
                arm: {STAGES[stage]: _row(values) for stage, values in by_stage.items()}
                for arm, by_stage in shown[name].items()
            },
        )
        for name, title in _TITLES.items()
        if any(shown[name].values())
    ]
    results.with_suffix(".svg").write_text(figures.arms(list(found["arms"]), panels) + "\n")
    results.with_suffix(".md").write_text(table(found))


def table(found: Mapping[str, Any]) -> str:
    """The results as a Markdown table, a row an arm: mean and 95% interval over seeds (Student's
    t) in per cent, what the test episodes were like after the last stage, difference from the arm
    that the others are compared with."""
    first = found["compared_with"]
    columns = ["arm", "seeds", *(f"{_TITLES['accuracy'][:-3]} after {s}" for s in STAGES.values())]
    columns += [f"difference from {first}", *(f"own reward after {s}" for s in STAGES.values())]
    columns += [*_SHARES.values(), "tokens, millions"]
    accuracy, reward = (_by_arm(found, _READ[name]) for name in ("accuracy", "reward"))
    lines = [columns, ["---"] * len(columns)]
    for arm in found["arms"]:
        compared = found["summary"].get(arm)
        if compared is None:
            continue
        cells = [arm, str(compared["seeds"])]
        cells += [_cell(accuracy[arm].get(stage)) for stage in STAGES]
        cells.append("" if arm == first else _difference(compared))
        cells += [_cell(reward[arm].get(stage)) for stage in STAGES]
        for name in _SHARES:
            by_stage = _by_arm(found, lambda seed, stage, name=name: _seen(seed, stage, name))[arm]
            cells.append(_cell(list(by_stage.values())[-1] if by_stage else None))
        tokens = [sum(seed.get("tokens", {}).values()) for seed in found["behaviour"][arm]]
        cells.append(f"{np.mean(tokens) / 1e6:.2f}" if any(tokens) else "")
        lines.append(cells)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _by_arm(
    found: Mapping[str, Any], read: Callable[[Mapping[str, Any], str], float | None]
) -> dict[str, Values]:
    """read(a seed's results and behaviour, stage), by arm and stage; what no seed has is left
    out."""
    told = {}
    for arm in found["arms"]:
        pairs = zip(found["results"][arm], found["behaviour"][arm], strict=True)
        seeds = [{**behaviour, **result} for result, behaviour in pairs]
        by_stage = {stage: [read(seed, stage) for seed in seeds] for stage in STAGES}
        told[arm] = {
            stage: [value for value in values if value is not None]
            for stage, values in by_stage.items()
            if any(value is not None for value in values)
        }
    return told


def _seen(seed: Mapping[str, Any], stage: str, name: str) -> float | None:
    return seed.get(stage, {}).get(MAIN_SPLIT, {}).get(name)


_READ: dict[str, Callable[[Mapping[str, Any], str], float | None]] = {
    "accuracy": lambda seed, stage: seed.get(f"{stage}_strict_turn_accuracy"),
    "reward": lambda seed, stage: _seen(seed, stage, "reward"),
}


def _row(values: list[float]) -> figures.Row:
    found = interval(values)
    percent = [100 * value for value in values]
    return figures.Row(percent, None if found is None else (100 * found[0], 100 * found[1]))


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    found = interval(values)
    spread = f" ({100 * found[0]:.1f} to {100 * found[1]:.1f})" if found else ""
    return f"{100 * np.mean(values):.1f}{spread}"


def _difference(compared: Mapping[str, Any]) -> str:
    if compared["difference"] is None:
        return ""
    spread = compared["interval"]
    told = f" ({100 * spread[0]:+.1f} to {100 * spread[1]:+.1f})" if spread else ""
    return f"{100 * compared['difference']:+.1f}{told}"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        draw(RESULTS / f"{name}.json")
