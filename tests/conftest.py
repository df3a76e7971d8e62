"""Shared by all tests: eight CPU devices, strict rank promotion, the reference data."""

import hashlib
import importlib.util
import os
import pathlib
import platform

# Tests are about numbers on CPU; a GPU box runs its own with JAX_PLATFORMS=cuda,cpu.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import pytest
from absl import flags
from filelock import FileLock
from ml_collections import ConfigDict

from tests.given_flags import given
from tooltrain.cli import record
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.suites import complexfuncbench
from tooltrain.errors import UserError
from tooltrain.synthesis.generate import Generated, Settings, generate

# Before the first use of a device: sharded tests need a mesh.
jax.config.update("jax_num_cpu_devices", 8)
# A missing axis must fail, not broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")
# A deadline is a timing assert: it fails on a busy machine.
hypothesis.settings.register_profile("tooltrain", deadline=None)
hypothesis.settings.load_profile("tooltrain")
# Grain workers read absl flags, which only absl.app.run parses.
flags.FLAGS.mark_as_parsed()

REPO_ROOT = pathlib.Path(__file__).resolve().parent.parent
CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


@pytest.fixture(scope="session", autouse=True)
def _compile_fast():
    """Tests compile far more than they compute: optimize little (0.6 of the CPU time of
    transformer, kv_cache, decode and matched tests), and compile a program once, for all workers
    and the next time."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else [platform.processor()]
    cores = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    # Code for one processor may be more than another understands.
    processor = hashlib.sha256("".join(sorted(cores or lines)).encode()).hexdigest()[:8]
    compiled = REPO_ROOT / ".cache" / f"compiled-{processor}"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_compilation_cache_max_size", 512 * 2**20)  # bytes; the oldest go
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def optimized():
    """Compiles as programs are compiled outside of tests: for what is equal to the last bit."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def cores_at_start() -> set[int] | None:
    """The cores this process could use before a test file was imported."""
    return CORES


@pytest.fixture(scope="session")
def reference_dir() -> pathlib.Path:
    """The paper's released data; it lies beside a checkout, never in it."""
    path = REPO_ROOT.parent / "shared" / "reference"
    if not path.is_dir():
        pytest.skip(f"the paper's released data is not at {path}")
    return path


def _demo_config() -> ConfigDict:
    path = REPO_ROOT / "configs" / "tiny_cpu.py"
    spec = importlib.util.spec_from_file_location("tiny_cpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


@pytest.fixture
def booking_config() -> ConfigDict:
    """The demo's own config."""
    return _demo_config()


@pytest.fixture(scope="session")
def booking_wheel() -> pathlib.Path:
    """The pinned wheel; downloaded once a checkout."""
    try:
        return complexfuncbench.WHEEL.fetch(REPO_ROOT / ".cache" / "wheels")
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def booking_cache(booking_wheel, tmp_path_factory) -> pathlib.Path:
    """The cache that `cli.record` makes of the wheel; one of the workers makes it for all."""
    # The directory of all workers, where pytest-xdist gives each one its own in it.
    base = tmp_path_factory.getbasetemp()
    workdir = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "booking"
    path = workdir / "cache" / "booking.sqlite"
    with FileLock(f"{workdir}.lock"):
        if not path.is_file():
            with given(record.FLAGS, wheel=str(booking_wheel)):
                record.record(_demo_config(), str(workdir))
    return path


@pytest.fixture(scope="session")
def booking_environment(booking_cache) -> Environment:
    """The demo's environment."""
    return open_environment(str(booking_cache), **_demo_config().projection)


@pytest.fixture(scope="session")
def booking_generated(booking_environment) -> Generated:
    """The demo's synthesis, thinner: one query and at most 40 fillings a workflow."""
    config = _demo_config()
    thinner = {"queries_per_filling": 1, "max_fillings_per_workflow": 40}
    settings = Settings("booking", seed=config.seed, **(config.synthesis.to_dict() | thinner))
    return generate(booking_environment, settings, progress=False)
