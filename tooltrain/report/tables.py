"""Tables of one or several runs: scores with intervals, failures, what the runs differ in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tooltrain.eval.baselines import PLAYERS
from tooltrain.report.runs import MAIN_SPLIT, SPLITS, STAGES, Run

METRICS = {
    "strict_turn_accuracy": "strict turns",
    "reference_turn_accuracy": "reference turns",
    "success": "success",
    "reference_success": "reference success",
    "call_accuracy": "calls",
    "reference_call_accuracy": "reference calls",
    "matched_reward": "matched reward",
}
GROUPS = {"by_workflow": "workflow", "by_depth": "gold turns", "by_num_calls": "gold calls"}
COMPLEXFUNCBENCH = {
    "strict_success": "strict success",
    "pooled_strict_turn_accuracy": "strict turns",
    "pooled_strict_call_accuracy": "strict calls",
    "reference_success": "reference success",
    "pooled_reference_turn_accuracy": "reference turns",
    "pooled_reference_call_accuracy": "reference calls",
}
COMPLEXFUNCBENCH_GROUPS = {
    "by_domain": "domain",
    "by_turns": "gold turns",
    "by_calls": "gold calls",
    "by_seen": "gold calls trained on",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """text, and beside it in small print; share in [0, 1] colours the cell by what it is."""

    text: str
    small: str = ""
    share: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """kind: "policy", "baseline", "difference", "mean" or "": how the page shows it."""

    label: str
    cells: Sequence[Cell]
    kind: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    corner: str
    columns: Sequence[str]
    rows: Sequence[Row]


def percent(metric: Mapping[str, float], sign: str = "") -> Cell:
    """A mean in [0, 1] in per cent, with its interval."""
    mean, low, high = (f"{100 * metric[key]:{sign}.1f}" for key in ("mean", "low", "high"))
    return Cell(mean, f"{low} to {high}")


def _share(value: float) -> Cell:
    return Cell(f"{100 * value:.1f}", share=max(0.0, min(1.0, value)))


def named(runs: Sequence[Run], run: Run, player: str) -> str:
    """How a player is called on a page about `runs`."""
    return player if len(runs) == 1 else f"{run.name} · {player}"


# --- held-out traces -----------------------------------------------------------------------


def heldout(runs: Sequence[Run], split: str) -> Table | None:
    """Means over seeds, a row for each stage of each run, what GRPO changed, baselines."""
    rows = []
    for seeds in seeds_of_one(runs):
        for stage, label in STAGES.items():
            rows += _mean_over_seeds(seeds, stage, label, split)
    for run in runs:
        for stage, policy in _evaluated(run, split):
            metrics = policy["splits"][split]["metrics"]
            cells = [percent(metrics[name]) for name in METRICS]
            rows.append(Row(named(runs, run, STAGES[stage]), cells, "policy"))
        if changed := run.evaluation.get("difference", {}).get(split):
            cells = [percent(changed[name], "+") for name in METRICS]
            rows.append(Row(named(runs, run, "GRPO minus SFT"), cells, "difference"))
    if not rows:
        return None
    return Table("player", list(METRICS.values()), [*rows, *_baselines(runs, split)])


def _mean_over_seeds(seeds: Sequence[Run], stage: str, label: str, split: str) -> Iterator[Row]:
    found = [dict(_evaluated(run, split)).get(stage) for run in seeds]
    if not all(found):
        return
    cells = []
    for name in METRICS:
        means = [policy["splits"][split]["metrics"][name]["mean"] for policy in found]
        spread = {"mean": sum(means) / len(means), "low": min(means), "high": max(means)}
        cells.append(percent(spread))
    yield Row(f"{label}, mean of {len(seeds)} seeds (least to most)", cells, "mean")


def _baselines(runs: Sequence[Run], split: str) -> Iterator[Row]:
    """Once, if they scored the same beside all runs (their intervals depend on the seed)."""
    having = [run for run in runs if any(split in b["splits"] for b in run.baselines.values())]

    def means(run: Run) -> list[float]:
        scores = (played["splits"][split]["metrics"] for played in run.baselines.values())
        return [metric["mean"] for metrics in scores for metric in metrics.values()]

    same = all(means(run) == means(having[0]) for run in having)
    for run in having[:1] if same else having:
        for name, played in run.baselines.items():
            metrics = played["splits"][split]["metrics"]
            label = name if same else named(runs, run, name)
            yield Row(label, [percent(metrics[metric]) for metric in METRICS], "baseline")


def _evaluated(run: Run, split: str) -> Iterator[tuple[str, Any]]:
    return ((s, policy) for s, policy in run.policies.items() if split in policy["splits"])


def seeds_of_one(runs: Sequence[Run]) -> list[list[Run]]:
    """Groups of two runs or more whose configs differ in the seed alone."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        settings = run.settings()
        if "seed" not in settings:
            continue
        same = {k: v for k, v in settings.items() if k != "seed"}
        groups.setdefault(json.dumps(same, sort_keys=True), []).append(run)
    return [
        group
        for group in groups.values()
        if len({str(run.settings()["seed"]) for run in group}) == len(group) > 1
    ]


