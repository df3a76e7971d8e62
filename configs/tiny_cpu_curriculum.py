"""Does the demo's SFT learn more when traces of few calls come first?

configs/tiny_cpu.py with config.sft.curriculum (`data.order.Curriculum`).

Command    python -m experiments.curriculum --config=configs/tiny_cpu_curriculum.py \
               --workdir=runs/curriculum
Hardware   2 CPU cores, 4 GB of memory, no accelerator
Time       as the demo
Expected   not known: it has not been run
"""

import pathlib
import runpy

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    demo = pathlib.Path(__file__).with_name("tiny_cpu.py")
    config = runpy.run_path(str(demo))["get_config"]()
    config.sft.curriculum = ConfigDict()
    config.sft.curriculum.by = "calls"  # what makes a trace hard: a name in Trace.difficulty
    config.sft.curriculum.ramp_examples = 12_000  # of about 12,200; after it all are alike
    # The share of the easiest that the first are drawn from. The first 5,000 examples are of the
    # copy task (copy_warmup_examples), so traces begin with the easiest 0.42 of them.
    config.sft.curriculum.start = 0.01
    return config
