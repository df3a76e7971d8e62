"""Which reward gives the best strict accuracy, and what does RL do with the reference's faults?

The paper's ablation (arXiv 2603.24709): GRPO from one SFT start a seed under `matched`, the
released `reference`, `binary`, and each of `matched`'s two parts alone. No arm is tuned: all have
the demo's settings, which were chosen with `matched`.

Command    python -m experiments.rewards --config=configs/tiny_cpu.py --workdir=runs/rewards
Hardware   2 CPU cores; on a GPU the same command with --config.grpo.slots=128
Time       about 11 minutes an arm and seed, and 6 a seed for the start
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {
    "matched": {},
    "reference": {"grpo.reward": "reference"},
    "binary": {"grpo.reward": "binary"},
    "atomic_only": {"grpo.reward": "atomic_only"},
    "orchestration_only": {"grpo.reward": "orchestration_only"},
}


def rewards(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="matched")


if __name__ == "__main__":
    main.run(rewards, sweep.FLAGS)
