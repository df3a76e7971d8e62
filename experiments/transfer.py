"""Does a policy that learned to chain one suite's calls carry that over to another suite?

A policy of the demo's size is trained on booking traces and one on atlas traces, SFT alone; each
plays the held-out traces of both suites. Tools, values and ids of the other suite are new to it;
what can carry over is the manner: look up, pass on, stop.

Command    python -m experiments.transfer --workdir=runs/transfer
           Commands that are done are not run again; --config.sft.steps=… is for both suites.
Hardware   2 CPU cores, 4 GB of memory; pip install 'tooltrain[atlas]'
Time       about 5 minutes for responses and traces, 5 to 25 minutes of SFT a suite, 10 of
           evaluation
Expected   nothing out of domain, 52% and 33% of strict turns in it: results/transfer.json, where
           booking's policy had 900 steps and atlas's 400
"""

from __future__ import annotations

import importlib.metadata
import json
import pathlib
import subprocess
import sys
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from benchmarks.machine import host
from experiments import command
from tooltrain.cli import main
from tooltrain.train.checkpoint import latest_step

ROOT = pathlib.Path(__file__).resolve().parents[1]
FLAGS = flags.FlagValues()
RESULTS = flags.DEFINE_string(
    "results",
    str(ROOT / "experiments" / "results" / "transfer.json"),
    "File to write.",
    flag_values=FLAGS,
)
SUITES = {
    "booking": ("configs/tiny_cpu.py", "complexfuncbench"),
    "atlas": ("configs/tiny_cpu_atlas.py", "atlas"),
}
METRICS = ("strict_turn_accuracy", "call_accuracy", "success")


def transfer(config: ConfigDict, workdir: str) -> None:
    """Each suite has a config of its own; of `config` only the --config.… overrides count, which
    both get."""
    root = pathlib.Path(workdir).absolute()
    for suite in SUITES:
        _train(suite, root / suite, config.sft.steps)
    results = {
        trained: {played: _evaluate(trained, played, root) for played in SUITES}
        for trained in SUITES
    }
    table = {
        "question": __doc__.splitlines()[0],
        "command": command.told("transfer"),
        "commit": commit(),
        "machine": {**host(), "jax": importlib.metadata.version("jax")},
        "trained": {suite: _trained(root / suite) for suite in SUITES},
        "results": results,
    }
    path = pathlib.Path(RESULTS.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=1) + "\n")
    print(f"wrote {path}")


def _train(suite: str, directory: pathlib.Path, steps: int) -> None:
    """Responses, traces and an SFT policy of at least `steps` steps, whatever is not there yet."""
    if not _cache(directory, suite).is_file():
        _command(suite, "record", directory, f"--source={SUITES[suite][1]}")
    if not (directory / "traces" / "tokenizer.json").is_file():
        _command(suite, "synthesize", directory)
    if (latest_step(directory / "sft") or 0) < steps:
        begun = directory / "commit.txt"  # of the code that began to train
        if not begun.is_file():
            begun.write_text(commit() + "\n")
        _command(suite, "train_sft", directory)


def _evaluate(trained: str, played: str, root: pathlib.Path) -> dict[str, Any]:
    """The policy of one suite on the test traces of another, or its own, beside baselines; played
    again only if it has been trained on since."""
    options, evaluated = [], root / trained
    if played != trained:
        other = root / played
        options = [
            f"--name={played}",
            f"--other_cache={_cache(other, played)}",
            f"--other_traces={other / 'traces'}",
        ]
        evaluated = evaluated / "transfer" / played
    read = lambda name: json.loads((evaluated / "eval" / name).read_text())  # noqa: E731
    done = (evaluated / "eval" / "sft.json").is_file()
    if not done or read("sft.json")["step"] != latest_step(root / trained / "sft"):
        _command(trained, "evaluate", root / trained, *options)
    sft = read("sft.json")
    players = {"sft": sft, **read("baselines.json")}
    return {
        "step": sft["step"],
        "episodes": {split: summary["episodes"] for split, summary in sft["splits"].items()},
        "players": {
            name: {
                split: {metric: summary["metrics"][metric] for metric in METRICS}
                for split, summary in player["splits"].items()
            }
            for name, player in players.items()
        },
        "outcomes": {split: summary["outcomes"] for split, summary in sft["splits"].items()},
        "ends": {split: summary["ends"] for split, summary in sft["splits"].items()},
    }


def _trained(directory: pathlib.Path) -> dict[str, Any]:
    """What SFT was given and where it ended, and the code that began it."""
    begun = directory / "commit.txt"
    step = latest_step(directory / "sft")
    lines = [json.loads(x) for x in (directory / "sft" / "metrics.jsonl").read_text().splitlines()]
    evaluated = [line for line in lines if "eval/loss" in line and line["step"] <= step]
    return {
        "commit": begun.read_text().strip() if begun.is_file() else None,
        **json.loads((directory / "sft" / "config.json").read_text()),
        "step": step,
        "last_evaluation": evaluated[-1],
    }


def commit() -> str:
    """Of this checkout, "-dirty" after it if files were changed; "" outside of one."""
    line = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cache(directory: pathlib.Path, suite: str) -> pathlib.Path:
    return directory / "cache" / f"{suite}.sqlite"


def _command(suite: str, name: str, workdir: pathlib.Path, *options: str) -> None:
    given = [option for option in sys.argv[1:] if option.startswith("--config.")]
    config = f"--config={ROOT / SUITES[suite][0]}"
    line = ["-m", f"tooltrain.cli.{name}", f"--workdir={workdir}", config, *given, *options]
    command.run(line)


if __name__ == "__main__":
    main.run(transfer, FLAGS)
