"""The demo's policy on the atlas suite: few small workflows, grown from its tool graph.

Command    python -m tooltrain.cli.record --source=atlas --config=configs/tiny_cpu_atlas.py \
               --workdir=runs/atlas
           then synthesize, train_sft and evaluate with the same two flags
Hardware   2 CPU cores, 4 GB of memory, no accelerator; pip install 'tooltrain[atlas]'
Time       record 2 to 3 minutes, SFT as the demo
Expected   experiments/results/transfer.json
"""

import pathlib
import runpy

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    demo = pathlib.Path(__file__).with_name("tiny_cpu.py")
    config = runpy.run_path(str(demo))["get_config"]()
    config.suite = "atlas"
    # Atlas has no samples to mine: workflows are grown, and only the varied grammar has words
    # for them.
    config.synthesis.max_calls = 3
    config.synthesis.grown_workflows = 16
    config.synthesis.variety = 1.0
    return config
