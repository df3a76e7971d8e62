"""A GRPO update of SmolLM2-135M's shape as a share of the machine's matmul rate.

    python -m benchmarks.update_mfu [--rows=2] [--tokens=512] [--layers=30] [--dtype=float32]
        [--microbatch_rows=0] [--remat]

Rows hold a rollout each, a quarter of it prompt. Operations are those that the update needs: the
forward pass's two a parameter of a matrix and token, those of the scores of earlier tokens, and
those of the logits of sampled tokens; the backward pass's twice as many. What rematerialisation or
chunked logits do again is not counted. The rate is that of the best of some matrix products,
measured between the updates; best of `--repeats`, by wall clock and, on a CPU, by CPU seconds.
Weights are random: speed does not depend on them. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json

import jax
import numpy as np

from benchmarks.machine import machine
from benchmarks.prefill_speed import Products, random_params, smollm2
from benchmarks.roofline import prefill_operations
from benchmarks.update_speed import Ours
from tooltrain.policy.config import PolicyConfig
from tooltrain.types import GRPOBatch


def batch_of(config: PolicyConfig, rows: int, tokens: int) -> GRPOBatch:
    rng = np.random.default_rng(0)
    prompt = tokens // 4
    shape = (rows, tokens - prompt)
    ids = rng.integers(0, config.vocab_size, (rows, tokens + 1), dtype=np.int32)
    places = np.arange(tokens, dtype=np.int32)
    return GRPOBatch(
        tokens=ids[:, :-1],
        positions=np.broadcast_to(places, (rows, tokens)),
        visible_to=np.full((rows, tokens), tokens, np.int32),
        predictors=np.broadcast_to(places[prompt:], shape),
        targets=ids[:, prompt + 1 :],
        completion_mask=np.ones(shape, np.float32),
        rollout_ids=np.zeros(shape, np.int32),
        old_logprobs=np.full(shape, -10.0, np.float32),
        ref_logprobs=np.full(shape, -10.0, np.float32),
        advantages=rng.normal(size=shape).astype(np.float32),
    )


def measure(
    config: PolicyConfig, rows: int, tokens: int, microbatch_rows: int, repeats: int
) -> dict[str, object]:
    batch = batch_of(config, rows, tokens)
    layers = prefill_operations(config, rows, tokens)
    logits = 2 * config.d_model * config.vocab_size * batch.targets.size
    operations = 3 * (layers + logits)
    ours = Ours(
        config, random_params(config), batch, microbatch_rows=microbatch_rows, kl_coefficient=0.04
    )
    products = Products(config.compute_dtype)
    ours.update(1)
    updates, rates = [], []
    for _ in range(repeats):
        rates += products.rates()
        taken = ours.update(1)
        updates.append([taken["wall_s"], taken["cpu_s"]])
    reached = operations / np.min(updates, axis=0) / 1e9
    rate = np.max(rates, axis=0) / 1e9
    by = ("wall", "cpu") if jax.default_backend() == "cpu" else ("wall",)

    def by_clock(values: np.ndarray) -> dict[str, float]:
        return dict(zip(by, values.round(3).tolist(), strict=False))

    return {
        "rows": rows,
        "tokens_a_row": tokens,
        "sampled_tokens": batch.targets.size,
        "microbatch_rows": microbatch_rows or rows,
        "layers": config.num_layers,
        "dtype": config.dtype,
        "remat": config.remat,
        "gflop_of_an_update": {
            "layers, forward": round(layers / 1e9, 1),
            "logits, forward": round(logits / 1e9, 1),
            "update = 3 x (layers + logits)": round(operations / 1e9, 1),
        },
        "seconds_of_an_update": by_clock(np.min(updates, axis=0)),
        "gflop_per_second": by_clock(reached),
        "matmul_gflop_per_second": by_clock(rate),
        "mfu": by_clock(reached / rate),
        "tokens_per_second": round(rows * tokens / np.min(updates, axis=0)[0]),
        "peak_bytes": ours.peak_bytes,
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--rows", type=int, default=2)
    flags.add_argument("--tokens", type=int, default=512)
    flags.add_argument("--layers", type=int, default=30)
    flags.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    flags.add_argument("--microbatch_rows", type=int, default=0, help="0: all rows at once")
    flags.add_argument("--remat", action="store_true")
    flags.add_argument("--repeats", type=int, default=3)
    given = flags.parse_args()
    config = dataclasses.replace(smollm2(given.dtype, given.layers), remat=given.remat)
    report = measure(config, given.rows, given.tokens, given.microbatch_rows, given.repeats)
    print(json.dumps({**report, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
