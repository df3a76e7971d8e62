"""What a command that computes does before it first touches a device."""

from __future__ import annotations

import pathlib

import jax
from absl import flags

from tooltrain.errors import UserError

COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "host:port of process 0, for a training run of several processes; 'cloud': from the "
    "machine's own metadata (Cloud TPU, Slurm). Empty: this process is alone.",
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "Processes of the run; with --coordinator=host:port."
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", None, "Which of them this is, from 0; with --coordinator=host:port."
)
# A process that is gone is noticed within about this time, and the others stop.
HEARTBEAT_S = 30


def prepare(workdir: str, *, cpu_devices: int = 0, joins: bool = False) -> None:
    """Keeps compiled programs in WORKDIR, for the next command and for a resumed run; joins the
    other processes of the run, if it has some.

    cpu_devices: virtual CPU devices to make (0: one), which accelerators ignore. joins: whether
    this command may be one of several processes. Raises UserError for flags that do not say who
    this process is, or that ask for others where it has to be alone.
    """
    _check_flags(joins)
    # The directory's own name: it is part of a program's key, so links would share nothing.
    compiled = pathlib.Path(workdir, "compiled").resolve()
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    if cpu_devices:
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if COORDINATOR.value:
        join()


def _check_flags(joins: bool) -> None:
    if COORDINATOR.value and not joins:
        raise UserError(
            f"--coordinator={COORDINATOR.value}: only train_sft and train_grpo run in several "
            "processes, which would all write the same files here; run this command once, without "
            "--coordinator, --num_processes and --process_id"
        )
    if not COORDINATOR.value and (NUM_PROCESSES.value, PROCESS_ID.value) != (None, None):
        raise UserError(
            f"--num_processes={NUM_PROCESSES.value} and --process_id={PROCESS_ID.value} without "
            "--coordinator: each process would train by itself in one workdir; give all of them "
            "--coordinator=host:port of process 0, or leave the two out"
        )


def join() -> None:
    """Joins the run that the flags describe; returns once all of its processes are there."""
    count, index = NUM_PROCESSES.value, PROCESS_ID.value
    if COORDINATOR.value == "cloud":
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_S)
        return
    if count is None or index is None or not 0 <= index < count:
        raise UserError(
            f"--coordinator={COORDINATOR.value} with --num_processes={count} and "
            f"--process_id={index}: give the number of processes, and of each its own id from 0; "
            "or --coordinator=cloud where the machines know"
        )
    jax.distributed.initialize(
        COORDINATOR.value, count, index, heartbeat_timeout_seconds=HEARTBEAT_S
    )
