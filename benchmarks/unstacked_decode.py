"""What `kv_cache.unstack` saves a decoding loop, as one JSON object.

    python -m benchmarks.unstacked_decode [--layers=10]

Greedy decoding with SmolLM2-135M's shape (random weights) over 200 cached tokens: wall and CPU
milliseconds a token, stacked and unstacked; the least of `--repeats` segments of 16 tokens. CPU
time is what a shared machine inflates less. On a CPU also: MLPs of that shape by x @ matrix and by
`out_first.product`, CPU milliseconds a layer and the ratio.
"""

from __future__ import annotations

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import in_turn, machine, seconds
from benchmarks.prefill_speed import random_params, smollm2
from tooltrain.policy import kv_cache, out_first
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


def mlps(config: PolicyConfig, rows: int, repeats: int) -> dict[str, float]:
    """One way after the other, in turn."""
    rng = np.random.default_rng(0)
    shapes = [(config.d_ff, config.d_model), (config.d_model, config.d_ff)] * config.num_layers
    turned = [jnp.asarray(rng.normal(0, 0.03, shape), jnp.float32) for shape in shapes]
    plain = jax.device_put([np.ascontiguousarray(np.asarray(m).T) for m in turned])
    x = jnp.asarray(rng.normal(size=(rows, config.d_model)), jnp.float32)

    def through(product, matrices, x):
        for up, down in zip(matrices[::2], matrices[1::2], strict=True):
            x = x + product(jax.nn.silu(product(x, up)), down)
        return x

    runs = {
        "x @ matrix": (jax.jit(lambda m, x: through(jnp.matmul, m, x)), plain),
        "out_first": (jax.jit(lambda m, x: through(out_first.product, m, x)), turned),
    }
    taken = in_turn({name: lambda f=f, m=m: f(m, x) for name, (f, m) in runs.items()}, repeats)
    by_cpu = {name: round(1e3 * t["cpu_s"] / config.num_layers, 3) for name, t in taken.items()}
    return by_cpu | {"ratio": round(by_cpu["out_first"] / by_cpu["x @ matrix"], 2)}


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
    if jax.default_backend() == "cpu":
        report["mlps"] = {
            f"{rows} rows": mlps(config, rows, 3 * given.repeats)
            for rows in (1, 4, 8, 16, 32, 64, 256)
        }
    report |= {
        "layers": given.layers,
        "machine": machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
