"""The report: one self-contained HTML page about a workdir, from its files alone.

Reads WORKDIR/{sft,grpo}/{config.json, metrics.jsonl} and WORKDIR/eval/, as
`eval.heldout` writes it; what is not there is left out of the page.
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import markupsafe

from tooltrain.errors import UserError
from tooltrain.eval import figures
from tooltrain.eval.episodes import read_episodes

STAGES = {"sft": "SFT", "grpo": "GRPO"}
SPLITS = {
    "test": (
        "Held-out entities",
        "Workflows occur in training; no entity, response id or call does.",
    ),
    "test_workflows": (
        "Held-out workflows",
        "Neither the workflows nor the entities occur in training.",
    ),
}
MAIN_SPLIT = "test"  # what headlines, outcomes and examples are about
METRIC_LABELS = {
    "strict_turn_accuracy": "strict turn accuracy",
    "reference_turn_accuracy": "reference turn accuracy",
    "success": "success rate",
    "reference_success": "reference success rate",
    "call_accuracy": "call accuracy",
    "reference_call_accuracy": "reference call accuracy",
    "matched_reward": "matched reward",
}
_SHOWN_RESPONSE_CHARS = 2_000
_SHOWN_QUERY_CHARS = 4_000


def write_report(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Renders WORKDIR/report.html and returns its path.

    Raises UserError when the workdir holds no evaluation.
    """
    workdir = pathlib.Path(workdir)
    page = render(workdir)
    path = workdir / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def render(workdir: pathlib.Path) -> str:
    """The page as text. Everything that a policy or a response wrote is escaped."""
    directory = workdir / "eval"
    policies = {
        stage: json.loads((directory / f"{stage}.json").read_text())
        for stage in STAGES
        if (directory / f"{stage}.json").is_file()
    }
    if not policies:
        raise UserError(
            f"{directory} holds no evaluation of a policy; run "
            f"`python -m tooltrain.cli.evaluate --workdir={workdir}` first"
        )
    baselines = json.loads((directory / "baselines.json").read_text())
    run = json.loads((directory / "run.json").read_text())
    differences = run["difference"]
    names = [split for split in SPLITS if split in next(iter(policies.values()))["splits"]]
    episodes = {
        stage: read_episodes(directory / f"{stage}_episodes_{MAIN_SPLIT}.jsonl")
        for stage in policies
    }
    main = {stage: policy["splits"][MAIN_SPLIT] for stage, policy in policies.items()}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template("report.html").render(
        title=f"Multi-step tool orchestration: {run['suite']}",
        subtitle=run["subtitle"],
        cards=_cards(main, differences.get(MAIN_SPLIT), baselines, MAIN_SPLIT),
        metrics=[{"name": name, "label": label} for name, label in METRIC_LABELS.items()],
        splits=[_split(name, policies, baselines, differences.get(name)) for name in names],
        curves=[markupsafe.Markup(svg) for svg in _curves(workdir)],
        outcomes=markupsafe.Markup(
            figures.outcome_bars(
                {STAGES[stage]: summary["outcomes"] for stage, summary in main.items()},
                {STAGES[stage]: summary["episodes"] for stage, summary in main.items()},
            )
        ),
        examples=[_example(why, *shown) for why, *shown in _choose(episodes)],
        commands=run["commands"],
        configs={
            f"{stage}/config.json": (workdir / stage / "config.json").read_text()
            for stage in STAGES
            if (workdir / stage / "config.json").is_file()
        },
        versions=run["versions"],
    )


def _cards(
    main: Mapping[str, Any],
    difference: Mapping[str, Any] | None,
    baselines: Mapping[str, Any],
    split: str,
) -> list[dict[str, str]]:
    """The numbers at the top: strict turn accuracy of each stage, and what GRPO changed."""
    cards = []
    for stage, summary in main.items():
        strict, success = (summary["metrics"][n] for n in ("strict_turn_accuracy", "success"))
        cards.append(
            {
                "label": f"strict turn accuracy after {STAGES[stage]}",
                "value": f"{100 * strict['mean']:.1f}%",
                "note": f"{_interval(strict)}; success {100 * success['mean']:.1f}%",
            }
        )
    if difference:
        strict = difference["strict_turn_accuracy"]
        cards.append(
            {
                "label": "GRPO minus SFT, same episodes",
                "value": f"{100 * strict['mean']:+.1f} points",
                "note": _interval(strict),
            }
        )
    else:
        best = max(
            (name for name in baselines if name != "gold"),
            key=lambda n: baselines[n]["splits"][split]["metrics"]["strict_turn_accuracy"]["mean"],
        )
        strict = baselines[best]["splits"][split]["metrics"]["strict_turn_accuracy"]
        cards.append(
            {
                "label": f"best trivial baseline ({best})",
                "value": f"{100 * strict['mean']:.1f}%",
                "note": _interval(strict),
            }
        )
    return cards


def _interval(metric: Mapping[str, float]) -> str:
    return f"95% interval {100 * metric['low']:.1f} to {100 * metric['high']:.1f}"


