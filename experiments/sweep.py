"""Arms of one question, each with every seed, from starts that the arms share.

An experiment is a file that names a question and its arms, and calls `run`:

    ARMS = {"matched": {}, "binary": {"grpo.reward": "binary"}}

An arm is the overrides of `--config` that make it differ (`select.<field>`: of `selection`, what
part of the traces it has). With "grpo.steps": 0 it ends after SFT. Whatever arms have in common
is done once: responses by all, traces and SFT by arms that do not override what those stages
read.

    WORKDIR/cache/                      responses
    WORKDIR/compiled/                   programs, of all commands
    WORKDIR/traces-<digest>/            of overrides of `synthesis`, `tokenizer`, `projection`, and
                                        of `select`
    WORKDIR/seed<n>/sft-<digest>/       a directory with sft/, of those and of `sft`, `policy`,
                                        `lora`, `optimizer`
    WORKDIR/seed<n>/<arm>/              sft (a link), grpo, eval, report.html
    WORKDIR/seed<n>/<arm>.json          what came of it; an arm that has one is not run again

So a sweep that was stopped goes on where it was, at the last checkpoint of the stage under way; and
what the file of results has of the same config and arm is not run again, on another machine either.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from benchmarks.machine import host
from experiments import behaviour, command, figure
from experiments.seeds import interval
from experiments.selection import SECTION, Selection, write_selection
from tooltrain.errors import UserError
from tooltrain.report.runs import MAIN_SPLIT, SPLITS, STAGES

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
OF_SFT = (*OF_TRACES, SECTION, "sft", "policy", "lora", "optimizer")
METRICS = ("strict_turn_accuracy", "success", "call_accuracy", "reference_turn_accuracy")
# What steps of GRPO were like, beside what they scored.
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
Found = Mapping[str, Mapping[int, Any]]  # results by arm and seed


def run(
    file: str,
    config: ConfigDict,
    workdir: str,
    arms: Mapping[str, Overrides],
    first: str,
    *,
    table: Callable[[pathlib.Path, Found], dict[str, Any]] | None = None,
) -> None:
    """Runs the arms and writes results/NAME.json, NAME being that of the experiment's `file`.

    first: the arm that the others are compared with. table: (root, found) -> what the file holds
    in place of the arms' comparison, which is also drawn (`figure`).
    """
    jax.config.update("jax_platforms", "cpu")  # an accelerator is for the commands alone
    root, path = pathlib.Path(workdir).absolute(), pathlib.Path(file).resolve()
    results = pathlib.Path(RESULTS.value or path.parent / "results" / f"{path.stem}.json")
    if unknown := sorted(set(ONLY.value) - set(arms)):
        raise UserError(f"--arms has {', '.join(unknown)}; this experiment's are {', '.join(arms)}")
    wanted = {arm: arms[arm] for arm in (ONLY.value or arms)}
    asked = json.loads(json.dumps(config.to_dict()))
    before = json.loads(results.read_text()) if results.is_file() and table is None else {}
    # What is there of other arms and seeds stays in the table.
    found, seen = _kept(before, asked, arms)
    # Seed by seed: a table of all arms is there after the first.
    for seed in map(int, SEEDS.value):
        for arm, overrides in wanted.items():
            if seed not in seen[arm]:
                found[arm][seed] = _arm(config, root, arm, overrides, seed)
            common = {
                "question": ast.get_docstring(ast.parse(path.read_text())).splitlines()[0],
                "command": command.told(path.stem),
                "machine": {**host(), "jax": importlib.metadata.version("jax")},
                "config": asked,
            }
            if table is not None:
                _write(results, {**common, **table(root, found)})
                continue
            if seed not in seen[arm]:
                seen[arm][seed] = {"seed": seed, **_observed(config, root, arm, overrides, seed)}
            done = [a for a in arms if found[a]]
            compared = {
                "arms": {a: dict(arms[a]) for a in done},
                "compared_with": first,
                "results": {a: _by_seed(found[a]) for a in done},
                "behaviour": {a: _by_seed(seen[a]) for a in done},
                "summary": summary(found, first),
            }
            _write(results, {**common, **compared})
            figure.draw(results)


def _kept(
    table: Mapping[str, Any], config: Any, arms: Mapping[str, Overrides]
) -> tuple[dict[str, dict[int, Any]], dict[str, dict[int, Any]]]:
    """Results and behaviour, by arm and seed, that a table has of these arms and this config."""
    found: dict[str, dict[int, Any]] = {arm: {} for arm in arms}
    seen: dict[str, dict[int, Any]] = {arm: {} for arm in arms}
    for arm, overrides in arms.items():
        if table.get("config") == config and table["arms"].get(arm) == dict(overrides):
            found[arm] = {result["seed"]: result for result in table["results"][arm]}
            seen[arm] = {behaved["seed"]: behaved for behaved in table["behaviour"][arm]}
    return found, seen


def _by_seed(values: Mapping[int, Any]) -> list[Any]:
    return [values[seed] for seed in sorted(values)]


def summary(found: Found, first: str) -> dict[str, Any]:
    """By arm: mean over seeds of strict turn accuracy after its last stage, and its difference
    from `first`'s on the same seeds with a 95% interval (t, over seeds; None for one seed)."""
    by_arm = {
        arm: {seed: _last(result) for seed, result in results.items()}
        for arm, results in found.items()
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


def _last(result: Mapping[str, float]) -> float:
    names = [f"{stage}_{METRICS[0]}" for stage in reversed(STAGES)]
    return next(result[name] for name in names if name in result)


def _arm(
    config: ConfigDict, root: pathlib.Path, arm: str, overrides: Overrides, seed: int
) -> dict[str, Any]:
    done = root / f"seed{seed}" / f"{arm}.json"
    key = json.loads(json.dumps({**config.to_dict(), "seed": seed, "overrides": dict(overrides)}))
    if done.is_file() and (kept := json.loads(done.read_text()))["config"] == key:
        return kept["result"]
    started = time.perf_counter()

    # --- responses and traces -----------------------------------------------------------
    cache = pathlib.Path(config.cache or root / "cache" / f"{config.suite}.sqlite")
    if not cache.is_file():
        _command("record", root, {})
    made_by, chosen = _of(overrides, OF_TRACES), _of(overrides, (SECTION,))
    whole, traces = _traces(config, root, made_by), _traces(config, root, {**made_by, **chosen})
    if not (whole / "tokenizer.json").is_file():
        _command("synthesize", whole.parent, {**made_by, "cache": cache, "traces": whole})
    if not (traces / "tokenizer.json").is_file():
        fields = {name.partition(".")[2]: value for name, value in chosen.items()}
        write_selection(whole, traces, Selection(**fields))
    paths = {"cache": cache, "traces": traces}

    # --- SFT, GRPO, evaluation ----------------------------------------------------------
    of_config = {name: value for name, value in overrides.items() if name not in chosen}
    started_by = _of(overrides, OF_SFT)
    start = root / f"seed{seed}" / f"sft-{_digest(started_by)}"
    _link(start / "compiled", root / "compiled")
    _command("train_sft", start, {**_of(of_config, OF_SFT), **paths, "seed": seed})
    directory = root / f"seed{seed}" / arm
    _link(directory / "compiled", root / "compiled")
    _link(directory / "sft", start / "sft")
    for stage in ("train_grpo", "evaluate") if _steps(config, overrides) else ("evaluate",):
        _command(stage, directory, {**of_config, **paths, "seed": seed})
    result = {
        "seed": seed,
        "minutes": round((time.perf_counter() - started) / 60, 1),  # of the last invocation
        **_scores(directory),
        "last_steps": _last_steps(directory),
    }
    _write(done, {"config": key, "result": result})
    return result


def _link(path: pathlib.Path, to: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    to.mkdir(exist_ok=True)
    if not path.exists():
        path.symlink_to(to)


def _steps(config: ConfigDict, overrides: Overrides) -> int:
    return overrides.get("grpo.steps", config.grpo.steps)


def _of(overrides: Overrides, sections: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in overrides.items() if name.split(".")[0] in sections}


def _traces(config: ConfigDict, root: pathlib.Path, made_by: Overrides) -> pathlib.Path:
    if config.traces and not made_by:
        return pathlib.Path(config.traces)
    return root / f"traces-{_digest(made_by)}" / "traces"


def _digest(overrides: Overrides) -> str:
    text = json.dumps(dict(overrides), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8] if overrides else "base"


def _command(name: str, workdir: pathlib.Path, overrides: Overrides) -> None:
    own = ("--workdir", "--seeds", "--results", "--arms")
    given = [option for option in sys.argv[1:] if not option.startswith(own)]
    options = [f"--config.{field}={value}" for field, value in overrides.items()]
    if name == "record":
        options.append("--source=complexfuncbench")
    line = ["-m", f"tooltrain.cli.{name}", f"--workdir={workdir}", *given, *options]
    command.run(line)


def _scores(directory: pathlib.Path) -> dict[str, float]:
    """Step of each stage, and means over the held-out traces by stage, split and metric."""
    scores = {}
    for stage in STAGES:
        path = directory / "eval" / f"{stage}.json"
        if not path.is_file():
            continue
        evaluation = json.loads(path.read_text())
        scores[f"{stage}_steps"] = evaluation["step"]
        splits = evaluation["splits"]
        for split in SPLITS:
            prefix = stage if split == MAIN_SPLIT else f"{stage}_{split}"
            for name in METRICS if split in splits else ():
                scores[f"{prefix}_{name}"] = splits[split]["metrics"][name]["mean"]
    return scores


def _last_steps(directory: pathlib.Path) -> dict[str, float]:
    """Means over the last logged steps of GRPO: what the policy that was learned does."""
    path = directory / "grpo" / "metrics.jsonl"
    lines = map(json.loads, path.read_text().splitlines()) if path.is_file() else ()
    steps = [line for line in lines if "reward" in line][-LAST_STEPS:]
    return {
        name: float(np.mean([step[name] for step in steps if name in step]))
        for name in WATCHED
        if any(name in step for step in steps)
    }


def _observed(
    config: ConfigDict, root: pathlib.Path, arm: str, overrides: Overrides, seed: int
) -> dict[str, Any]:
    """`behaviour.observed` of an arm that is done, from the files it left."""
    traces = _traces(config, root, _of(overrides, (*OF_TRACES, SECTION)))
    own = ConfigDict(config.to_dict())
    own.update_from_flattened_dict(
        {name: value for name, value in overrides.items() if name.startswith("grpo.")}
    )
    directory = root / f"seed{seed}" / arm
    found = behaviour.observed(directory, traces, own, last_steps=LAST_STEPS)
    return {**found, "tokens": behaviour.trained_tokens(directory)}


def _write(path: pathlib.Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(table, indent=1) + "\n")
    partial.replace(path)
