"""Memory and time of log-probabilities at a large vocabulary, whole and in chunks.

    python -m benchmarks.loss_memory [--vocab=151936] [--width=256] [--tokens=4096]

From hidden states and an output matrix to log-probabilities, entropies, and the gradients of
both inputs, float32: what the last layer adds to a training step. For the plain path (all logits
at once) and for `head_statistics` as the trainer calls it: bytes that the compiled program holds
beside its inputs and results, the growth of a process's peak resident memory while it runs (each
in a process of its own), and seconds, measured in turn. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import in_turn, machine
from tooltrain.train.head_statistics import MAX_LOGITS, head_statistics
from tooltrain.train.objectives import TokenStatistics, target_statistics


def plain(hidden, head, tokens) -> TokenStatistics:
    logits = jnp.matmul(hidden, head.T, preferred_element_type=jnp.float32)
    return target_statistics(logits, tokens)


PATHS = {"plain": plain, "chunked": head_statistics}


def program(name: str, vocab: int, width: int, tokens: int):
    """The compiled path and its inputs."""
    rng = np.random.default_rng(0)
    hidden = jnp.asarray(rng.standard_normal((1, tokens, width), np.float32))
    head = jnp.asarray(rng.standard_normal((vocab, width), np.float32) * 0.02)
    ids = jnp.asarray(rng.integers(0, vocab, (1, tokens), np.int32))

    def loss(hidden, head, ids):
        statistics = PATHS[name](hidden, head, ids)
        return -jnp.mean(statistics.logprobs), jnp.mean(statistics.entropy)

    gradient = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    return gradient.lower(hidden, head, ids).compile(), (hidden, head, ids)


def resident_bytes(field: str) -> int:
    """VmRSS: what this process has in memory now; VmHWM: the most that it ever had."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\s*(\d+) kB", status)[1]) * 1024


def growth(name: str, *sizes: int) -> int:
    """Bytes by which the peak of this process's resident memory passes what it had before."""
    run, inputs = program(name, *sizes)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_bytes("VmRSS")
    jax.block_until_ready(run(*inputs))
    return resident_bytes("VmHWM") - before


def measure(sizes: tuple[int, int, int], repeats: int) -> dict[str, object]:
    runs, temporary = {}, {}
    for name in PATHS:
        run, inputs = program(name, *sizes)
        temporary[name] = run.memory_analysis().temp_size_in_bytes
        runs[name] = lambda run=run, inputs=inputs: run(*inputs)
    taken = in_turn(runs, repeats)
    runs.clear()
    resident = {}
    for name in PATHS:
        command = [sys.executable, "-m", "benchmarks.loss_memory", "--only", name]
        command += [
            f"--{key}={n}" for key, n in zip(("vocab", "width", "tokens"), sizes, strict=True)
        ]
        resident[name] = int(subprocess.run(command, check=True, capture_output=True).stdout)
    vocab, width, tokens = sizes
    return {
        "vocab": vocab,
        "width": width,
        "tokens": tokens,
        "chunks": -(-vocab * tokens // MAX_LOGITS),
        "logits_bytes": 4 * vocab * tokens,
        "head_bytes": 4 * vocab * width,
        "compiled_temporary_bytes": temporary,
        "resident_growth_bytes": resident,
        "seconds": taken,
        "chunked_over_plain": {
            "compiled_temporary_bytes": round(temporary["chunked"] / temporary["plain"], 3),
            "resident_growth_bytes": round(resident["chunked"] / resident["plain"], 3),
            **{c: round(taken["chunked"][c] / s, 3) for c, s in taken["plain"].items()},
        },
        "machine": machine(),
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--vocab", type=int, default=151_936)
    flags.add_argument("--width", type=int, default=256)
    flags.add_argument("--tokens", type=int, default=4096)
    flags.add_argument("--repeats", type=int, default=3)
    flags.add_argument("--only", choices=PATHS, help=argparse.SUPPRESS)
    given = flags.parse_args()
    sizes = (given.vocab, given.width, given.tokens)
    if given.only:
        print(growth(given.only, *sizes))
    else:
        print(json.dumps(measure(sizes, given.repeats), indent=2))


if __name__ == "__main__":
    main()
