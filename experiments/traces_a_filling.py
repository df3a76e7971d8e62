"""How many traces of a workflow's filling does SFT need: 1, 3, 5, 7 or 10 wordings?

SFT takes as many steps in every arm, so an arm with more traces sees each one less often.

Command    python -m experiments.traces_a_filling --config=configs/tiny_cpu.py --workdir=runs/data
Hardware   2 CPU cores
Time       about 17 minutes an arm and seed
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {f"{n}": {"synthesis.queries_per_filling": n} for n in (1, 3, 5, 7, 10)}


def traces_a_filling(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="1")


if __name__ == "__main__":
    main.run(traces_a_filling, sweep.FLAGS)
