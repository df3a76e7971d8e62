"""Does a policy that was trained on at most 3 calls carry out 4 and more?

Both arms are tested on the traces of at least 4 calls of one dataset, whose splits share no entity;
one arm also trains on such traces. The dataset takes workflows of up to 8 calls that two recorded
samples had, with a larger test share; the demo's plain queries have words for those of up to 6.

Command    python -m experiments.depth --config=configs/tiny_cpu.py --workdir=runs/depth
Hardware   2 CPU cores
Time       about 30 minutes an arm and seed
"""

from experiments import sweep
from tooltrain.cli import main

_LONG = {
    "synthesis.max_calls": 8,
    "synthesis.min_support": 2,
    "synthesis.test_share": 0.4,
    "synthesis.validation_share": 0.05,
    "sft.seq_len": 1024,  # the longest gold episode has 854 tokens, and its distractors' on top
    "sft.batch_size": 4,  # 4,096 tokens a step, as the demo's
    "grpo.max_len": 1024,
    "grpo.row_len": 1024,
    "grpo.max_turns": 8,
    "select.least_test_calls": 4,
}
ARMS = {
    "at_most_3": {**_LONG, "select.most_train_calls": 3},
    "all": _LONG,
}


def depth(config, workdir: str) -> None:
    sweep.run(__file__, config, workdir, ARMS, first="at_most_3")


if __name__ == "__main__":
    main.run(depth, sweep.FLAGS)
