"""The machine that a benchmark ran on, in the words that every report here uses.

    report["machine"] = machine()

The rates are measured in the process that asks, in a second or two, so that figures can be read
against what the machine gave in the same minutes. Wall seconds say what a user waits for; CPU
seconds are inflated less by whatever else runs on a shared machine.
"""

from __future__ import annotations

import os
import pathlib
import platform
import time
from collections.abc import Callable

import numpy as np

_PAIR = ("wall_s", "cpu_s")


def seconds(run: Callable[[], object]) -> np.ndarray:
    """(wall, CPU) of `run`, through the end of what it started on a device."""
    import jax

    start = np.array([time.perf_counter(), time.process_time()])
    jax.block_until_ready(run())
    return np.array([time.perf_counter(), time.process_time()]) - start


def in_turn(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Least wall and CPU seconds of each, run in turn after a round that compiles."""
    for run in runs.values():
        seconds(run)
    taken: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            taken[name].append(seconds(run))
    return {
        name: {clock: round(float(s), 4) for clock, s in zip(_PAIR, np.min(each, 0), strict=True)}
        for name, each in taken.items()
    }


def host() -> dict[str, object]:
    """What needs no measuring and no jax."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    affinity = hasattr(os, "sched_getaffinity")  # a benchmark may keep itself to one core
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if affinity else os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
    }


def rates(repeats: int = 8) -> dict[str, float | str]:
    """Gigabytes read and 10^9 operations done a second, the best of `repeats`.

    Bytes: the sum of a float32 array far larger than any cache. Operations: the product of two
    square matrices, float32 on a CPU (the better of 1,024 and 2,048), bfloat16 of 8,192 on an
    accelerator.
    """
    import jax
    import jax.numpy as jnp

    cpu = jax.default_backend() == "cpu"
    dtype, sizes = (jnp.float32, (1024, 2048)) if cpu else (jnp.bfloat16, (8192,))
    big = jnp.ones(1 << (27 if cpu else 30), jnp.float32)
    read, product = jax.jit(jnp.sum), jax.jit(jnp.matmul)
    # Random: zeros and ones draw less power, and an accelerator is then faster than it is.
    squares = [jax.random.normal(jax.random.key(0), (n, n), dtype) for n in sizes]
    jax.block_until_ready([read(big), *(product(x, x) for x in squares)])
    reads = [seconds(lambda: read(big))[0] for _ in range(repeats)]
    products = np.array(
        [2 * len(x) ** 3 / seconds(lambda x=x: product(x, x)) for x in squares * repeats]
    )
    wall, by_cpu = products.max(axis=0) / 1e9
    found = {
        "gigabytes_per_second": round(big.nbytes / min(reads) / 1e9, 1),
        "gflop_per_second": round(float(wall), 1),
        "gflop_dtype": str(jnp.dtype(dtype)),
    }
    return found | ({"gflop_per_cpu_second": round(float(by_cpu), 1)} if cpu else {})


def machine() -> dict[str, object]:
    """`host`, the device that jax computes on, and `rates`."""
    import jax

    device = jax.devices()[0].device_kind
    return {**host(), "device": device, "jax": jax.__version__, **rates()}
