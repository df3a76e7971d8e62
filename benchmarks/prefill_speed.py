"""Prefill of SmolLM2-135M's shape as a share of the machine's matmul rate, as one JSON object.

    python -m benchmarks.prefill_speed [--tokens=256] [--rows=1] [--dtype=float32]

Prefill is what a rollout does: keys and values into the cache, no logits. Its operations are
two a parameter of a matrix and token, and four a head width and pair of tokens in attention
(half of the pairs: earlier ones). The rate is that of the best of some matrix products,
measured between the runs of prefill; best of `--repeats`. Rates are by wall clock and, on a
CPU, by CPU seconds, which other processes inflate less.
Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine, seconds
from benchmarks.roofline import prefill_operations
from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import parameter_shapes

# (rows, inner, columns) of the products whose rate counts as the machine's
PRODUCTS = ((256, 576, 1536), (1024, 1024, 1024), (2048, 2048, 2048), (8192, 8192, 8192))
# In a row: the first is slowed by what other work left in the caches.
PRODUCT_REPEATS = 4


def smollm2(dtype: str, layers: int) -> PolicyConfig:
    return PolicyConfig(
        vocab_size=49152,
        num_layers=layers,
        d_model=576,
        num_heads=9,
        num_kv_heads=3,
        head_dim=64,
        d_ff=1536,
        rope_theta=1e5,
        norm_eps=1e-5,
        qk_norm=False,
        dtype=dtype,
    )


def random_params(config: PolicyConfig) -> Params:
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda s: jnp.asarray(rng.normal(0, 0.02, s.shape).astype(np.float32)),
        parameter_shapes(config),
    )


class Products:
    """The matrix products of `PRODUCTS` in a dtype, compiled."""

    def __init__(self, dtype: jnp.dtype):
        cpu = jax.default_backend() == "cpu"
        self._run = jax.jit(jnp.matmul)
        # Random: zeros and ones draw less power, and an accelerator is then faster than it is.
        self._pairs = [
            tuple(jax.random.normal(jax.random.key(0), shape, dtype) for shape in ((m, k), (k, n)))
            for m, k, n in PRODUCTS[: 3 if cpu else 4]  # the last takes a minute on a CPU
        ]
        jax.block_until_ready([self._run(*pair) for pair in self._pairs])

    def rates(self) -> list[np.ndarray]:
        """Operations a second of each, by the clocks of `seconds`, a few times over."""
        return [
            2 * a.shape[0] * b.size / seconds(lambda a=a, b=b: self._run(a, b))
            for a, b in self._pairs
            for _ in range(PRODUCT_REPEATS)
        ]


def measure(config: PolicyConfig, rows: int, tokens: int, repeats: int) -> dict[str, object]:
    params = jax.jit(lambda p: kv_cache.unstack(config, p))(random_params(config))
    prompt = jnp.ones((rows, tokens), jnp.int32)
    slots = jnp.arange(rows)

    @jax.jit
    def prefill(params, prompt):
        cache = kv_cache.init_cache(config, rows, tokens)
        view = kv_cache.read(cache, slots, 1)
        recent = kv_cache.init_cache(config, rows, tokens)
        _, recent = kv_cache.extend(config, params, prompt, view, recent, jnp.int32(0))
        return kv_cache.write(cache, slots, recent, jnp.full(rows, tokens))

    products = Products(config.compute_dtype)
    jax.block_until_ready(prefill(params, prompt))
    prefills, rates = [], []
    for _ in range(repeats):
        prefills.append(seconds(lambda: prefill(params, prompt)))
        rates += products.rates()
    prefilled = prefill_operations(config, rows, tokens) / np.min(prefills, axis=0) / 1e9
    product_rate = np.max(rates, axis=0) / 1e9
    by = ("wall", "cpu") if jax.default_backend() == "cpu" else ("wall",)
    return {
        "rows": rows,
        "tokens": tokens,
        "dtype": config.dtype,
        "layers": config.num_layers,
        "prefill_tokens_per_second": round(rows * tokens / np.min(prefills, axis=0)[0]),
        "prefill_gflop_per_second": dict(zip(by, prefilled.round(1).tolist(), strict=False)),
        "matmul_gflop_per_second": dict(zip(by, product_rate.round(1).tolist(), strict=False)),
        "share": dict(zip(by, (prefilled / product_rate).round(3).tolist(), strict=False)),
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--tokens", type=int, default=256)
    flags.add_argument("--rows", type=int, default=1)
    flags.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    flags.add_argument("--layers", type=int, default=30)
    flags.add_argument("--repeats", type=int, default=5)
    given = flags.parse_args()
    config = smollm2(given.dtype, given.layers)
    report = measure(config, given.rows, given.tokens, given.repeats) | {
        "machine": machine(),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