def groups(runs: Sequence[Run], split: str) -> dict[str, Table]:
    """Strict turn accuracy by workflow, depth and size: {what it is by: table}."""
    players = [
        (named(runs, run, STAGES[stage]), policy["splits"][split])
        for run in runs
        for stage, policy in _evaluated(run, split)
    ]
    return _grouped(players, GROUPS, "episodes", lambda row: row["strict_turn_accuracy"])


def outcomes(runs: Sequence[Run]) -> Table | None:
    """Share of held-out episodes by their first failure."""
    players = [
        (named(runs, run, STAGES[stage]), policy["splits"][MAIN_SPLIT])
        for run in runs
        for stage, policy in _evaluated(run, MAIN_SPLIT)
    ]
    return _counted(players, "outcomes", lambda s: s["episodes"], "first failure")


def sizes(runs: Sequence[Run], split: str) -> str:
    """What a split holds, where all runs were evaluated on as much of it."""
    found = {
        tuple(policy["splits"][split][key] for key in ("episodes", "calls", "turns"))
        for run in runs
        for _, policy in _evaluated(run, split)
    }
    text = " or ".join(
        f"{episodes} episodes, {calls} gold calls in {turns} turns"
        for episodes, calls, turns in sorted(found)
    )
    notes = dict.fromkeys(
        run.evaluation.get("note", SPLITS[split][1]) for run in runs if [*_evaluated(run, split)]
    )
    return f"{' '.join(notes)} {text[:1].upper()}{text[1:]}."


