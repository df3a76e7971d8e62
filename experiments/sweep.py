"""Arms of one question, each with every seed, from starts that the arms share.

An experiment is a file that names a question and its arms, and calls `run`:

    ARMS = {"matched": {}, "binary": {"grpo.reward": "binary"}}

An arm is the overrides of `--config` that make it differ. Whatever arms have in common is done
once: responses by all, traces and SFT by arms that do not override what those stages read.

    WORKDIR/cache/                      responses
    WORKDIR/traces-<digest>/            of the overrides of `synthesis`, `tokenizer`, `projection`
    WORKDIR/seed<n>/sft-<digest>/       a directory with sft/, of those and of `sft`, `policy`
    WORKDIR/seed<n>/<arm>/              sft (a link), grpo, eval, report.html
    WORKDIR/seed<n>/<arm>.json          what came of it; an arm that has one is not run again

So a sweep that was stopped goes on where it was, at the last checkpoint of the stage under way.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks.machine import host
from tooltrain.report.runs import MAIN_SPLIT, SPLITS

FLAGS = flags.FlagValues()  # of the experiments: `main.run(command, sweep.FLAGS)`
SEEDS = flags.DEFINE_list(
    "seeds", ["0", "1", "2"], "Seeds to run, separated by commas.", flag_values=FLAGS
)
ONLY = flags.DEFINE_list(
    "arms", [], "Arms to run, separated by commas; none: all.", flag_values=FLAGS
)
RESULTS = flags.DEFINE_string(
    "results", "", "File to write; empty: experiments/results/NAME.json.", flag_values=FLAGS
)

OF_TRACES = ("synthesis", "tokenizer", "projection")
OF_SFT = (*OF_TRACES, "sft", "policy", "optimizer")
METRICS = ("strict_turn_accuracy", "success", "call_accuracy", "reference_turn_accuracy")
# What the last steps of GRPO were like, beside what they scored.
WATCHED = (
    "reward",
    "strict_turn_accuracy",
    "success",
    "calls_per_episode",
    "turns",
    "entropy",
    "call/ok",
    "call/not_recorded",
    "end/finished",
)
LAST_STEPS = 10

Overrides = Mapping[str, Any]


def run(
    file: str, config: ConfigDict, workdir: str, arms: Mapping[str, Overrides], first: str
) -> None:
    """Runs the arms and writes results/NAME.json, NAME being that of the experiment's `file`.

    first: the arm that the others are compared with.
    """
    root, name = pathlib.Path(workdir).absolute(), pathlib.Path(file).stem
    wanted = {arm: arms[arm] for arm in (ONLY.value or arms)}
    question = sys.modules["__main__"].__doc__ if file == sys.argv[0] else None
    found: dict[str, dict[int, Any]] = {arm: {} for arm in wanted}
    # Seed by seed: a table of all arms is there after the first.
    for seed in map(int, SEEDS.value):
        for arm, overrides in wanted.items():
            found[arm][seed] = _arm(config, root, arm, overrides, seed)
            table = {
                "question": (question or name).splitlines()[0],
                "command": shlex.join(["python", "-m", f"experiments.{name}", *sys.argv[1:]]),
                "machine": host(),
                "config": json.loads(json.dumps(config.to_dict())),
                "arms": {a: dict(o) for a, o in wanted.items()},
                "compared_with": first,
                "results": {a: list(by_seed.values()) for a, by_seed in found.items()},
                "summary": summary(found, first),
            }
            default = pathlib.Path(file).resolve().parent / "results" / f"{name}.json"
            _write(pathlib.Path(RESULTS.value or default), table)


def summary(found: Mapping[str, Mapping[int, Any]], first: str) -> dict[str, Any]:
    """By arm: mean over seeds of strict turn accuracy, and its difference from `first`'s on the
    same seeds with a 95% interval (t, over seeds; None for one seed)."""
    name = f"grpo_{METRICS[0]}"
    by_arm = {
        arm: {s: r[name] for s, r in results.items() if name in r} for arm, results in found.items()
    }
    told = {}
    for arm, values in by_arm.items():
        if not values:
            continue
        seeds = sorted(values.keys() & by_arm.get(first, {}).keys())
        gaps = [values[seed] - by_arm[first][seed] for seed in seeds]
        told[arm] = {
            "seeds": len(values),
            "mean": float(np.mean(list(values.values()))),
            "difference": float(np.mean(gaps)) if gaps else None,
            "interval": interval(gaps),
        }
    return told


# 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of the mean of few values, by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    half = _T[min(len(values) - 2, len(_T) - 1)] * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _arm(
    config: ConfigDict, root: pathlib.Path, arm: str, overrides: Overrides, seed: int
) -> dict[str, Any]:
    done = root / f"seed{seed}" / f"{arm}.json"
    key = json.loads(json.dumps({**config.to_dict(), "seed": seed, "overrides": dict(overrides)}))
    if done.is_file() and (kept := json.loads(done.read_text()))["config"] == key:
        return kept["result"]

    # --- responses and traces -----------------------------------------------------------
    cache = root / "cache" / f"{config.suite}.sqlite"
    if not cache.is_file():
        _command("record", root, {})
    made_by = _of(overrides, OF_TRACES)
    traces = root / f"traces-{_digest(made_by)}"
    paths = {"cache": cache, "traces": traces / "traces"}
    if not (traces / "traces" / "tokenizer.json").is_file():
        _command("synthesize", traces, {**made_by, "cache": cache})

    # --- SFT, GRPO, evaluation ----------------------------------------------------------
    started_by = _of(overrides, OF_SFT)
    start = root / f"seed{seed}" / f"sft-{_digest(started_by)}"
    _command("train_sft", start, {**started_by, **paths, "seed": seed})
    directory = root / f"seed{seed}" / arm
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "sft").exists():
        (directory / "sft").symlink_to(start / "sft")
    for command in ("train_grpo", "evaluate"):
        _command(command, directory, {**overrides, **paths, "seed": seed})
    result = {"seed": seed, **_scores(directory), "last_steps": _last_steps(directory)}
    _write(done, {"config": key, "result": result})
    return result


def _of(overrides: Overrides, sections: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name.split(".")[0] in sections}


def _digest(overrides: Overrides) -> str:
    text = json.dumps(dict(overrides), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8] if overrides else "base"


def _command(command: str, workdir: pathlib.Path, overrides: Overrides) -> None:
    own = ("--workdir", "--seeds", "--results", "--arms")
    given = [option for option in sys.argv[1:] if not option.startswith(own)]
    options = [f"--config.{name}={value}" for name, value in overrides.items()]
    if command == "record":
        options.append("--source=complexfuncbench")
    line = ["-m", f"tooltrain.cli.{command}", f"--workdir={workdir}", *given, *options]
    print(shlex.join(["python", *line]), flush=True)
    subprocess.run([sys.executable, *line], check=True)


def _scores(directory: pathlib.Path) -> dict[str, float]:
    """Means over the held-out traces, by stage, split and metric."""
    scores = {}
    for stage in ("sft", "grpo"):
        splits = json.loads((directory / "eval" / f"{stage}.json").read_text())["splits"]
        for split in SPLITS:
            prefix = stage if split == MAIN_SPLIT else f"{stage}_{split}"
            for name in METRICS if split in splits else ():
                scores[f"{prefix}_{name}"] = splits[split]["metrics"][name]["mean"]
    return scores


def _last_steps(directory: pathlib.Path) -> dict[str, float]:
    """Means over the last logged steps of GRPO: what the policy that was learned does."""
    lines = map(json.loads, (directory / "grpo" / "metrics.jsonl").read_text().splitlines())
    steps = [line for line in lines if "reward" in line][-LAST_STEPS:]
    return {
        name: float(np.mean([step[name] for step in steps if name in step]))
        for name in WATCHED
        if any(name in step for step in steps)
    }


def _write(path: pathlib.Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(table, indent=1) + "\n")
    partial.replace(path)
