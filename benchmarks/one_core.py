"""Keeps a benchmark to one core: before numpy and jax start threads, which inherit it."""

import os


def keep() -> None:
    """The least core that this process may use, where the system can be told."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