def alarms(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """What training warned of: (whose and when, the warning)."""
    return [
        (
            f"{named(runs, run, STAGES[stage])}, step {line['step']}: {line['alarm']}",
            line["message"],
        )
        for run in runs
        for stage, lines in run.alarms.items()
        for line in lines
    ]


# --- benchmarks ----------------------------------------------------------------------------


def _played(runs: Sequence[Run], benchmark: str) -> list[tuple[str, Any]]:
    return [
        (named(runs, run, STAGES.get(player, player.replace("_", " "))), summary)
        for run in runs
        for player, summary in run.benchmarks[benchmark].items()
    ]


def complexfuncbench(runs: Sequence[Run]) -> Table | None:
    played = _played(runs, "complexfuncbench")
    rows = [
        Row(
            label,
            [
                Cell(f"{summary['samples']:,}"),
                *(percent(summary["overall"][name]) for name in COMPLEXFUNCBENCH),
            ],
            "baseline" if summary["identity"]["player"] in PLAYERS else "policy",
        )
        for label, summary in played
    ]
    return Table("player", ["samples", *COMPLEXFUNCBENCH.values()], rows) if rows else None


def complexfuncbench_groups(runs: Sequence[Run]) -> dict[str, Table]:
    return _grouped(
        _played(runs, "complexfuncbench"),
        COMPLEXFUNCBENCH_GROUPS,
        "samples",
        lambda row: row["pooled_strict_turn_accuracy"]["mean"],
    )


def complexfuncbench_outcomes(runs: Sequence[Run]) -> Table | None:
    played = _played(runs, "complexfuncbench")
    return _counted(played, "outcomes", lambda s: s["samples"], "first failure, strict")


def bfcl(runs: Sequence[Run]) -> Table | None:
    """Valid answers by category. A player that did not play one has no number there."""
    played = _played(runs, "bfcl")
    categories = list(dict.fromkeys(name for _, s in played for name in s["by_category"]))
    rows = []
    for category in categories:
        cells = []
        for _, summary in played:
            row = summary["by_category"].get(category)
            cell = percent(row) if row else Cell("")
            tests = f"; {row['tests']} tests" if row else ""
            cells.append(dataclasses.replace(cell, small=cell.small + tests))
        rows.append(Row(category, cells))
    return Table("category", [label for label, _ in played], rows) if rows else None


def bfcl_errors(runs: Sequence[Run]) -> Table | None:
    def tests(summary: Mapping[str, Any]) -> int:
        return sum(row["tests"] for row in summary["by_category"].values())

    return _counted(_played(runs, "bfcl"), "errors", tests, "error")


# --- all of them ---------------------------------------------------------------------------


def _grouped(
    players: Sequence[tuple[str, Any]],
    keys: Mapping[str, str],
    count: str,
    value: Callable[[Mapping[str, Any]], float],
) -> dict[str, Table]:
    """{title: table} of each grouping in `keys`; a row for each group that some player has.
    A summary may lack a grouping (by_seen, which is asked for)."""
    tables = {}
    for key, title in keys.items():
        names = dict.fromkeys(name for _, summary in players for name in summary.get(key, ()))
        rows = []
        for name in names:
            found = [summary.get(key, {}).get(name) for _, summary in players]
            counts = sorted({row[count] for row in found if row})
            cells = [Cell(" or ".join(map(str, counts)))]
            cells += [_share(value(row)) if row else Cell("") for row in found]
            rows.append(Row(name, cells))
        if rows:
            tables[title] = Table(title, [count, *(label for label, _ in players)], rows)
    return tables


def _counted(
    players: Sequence[tuple[str, Any]],
    key: str,
    count: Callable[[Mapping[str, Any]], int],
    corner: str,
) -> Table | None:
    """Shares of `summary[key]` in `count(summary)`; what never happened is left out."""
    every = dict.fromkeys(name for _, summary in players for name in summary.get(key, ()))
    names = [name for name in every if any(summary[key].get(name) for _, summary in players)]
    rows = [
        Row(name, [_share(s[key].get(name, 0) / count(s)) for _, s in players]) for name in names
    ]
    return Table(corner, [label for label, _ in players], rows) if rows else None


def differing_settings(runs: Sequence[Run]) -> Table | None:
    """The config fields that are not the same in all runs that have them, and what each run
    was evaluated at; None for one run."""
    if len(runs) == 1:
        return None
    settings = [run.settings() for run in runs]
    rows = []
    for name in sorted({name for given in settings for name in given}):
        values = [given[name] for given in settings if name in given]
        if any(value != values[0] for value in values):
            width = 12 if name.startswith("data.") else None  # of a digest
            rows.append(Row(name, [Cell(str(given.get(name, ""))[:width]) for given in settings]))
    if any(run.evaluation for run in runs):
        evaluated = [Cell(run.evaluation.get("subtitle", "")) for run in runs]
        rows.append(Row("evaluated", evaluated))
    return Table("setting", [run.name for run in runs], rows) if rows else None
