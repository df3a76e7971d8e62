"""GRPO on from SmolLM2-135M-Instruct after SFT on booking traces (configs/smollm2_booking.py).

Command    python -m tooltrain.cli.train_grpo --config=configs/smollm2_booking_grpo.py \\
               --workdir=runs/smollm2
           after record, synthesize and train_sft with --config=configs/smollm2_booking.py and the
           same workdir; with --config.lora.rank=16 given to both trainings, of thin matrices alone
Hardware   a GPU of 80 GB; with --config=configs/smollm2_booking_grpo.py:smoke (and :smoke before
           it) any machine, to see that it runs
Time       not measured
Expected   not measured: only the smoke size was run. Steps, prompts, generations and learning rate
           are those of the paper's released code
"""

import pathlib
import runpy

from ml_collections import ConfigDict


def get_config(size: str = "gpu") -> ConfigDict:
    """size: "gpu", or "smoke", as of configs/smollm2_booking.py."""
    here = pathlib.Path(__file__)
    config = runpy.run_path(str(here.with_name("smollm2_booking.py")))["get_config"](size)
    demo = runpy.run_path(str(here.with_name("tiny_cpu.py")))["get_config"]()
    config.lora = demo.lora
    limits = config.grpo
    config.grpo = demo.grpo
    config.grpo.update(limits)
    config.grpo.steps = 100
    config.grpo.prompts_per_step = 16
    config.grpo.generations = 16
    config.grpo.learning_rate = 1e-6
    config.grpo.slots = 128  # episodes decoded together
    config.grpo.row_len = 8192  # tokens of a row of an update; no less than max_len
    config.grpo.microbatch_rows = 1  # of 8,192 tokens, rematerialised
    # Decoding in bfloat16 is not what an update computes: ratios are weighed and logged.
    config.grpo.importance_cap = 2.0
    if size == "smoke":
        config.grpo.update(steps=1, prompts_per_step=1, generations=2, slots=2, row_len=1024)
        config.grpo.update(warmup_steps=0, eval_every_steps=1, eval_episodes=1)
    return config
