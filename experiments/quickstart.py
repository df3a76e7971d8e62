"""Does GRPO improve a tiny policy on held-out traces, or is it one lucky seed?

Trains (SFT, then GRPO) and evaluates `configs/tiny_cpu.py` once for each of 3 seeds on the
same recorded responses and the same traces, and writes results/quickstart.json.

Command    python experiments/quickstart.py --workdir=runs/quickstart
           A seed that is done is not run again, a seed under way is resumed.
Hardware   2 CPU cores, 4 GB of memory
Time       about 16 minutes a seed
Expected   strict turn accuracy on the test split of 0.42 to 0.52 after SFT, and 4.6 to 8.4
           points more after GRPO
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.report.runs import MAIN_SPLIT, SPLITS

SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds to run, separated by commas.")
RESULTS = flags.DEFINE_string(
    "results",
    str(pathlib.Path(__file__).resolve().parent / "results" / "quickstart.json"),
    "File to write.",
)
STAGES = ("sft", "grpo")
METRICS = ("strict_turn_accuracy", "success", "call_accuracy", "reference_turn_accuracy")


def quickstart(config: ConfigDict, workdir: str) -> None:
    root = pathlib.Path(workdir)

    # --- responses and traces, shared by the seeds -----------------------------------
    cache = pathlib.Path(config.cache or root / "cache" / f"{config.suite}.sqlite")
    traces = pathlib.Path(config.traces or root / "traces")
    if not cache.is_file():
        _run("record", root)
    if not (traces / "tokenizer.json").is_file():
        _run("synthesize", root)
    shared = (f"--config.cache={cache}", f"--config.traces={traces}")

    # --- seeds ------------------------------------------------------------------------
    seeds = []
    for seed in map(int, SEEDS.value):
        directory = root / f"seed{seed}"
        done = directory / "result.json"
        wanted = json.loads(json.dumps({**config.to_dict(), "seed": seed}))
        found = json.loads(done.read_text()) if done.is_file() else {}
        if found.get("config") != wanted:
            started = time.perf_counter()
            for command in ("train_sft", "train_grpo", "evaluate"):
                _run(command, directory, f"--config.seed={seed}", *shared)
            minutes = (time.perf_counter() - started) / 60
            found = {"config": wanted, "result": _result(directory, seed, minutes)}
            done.write_text(json.dumps(found, indent=1) + "\n")
        seeds.append(found["result"])

        # --- results: after every seed, so that an interrupted run leaves a table --------
        evaluated = json.loads((directory / "eval" / "baselines.json").read_text())
        baselines = {
            name: found["splits"][MAIN_SPLIT]["metrics"][METRICS[0]]["mean"]
            for name, found in evaluated.items()
        }
        _write(config, seeds, baselines)
        print(json.dumps(found["result"]), flush=True)


def _run(command: str, workdir: pathlib.Path, *options: str) -> None:
    """One command of the demo, as its user runs it, with this run's config options."""
    own = ("--workdir", "--seeds", "--results")
    given = [option for option in sys.argv[1:] if not option.startswith(own)]
    line = ["-m", f"tooltrain.cli.{command}", f"--workdir={workdir}", *given, *options]
    print("python " + " ".join(line), flush=True)
    subprocess.run([sys.executable, *line], check=True)


def _result(directory: pathlib.Path, seed: int, minutes: float) -> dict[str, float]:
    """Means over the held-out traces of each split; `minutes` of the last invocation."""
    result: dict[str, float] = {"seed": seed, "minutes": round(minutes, 1)}
    for stage in STAGES:
        evaluation = json.loads((directory / "eval" / f"{stage}.json").read_text())
        result[f"{stage}_steps"] = evaluation["step"]
        for split in SPLITS:
            if split in evaluation["splits"]:
                prefix = stage if split == MAIN_SPLIT else f"{stage}_{split}"
                metrics = evaluation["splits"][split]["metrics"]
                result |= {f"{prefix}_{name}": metrics[name]["mean"] for name in METRICS}
    return result


def _write(config: ConfigDict, seeds: list[dict[str, float]], baselines: dict[str, float]) -> None:
    path = pathlib.Path(RESULTS.value)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in seeds[0] if name != "seed"]
    gains = [s["grpo_strict_turn_accuracy"] - s["sft_strict_turn_accuracy"] for s in seeds]
    table = {
        "question": __doc__.splitlines()[0],
        "command": shlex.join(["python", "experiments/quickstart.py", *sys.argv[1:]]),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "python": platform.python_version(),
            "jax": jax.__version__,
        },
        "config": json.loads(json.dumps(config.to_dict())),
        "baselines": baselines,  # strict turn accuracy on the test split, without a policy
        "seeds": seeds,
        "mean": {name: float(np.mean([s[name] for s in seeds])) for name in names},
        "strict_turn_accuracy_gain": {
            "mean": float(np.mean(gains)),
            "least": float(np.min(gains)),
            "most": float(np.max(gains)),
        },
    }
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(table, indent=1) + "\n")
    partial.replace(path)


def _processor() -> str:
    """The processor's model name where the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main.run(quickstart)
