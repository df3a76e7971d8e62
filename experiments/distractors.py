"""Does a policy that is offered more tools than it needs learn less, and generalise more?

0, 2 (the demo) and 5 distractors in every trace, of training and of test: the three are not
tested on one set, so compare what GRPO adds and what new workflows score.

Command    python -m experiments.distractors --config=configs/tiny_cpu.py --workdir=runs/distractors
Hardware   2 CPU cores
Time       about 17 minutes an arm and seed
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {
    "2": {},
    "0": {"synthesis.distractors": 0},
    "5": {"synthesis.distractors": 5},
}


def distractors(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="2")


if __name__ == "__main__":
    main.run(distractors, sweep.FLAGS)
