"""How many rollouts of a prompt are best at equal tokens?

128 episodes a step, from 32 prompts with 4 generations to 4 with 32, from one SFT start a seed.

Command    python -m experiments.generations --config=configs/tiny_cpu.py --workdir=runs/generations
Hardware   2 CPU cores
Time       about 11 minutes an arm and seed, and 6 a seed for the start
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {
    f"{prompts}x{128 // prompts}": {
        "grpo.prompts_per_step": prompts,
        "grpo.generations": 128 // prompts,
    }
    for prompts in (8, 32, 16, 4)
}


def generations(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="8x16")


if __name__ == "__main__":
    main.run(generations, sweep.FLAGS)
