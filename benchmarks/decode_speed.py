"""Tokens a second of prefill, decode and training for the tiny policy, as one JSON object.

    python -m benchmarks.decode_speed [--repeats=5]

Times are the least of `repeats` runs after a warm-up one, in milliseconds of wall time; beside
them the CPU time of the same process, which a loaded machine inflates less. On Linux set
GLIBC_TUNABLES=glibc.malloc.hugetlb=1: XLA allocates its buffers anew every call, and without
huge pages a fifth of a training step is page faults.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import machine
from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.rollout import decode
from tooltrain.rollout.sampling import GREEDY, Sampling

CONFIG = PolicyConfig(
    vocab_size=1024, num_layers=3, d_model=128, num_heads=2, num_kv_heads=2, head_dim=64, d_ff=352
)
SLOTS, CACHE_LEN, STEPS, NO_EOS = 64, 512, 32, -1


def measure(run: Callable[[], object], tokens: int, repeats: int) -> dict[str, float]:
    """Least wall and CPU milliseconds of `run`, and tokens a second of wall time."""
    jax.block_until_ready(run())
    wall, cpu = [], []
    for _ in range(repeats):
        before, start = _cpu_seconds(), time.perf_counter()
        jax.block_until_ready(run())
        wall.append(time.perf_counter() - start)
        cpu.append(_cpu_seconds() - before)
    return {
        "tokens_per_second": round(tokens / min(wall)),
        "wall_ms": round(1e3 * min(wall), 2),
        "cpu_ms": round(1e3 * min(cpu), 2),
    }


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def training(rows: int, length: int, repeats: int) -> dict[str, float]:
    """Forward and backward of the mean negative log-likelihood, without an optimizer."""
    params = init_params(CONFIG, jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (rows, length), 0, CONFIG.vocab_size)
    positions = jnp.broadcast_to(jnp.arange(length), tokens.shape)
    segments = jnp.ones_like(tokens)

    @jax.jit
    def step(params, tokens, positions, segments):
        def loss(params):
            logits = Transformer(CONFIG).apply({"params": params}, tokens, positions, segments)
            logprobs = jax.nn.log_softmax(logits[:, :-1])
            return -jnp.take_along_axis(logprobs, tokens[:, 1:, None], axis=-1).mean()

        return jax.value_and_grad(loss)(params)

    return measure(lambda: step(params, tokens, positions, segments), rows * length, repeats)


def rolling_out(prefix: int, repeats: int) -> dict[str, dict[str, float]]:
    """Decode segments of all slots that end, and prefill that starts, at length `prefix`."""
    params = init_params(CONFIG, jax.random.key(0))
    slots, ones = np.arange(SLOTS, dtype=np.int32), np.ones(SLOTS, np.int32)
    cache = kv_cache.init_cache(CONFIG, SLOTS, CACHE_LEN)

    def at(length: int) -> kv_cache.KVCache:
        return cache._replace(lengths=np.full(SLOTS, length, np.int32))

    def segment(sampling: Sampling):
        nonlocal cache
        cache, sampled = decode.decode(
            params,
            at(prefix - STEPS),
            slots,
            ones,
            1000 * ones,
            slots,
            ones,
            np.uint32(0),
            config=CONFIG,
            sampling=sampling,
            eos_id=NO_EOS,
            prefix=prefix,
            steps=STEPS,
        )
        return sampled

    def chunk(rows: int, length: int):
        nonlocal cache
        cache = decode.prefill(
            params,
            at(prefix),
            slots[:rows],
            np.ones((rows, length), np.int32),
            np.full(rows, length, np.int32),
            config=CONFIG,
            prefix=prefix,
        )
        return cache

    samplings = {
        "greedy": GREEDY,
        "temperature 1": Sampling(),
        "top_p 0.9": Sampling(top_p=0.9),
        "top_k 50": Sampling(top_k=50),
    }
    results = {
        f"decode {SLOTS} x {STEPS}, {name}": measure(
            lambda sampling=sampling: segment(sampling), SLOTS * STEPS, repeats
        )
        for name, sampling in samplings.items()
    }
    for rows, length in ((SLOTS, 32), (SLOTS // 4, 128)):
        results[f"prefill {rows} x {length}"] = measure(
            lambda rows=rows, length=length: chunk(rows, length), rows * length, repeats
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    report = {
        "machine": machine(),
        "parameters": sum(p.size for p in jax.tree.leaves(init_params(CONFIG, jax.random.key(0)))),
        "train": {f"{b} x {t}": training(b, t, repeats) for b, t in ((4, 512), (8, 512))},
        "rollout": {f"at length {n}": rolling_out(n, repeats) for n in (128, 256, 384)},
    }
    report["load_average_after"] = os.getloadavg()[0]
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
