"""Shared by all tests: eight CPU devices, strict rank promotion, the reference data."""

import os
import pathlib

# Tests are about numbers on CPU; a GPU box runs its own with JAX_PLATFORMS=cuda,cpu.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from absl import flags

# Before the first use of a device: sharded tests need a mesh.
jax.config.update("jax_num_cpu_devices", 8)
# A missing axis must fail, not broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")
# Grain workers read absl flags, which only absl.app.run parses.
flags.FLAGS.mark_as_parsed()

REPO_ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference_dir() -> pathlib.Path:
    """The paper's released data; it lies beside a checkout, never in it."""
    path = REPO_ROOT.parent / "shared" / "reference"
    if not path.is_dir():
        pytest.skip(f"the paper's released data is not at {path}")
    return path
