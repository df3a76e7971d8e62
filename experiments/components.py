"""Does it help to compare the reward's two components within a group each by itself?

Advantages of the summed reward, or of each component, normalised and then added (GDPO's
per-component normalisation), from one SFT start a seed. Components are those of whole rollouts and
are divided by their deviation, so both arms differ from the demo in that.

Command    python -m experiments.components --config=configs/tiny_cpu.py --workdir=runs/components
Hardware   2 CPU cores
Time       with 40 steps of GRPO 19 minutes an arm and seed on one core; 9 a seed for the start
"""

from experiments import sweep
from tooltrain.cli import main

_WHOLE = {"grpo.credit": "rollout", "grpo.normalize_std": True}
ARMS = {name: {**_WHOLE, "grpo.advantages": name} for name in ("reward", "components")}


def components(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="reward")


if __name__ == "__main__":
    main.run(components, sweep.FLAGS)
