"""The report: one self-contained HTML page about a run or several, from their files alone.

What is not in a workdir (`report.runs`) is left out of the page. The page loads nothing and
runs nothing; everything that a policy or a response wrote stands on it as text.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

from tooltrain.report import curves, tables
from tooltrain.report.episodes import examples
from tooltrain.report.runs import MAIN_SPLIT, SPLITS, STAGES, Run, read_runs


def write_report(
    workdirs: Sequence[str | os.PathLike[str]],
    path: str | os.PathLike[str] | None = None,
    *,
    episodes: int = 1,
) -> pathlib.Path:
    """Writes the page about `workdirs` to `path`, and returns it.

    path: of one workdir WORKDIR/report.html if not given. episodes: shown of each kind.
    Raises UserError as `read_runs` does.
    """
    directories = [pathlib.Path(workdir) for workdir in workdirs]
    page = render(directories, episodes=episodes)
    path = pathlib.Path(path) if path is not None else directories[0] / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def render(workdirs: Sequence[pathlib.Path], *, episodes: int = 1) -> str:
    """The page as text."""
    runs = read_runs(workdirs)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    splits = [
        {
            "title": SPLITS[split][0],
            "note": tables.sizes(runs, split),
            "table": table,
            "groups": tables.groups(runs, split),
        }
        for split in SPLITS
        if (table := tables.heldout(runs, split))
    ]
    return environment.get_template("page.html").render(
        title=_title(runs),
        subtitle=runs[0].evaluation.get("subtitle", "") if len(runs) == 1 else "",
        colors=curves.colors(runs) if len(runs) > 1 else {},
        settings=tables.differing_settings(runs),
        cards=_cards(runs[0]) if len(runs) == 1 else [],
        splits=splits,
        curves=[markupsafe.Markup(svg) for svg in curves.drawn(runs, curves.CHARTS)],
        more_curves=[markupsafe.Markup(svg) for svg in curves.drawn(runs, curves.MORE_CHARTS)],
        outcomes=tables.outcomes(runs),
        complexfuncbench=tables.complexfuncbench(runs),
        complexfuncbench_note=_complexfuncbench_note(runs),
        complexfuncbench_groups=tables.complexfuncbench_groups(runs),
        complexfuncbench_outcomes=tables.complexfuncbench_outcomes(runs),
        bfcl=tables.bfcl(runs),
        bfcl_errors=tables.bfcl_errors(runs),
        alarms=tables.alarms(runs),
        examples=examples(runs, episodes),
        runs=runs,
        stages=STAGES,
    )


def _title(runs: Sequence[Run]) -> str:
    suites = {run.settings().get("suite", run.evaluation.get("suite", "")) for run in runs}
    suite = f": {', '.join(sorted(suites - {''}))}" if suites - {""} else ""
    runs_text = f"{len(runs)} runs of multi-step" if len(runs) > 1 else "Multi-step"
    return f"{runs_text} tool orchestration{suite}"


def _cards(run: Run) -> list[dict[str, str]]:
    """The numbers at the top: strict turn accuracy of each stage, and what GRPO changed."""
    evaluated = {s: p["splits"].get(MAIN_SPLIT) for s, p in run.policies.items()}
    cards = []
    for stage, summary in evaluated.items():
        if summary is None:
            continue
        strict, success = (summary["metrics"][n] for n in ("strict_turn_accuracy", "success"))
        cards.append(
            {
                "label": f"strict turn accuracy after {STAGES[stage]}",
                "value": f"{100 * strict['mean']:.1f}%",
                "note": f"{_interval(strict)}; success {100 * success['mean']:.1f}%",
            }
        )
    if changed := run.evaluation.get("difference", {}).get(MAIN_SPLIT):
        strict = changed["strict_turn_accuracy"]
        cards.append(
            {
                "label": "GRPO minus SFT, same episodes",
                "value": f"{100 * strict['mean']:+.1f} points",
                "note": _interval(strict),
            }
        )
    elif cards:
        played = {
            name: baseline["splits"][MAIN_SPLIT]["metrics"]["strict_turn_accuracy"]
            for name, baseline in run.baselines.items()
            if name != "gold"
        }
        best = max(played, key=lambda name: played[name]["mean"])
        cards.append(
            {
                "label": f"best trivial baseline ({best})",
                "value": f"{100 * played[best]['mean']:.1f}%",
                "note": _interval(played[best]),
            }
        )
    return cards


def _interval(metric: Mapping[str, float]) -> str:
    return f"95% interval {100 * metric['low']:.1f} to {100 * metric['high']:.1f}"


def _complexfuncbench_note(runs: Sequence[Run]) -> str:
    """How the tables were made, where that decides what they can be compared with."""

    def view(identity: Mapping[str, Any]) -> str:
        offered = identity["distractors"]
        tools = "the whole domain's tools" if offered is None else f"{offered} unused tools"
        seen = identity["view"]
        responses = "whole" if seen == "whole" else f"projected to {seen[0]} tokens"
        return f"{tools} offered, responses {responses}"

    played = [s for run in runs for s in run.benchmarks["complexfuncbench"].values()]
    return "; ".join(dict.fromkeys(view(summary["identity"]) for summary in played))
