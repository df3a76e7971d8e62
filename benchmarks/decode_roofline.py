"""Decoding on an accelerator beside the bandwidth roofline, as one JSON object.

    python -m benchmarks.decode_roofline [--shapes=smollm2-135m,qwen3-1.7b] [--batches=64,256]
        [--dtype=bfloat16]

Random weights (speed does not depend on them); 256 cached tokens a row and 64 sampled ones at
temperature 1, the least of `--repeats` segments; roofline.py says what the roofline counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import roofline
from benchmarks.machine import machine, seconds
from benchmarks.prefill_speed import smollm2
from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import parameter_shapes
from tooltrain.rollout import decode
from tooltrain.rollout.sampling import Sampling

CACHED, STEPS, NO_EOS = 256, 64, -1

SHAPES = {
    "smollm2-135m": smollm2("bfloat16", 30),
    # config.json of Qwen/Qwen3-1.7B
    "qwen3-1.7b": PolicyConfig(
        vocab_size=151936,
        num_layers=28,
        d_model=2048,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        d_ff=6144,
        rope_theta=1e6,
        dtype="bfloat16",
    ),
}


def random_layers(config: PolicyConfig) -> Params:
    """What `kv_cache.unstack` makes, drawn on the device: a host needs minutes for 1.7B normals."""

    @functools.partial(jax.jit, static_argnames="shape")
    def normal(key, shape):  # the key is an argument, or XLA would fold the numbers in as constants
        return 0.02 * jax.random.normal(key, shape, config.compute_dtype)

    def draw(path, shape):
        name = jax.tree_util.keystr(path)
        if "norm" in name:
            return jnp.ones(shape.shape, jnp.float32)
        return normal(jax.random.key(len(name)), shape.shape)

    params = jax.tree_util.tree_map_with_path(draw, parameter_shapes(config))
    return decode.unstack(params, config=config)


def measure(
    config: PolicyConfig, params: Params, batch: int, repeats: int, rates: roofline.Rates
) -> dict[str, object]:
    slots = np.arange(batch, dtype=np.int32)
    ones = np.ones(batch, np.int32)
    lengths = np.full(batch, CACHED, np.int32)
    cache = kv_cache.init_cache(config, batch, CACHED + STEPS)

    def segment():
        nonlocal cache
        cache, sampled = decode.decode(
            params,
            cache._replace(lengths=lengths),
            slots,
            ones,
            STEPS * ones,
            slots,
            ones,
            np.uint32(0),
            config=config,
            sampling=Sampling(),
            eos_id=NO_EOS,
            prefix=CACHED,
            steps=STEPS,
        )
        return sampled

    first = float(seconds(segment)[0])
    least = min(float(seconds(segment)[0]) for _ in range(repeats))
    roof, bound = roofline.decode(config, batch, STEPS, CACHED + STEPS / 2, rates)
    return {
        "tokens_per_second": round(batch * STEPS / least),
        "step_ms": round(1e3 * least / STEPS, 3),
        "roofline_step_ms": round(1e3 * roof / STEPS, 3),
        "roofline_is_bound_by": bound,
        "times_the_roofline": round(least / roof, 2),
        "first_call_s": round(first, 1),
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--shapes", default=",".join(SHAPES))
    flags.add_argument("--batches", default="64,256")
    flags.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    flags.add_argument("--repeats", type=int, default=5)
    given = flags.parse_args()
    if jax.default_backend() != "cpu" and given.dtype != "bfloat16":
        flags.error("the rates of an accelerator are measured in bfloat16: give --dtype=bfloat16")
    report: dict[str, object] = {"machine": machine()}
    for name in given.shapes.split(","):
        config = dataclasses.replace(SHAPES[name], dtype=given.dtype)
        params = random_layers(config)
        for batch in map(int, given.batches.split(",")):
            found = measure(config, params, batch, given.repeats, report["machine"])
            report[f"{name}, batch {batch}, {given.dtype}"] = found
            print(f"{name}, batch {batch}: {found}", file=sys.stderr, flush=True)
        del params
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
