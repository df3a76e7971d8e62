"""Another implementation's greedy generation, measured on request; see rollout_speed.py.

    python benchmarks/rollout_peers.py transformers DIRECTORY

DIRECTORY: config.json and safetensors. Reads [batch, prompt tokens, new tokens] a line, prints
{"wall_s": …, "cpu_s": …} a line. Imports nothing of tooltrain: it runs in the peer's environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

Generate = Callable[[int, int, int], object]


def transformers(directory: str) -> Generate:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(os.cpu_count())
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def generate(batch: int, prompt: int, new: int) -> object:
        ids = np.random.default_rng(0).integers(1000, model.config.vocab_size, (batch, prompt))
        ids = torch.from_numpy(ids)
        config = GenerationConfig(do_sample=False, pad_token_id=0, max_new_tokens=new)
        with torch.no_grad():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=config
            )
        assert made.shape == (batch, prompt + new)
        return made

    return generate


PEERS = {"transformers": transformers}


def main() -> None:
    generate = PEERS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        start = np.array([time.perf_counter(), time.process_time()])
        generate(*json.loads(line))
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        print(json.dumps({"wall_s": wall, "cpu_s": cpu}), flush=True)


if __name__ == "__main__":
    main()
