"""Another implementation's greedy generation, measured on request; see rollout_speed.py.

    python benchmarks/rollout_peers.py transformers|tunix DIRECTORY

DIRECTORY: config.json and safetensors of a Llama. Reads [[token, …] a prompt, new tokens] a line,
prints {"wall_s": …, "cpu_s": …, "ids": the new tokens} a line. Imports nothing of tooltrain: it
runs in the peer's environment (`tooltrain[peers]`; google-tunix==0.1.7 with jax==0.10.2).
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

Generate = Callable[[list[list[int]], int], object]


def transformers(directory: str) -> Generate:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def generate(prompts: list[list[int]], new: int) -> object:
        ids = torch.tensor(prompts)
        config = GenerationConfig(
            do_sample=False, pad_token_id=0, max_new_tokens=new, min_new_tokens=new
        )
        with torch.no_grad():
            made = model.generate(
                ids, attention_mask=torch.ones_like(ids), generation_config=config
            )
        return made[:, ids.shape[1] :].numpy()

    return generate


class Numbers:
    """A tokenizer whose text is the ids, which is all that Tunix's sampler takes."""

    def encode(self, text: str, **_) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, ids: list[int], **_) -> str:
        return " ".join(map(str, ids))

    def bos_id(self) -> int:
        return 0  # Tunix puts none before the prompt then

    def eos_id(self) -> int:
        return -1

    def pad_id(self) -> int:
        return 0


def tunix(directory: str) -> Generate:
    import jax.numpy as jnp
    from tunix.generate.sampler import CacheConfig, Sampler
    from tunix.models.llama3 import model, params

    shape, tied = tunix_shape(directory)
    config = model.ModelConfig(**shape, weight_tying=tied)
    # Tunix 0.1.7's Llama rotates by theta 1e6 whatever its config says; with the right one its
    # tokens can be compared.
    model.apply_rope = functools.partial(model.apply_rope, rope_theta=config.rope_theta)
    llama = params.create_model_from_safe_tensors(directory, config, dtype=jnp.float32)
    samplers: dict[int, Sampler] = {}

    def generate(prompts: list[list[int]], new: int) -> object:
        length = len(prompts[0]) + new
        if length not in samplers:
            cache = CacheConfig(length, config.num_layers, config.num_kv_heads, config.head_dim)
            samplers[length] = Sampler(llama, Numbers(), cache)
        made = samplers[length](
            [" ".join(map(str, prompt)) for prompt in prompts],
            max_generation_steps=new,
            max_prompt_length=len(prompts[0]),
        )
        return np.array(made.tokens)

    return generate


def tunix_shape(directory: str) -> tuple[dict[str, object], bool]:
    """What all of Tunix's ModelConfigs take of a config.json of `export_safetensors`; and whether
    embeddings are tied, which each calls otherwise."""
    with open(os.path.join(directory, "config.json")) as file:
        hf = json.load(file)
    shape = {
        "num_layers": hf["num_hidden_layers"],
        "vocab_size": hf["vocab_size"],
        "embed_dim": hf["hidden_size"],
        "hidden_dim": hf["intermediate_size"],
        "num_heads": hf["num_attention_heads"],
        "head_dim": hf["head_dim"],
        "num_kv_heads": hf["num_key_value_heads"],
        "rope_theta": hf["rope_theta"],
        "norm_eps": hf["rms_norm_eps"],
    }
    return shape, hf["tie_word_embeddings"]


PEERS = {"transformers": transformers, "tunix": tunix}


def main() -> None:
    generate = PEERS[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        prompts, new = json.loads(line)
        start = np.array([time.perf_counter(), time.process_time()])
        ids = generate(prompts, new)
        wall, cpu = np.array([time.perf_counter(), time.process_time()]) - start
        assert ids.shape == (len(prompts), new), ids.shape
        print(json.dumps({"wall_s": wall, "cpu_s": cpu, "ids": ids.tolist()}), flush=True)


if __name__ == "__main__":
    main()
