"""What `kv_cache.unstack` saves a decoding loop, as one JSON object.

    python -m benchmarks.unstacked_decode [--layers=10]

Greedy decoding with SmolLM2-135M's shape (random weights) over 200 cached tokens: wall and CPU
milliseconds a token, stacked and unstacked; the least of `--repeats` segments of 16 tokens. CPU
time is what a shared machine inflates less.
"""

from __future__ import annotations

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine, seconds
from benchmarks.prefill_speed import random_params, smollm2
from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Params, head_logits

STEPS, CACHED = 16, 200


def milliseconds(
    config: PolicyConfig, params: Params, batch: int, repeats: int
) -> dict[str, float]:
    view = kv_cache.init_cache(config, batch, 256)
    view = view._replace(lengths=jnp.full(batch, CACHED, jnp.int32))

    @jax.jit
    def segment(params, tokens):
        def step(carry, i):
            tokens, recent = carry
            x, recent = kv_cache.extend(config, params, tokens[:, None], view, recent, i)
            tokens = jnp.argmax(head_logits(config, params, x[:, 0]), -1).astype(jnp.int32)
            return (tokens, recent), tokens

        recent = kv_cache.init_cache(config, batch, STEPS)
        return jax.lax.scan(step, (tokens, recent), jnp.arange(STEPS))[1]

    tokens = jnp.arange(batch, dtype=jnp.int32)
    jax.block_until_ready(segment(params, tokens))
    taken = np.min([seconds(lambda: segment(params, tokens)) for _ in range(repeats)], axis=0)
    wall, cpu = (1e3 * taken / (batch * STEPS)).round(2).tolist()
    return {"wall": wall, "cpu": cpu}


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--layers", type=int, default=10)
    flags.add_argument("--repeats", type=int, default=4)
    given = flags.parse_args()
    config = smollm2("float32", given.layers)
    stacked = random_params(config)
    unstacked = jax.jit(lambda p: kv_cache.unstack(config, p))(stacked)
    report = {
        f"batch {batch}": {
            name: milliseconds(config, params, batch, given.repeats)
            for name, params in (("stacked", stacked), ("unstacked", unstacked))
        }
        for batch in (1, 8, 32)
    }
    report |= {
        "layers": given.layers,
        "machine": machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
