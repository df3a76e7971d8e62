"""Does SFT learn more when the traces of few calls come first?

Traces are drawn from the easiest 42% at first and from all of them at the end of SFT; the other
arm draws from all traces throughout, in the same way (with replacement).

Command    python -m experiments.curriculum --config=configs/tiny_cpu_curriculum.py \
               --workdir=runs/curriculum
Hardware   2 CPU cores
Time       about 17 minutes an arm and seed
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {"none": {"sft.curriculum.start": 1.0}, "easy_first": {}}


def curriculum(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="none")


if __name__ == "__main__":
    main.run(curriculum, sweep.FLAGS)