def _split(
    name: str,
    policies: Mapping[str, Any],
    baselines: Mapping[str, Any],
    difference: Mapping[str, Any] | None,
) -> dict[str, Any]:
    title, note = SPLITS[name]
    order = [(STAGES[stage], policy, True) for stage, policy in policies.items()]
    order += [(baseline, played, False) for baseline, played in baselines.items()]
    players = [
        {"name": label, "policy": policy, **played["splits"][name]}
        for label, played, policy in order
    ]
    trained = [player for player in players if player["policy"]]
    return {
        "title": title,
        "note": note,
        "episodes": trained[0]["episodes"],
        "calls": trained[0]["calls"],
        "turns": trained[0]["turns"],
        "players": players,
        "difference": difference,
        "workflows": [
            {
                "name": workflow,
                "episodes": row["episodes"],
                "scores": [p["by_workflow"][workflow]["strict_turn_accuracy"] for p in trained],
            }
            for workflow, row in trained[0]["by_workflow"].items()
        ],
    }


def _curves(workdir: pathlib.Path) -> list[str]:
    """SFT loss and accuracy, GRPO reward and its terms, validation accuracy; those there are."""
    sft, grpo = (_metrics(workdir / stage / "metrics.jsonl") for stage in STAGES)
    wanted = (
        ("SFT: loss, nats per token", sft, {"loss": "training", "eval/loss": "validation"}),
        (
            "SFT: token accuracy",
            sft,
            {"token_accuracy": "training", "eval/token_accuracy": "validation"},
        ),
        ("GRPO: reward", grpo, {"reward": "reward"}),
        (
            "GRPO: terms of the reward",
            grpo,
            {
                f"reward/{term}": term.replace("_", " ")
                for term in ("atomic", "orchestration", "executed", "dependencies_met", "exact")
            },
        ),
        (
            "GRPO: validation, greedy",
            grpo,
            {
                "eval/strict_turn_accuracy": "strict turn accuracy",
                "eval/call_accuracy": "call accuracy",
                "eval/success": "success",
            },
        ),
        ("GRPO: share of groups that differ", grpo, {"nonzero_variance_share": "groups"}),
    )
    drawn = []
    for title, lines, names in wanted:
        series = {}
        for name, label in names.items():
            points = [(line["step"], line[name]) for line in lines if name in line]
            if points:
                series[label] = tuple(zip(*points, strict=True))
        if series:
            drawn.append(figures.curves(title, series))
    return drawn


def _metrics(path: pathlib.Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _choose(episodes: Mapping[str, Sequence[dict[str, Any]]]) -> list[tuple[str, Any]]:
    """Three episodes: one that GRPO turned right, a long one that is right, one that fails.

    Returns (why it is shown, {stage: episode}). Each is the one with most gold calls of its
    kind, the first of those; a kind that does not occur is left out.
    """
    stages = list(episodes)
    first, last = stages[0], stages[-1]
    pairs = [
        dict(zip(episodes, played, strict=True)) for played in zip(*episodes.values(), strict=True)
    ]

    def right(pair: dict[str, Any], stage: str) -> bool:
        return pair[stage]["metrics"]["success"] == 1.0

    kinds = (
        ("Right after GRPO, wrong before", lambda p: right(p, last) and not right(p, first)),
        ("Right", lambda p: all(right(p, stage) for stage in p)),
        (f"Still wrong after {STAGES[last]}", lambda p: not right(p, last)),
    )
    chosen: list[tuple[str, Any]] = []
    for why, of_kind in kinds:
        found = [p for p in pairs if of_kind(p) and all(p is not c for _, c in chosen)]
        if found:
            chosen.append((why, max(found, key=lambda p: len(p[last]["gold"]))))
    return chosen


def _example(why: str, played: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    first = next(iter(played.values()))
    return {
        "why": why,
        "query": first["query"][:_SHOWN_QUERY_CHARS],
        "tools": first["tools"],
        "gold": first["gold"],
        "players": [
            {
                "name": STAGES[stage],
                "outcome": episode["outcome"],
                "metrics": episode["metrics"],
                "end": episode["end"].replace("_", " "),
                "turns": [[_shown(call, episode) for call in turn] for turn in episode["turns"]],
            }
            for stage, episode in played.items()
        ],
    }


def _shown(call: dict[str, Any], episode: dict[str, Any]) -> dict[str, Any]:
    """A call as the page shows it; the first failure says what was wrong."""
    shown = {**call, "fault": None, "response": call["response"][:_SHOWN_RESPONSE_CHARS]}
    if call["first_failure"]:
        argument, gold = episode["failed_argument"], episode["failed_gold"]
        text = f"first failure: {episode['outcome']}"
        if gold is not None and argument in episode["gold"][gold]["arguments"]:
            right = json.dumps(episode["gold"][gold]["arguments"][argument], ensure_ascii=False)
            text += f"; gold has {argument}={right}"
        shown["fault"] = {"argument": argument, "text": text}
    return shown
