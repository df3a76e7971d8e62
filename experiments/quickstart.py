"""Does GRPO improve a tiny policy on held-out traces, or is it one lucky seed?

A sweep of one arm (`sweep`): SFT, then GRPO, and evaluation of `configs/tiny_cpu.py` for each of
3 seeds on the same recorded responses and the same traces; writes results/quickstart.json.

Command    python experiments/quickstart.py --workdir=runs/quickstart
           A seed that is done is not run again, a seed under way is resumed.
Hardware   2 CPU cores, 4 GB of memory
Time       about 16 minutes a seed
Expected   strict turn accuracy on the test split of 0.42 to 0.52 after SFT, and 4.6 to 8.4
           points more after GRPO
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # it is run as a file

from experiments import sweep
from tooltrain.cli import main
from tooltrain.report.runs import MAIN_SPLIT

ARM = "sft_grpo"
ARMS = {ARM: {}}


def quickstart(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first=ARM, table=table)


def table(root: pathlib.Path, found: sweep.Found) -> dict[str, Any]:
    """What the README's table and figure are made of: the seeds, and baselines beside them."""
    seeds = [
        {name: value for name, value in result.items() if name != "last_steps"}
        for result in found[ARM].values()
    ]
    newest = root / f"seed{seeds[-1]['seed']}" / ARM / "eval" / "baselines.json"
    gains = [s["grpo_strict_turn_accuracy"] - s["sft_strict_turn_accuracy"] for s in seeds]
    names = [name for name in seeds[0] if name != "seed"]
    return {
        # Strict turn accuracy on the test split, without a policy.
        "baselines": {
            name: evaluated["splits"][MAIN_SPLIT]["metrics"]["strict_turn_accuracy"]["mean"]
            for name, evaluated in json.loads(newest.read_text()).items()
        },
        "seeds": seeds,
        "mean": {name: float(np.mean([s[name] for s in seeds])) for name in names},
        "strict_turn_accuracy_gain": {
            "mean": float(np.mean(gains)),
            "least": float(np.min(gains)),
            "most": float(np.max(gains)),
        },
    }


if __name__ == "__main__":
    main.run(quickstart, sweep.FLAGS)
