"""What a command that computes does before it first touches a device."""

from __future__ import annotations

import jax


def prepare(workdir: str, *, cpu_devices: int = 0) -> None:
    """Keeps compiled programs in WORKDIR, for the next command and for a resumed run;
    cpu_devices: virtual CPU devices to make (0: one), which accelerators ignore."""
    jax.config.update("jax_compilation_cache_dir", f"{workdir}/compiled")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    if cpu_devices:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
