"""How many traces of a workflow does training need: 1, 3, 5, 7 or 10?

The paper's data question (arXiv 2603.24709). Of each workflow, SFT and GRPO each have that many
fillings, or all where a workflow has fewer, in the demo's four wordings; 3 are among 5. Steps are
the same in every arm, so an arm with fewer traces sees each more often. Validation and test
traces, and the tokenizer, are those of one dataset: every arm is tested on the same bytes.

Command    python -m experiments.traces_a_workflow --config=configs/tiny_cpu.py --workdir=runs/data
Hardware   2 CPU cores
Time       without GRPO 14 minutes an arm and seed on one core
"""

from experiments import sweep
from tooltrain.cli import main

ARMS = {f"{n}": {"select.fillings": n} for n in (1, 3, 5, 7, 10)}


def traces_a_workflow(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="1")


if __name__ == "__main__":
    main.run(traces_a_workflow, sweep.FLAGS)
