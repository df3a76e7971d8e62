"""How experiments are run small: their commands in processes of their own, as users start them."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> pathlib.Path:
    """Programs of all tests here: most are the same ones."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """(*line) -> what `python LINE...` printed; it compiles fast and must end well."""

    def run(*line: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
        environment.pop("XLA_FLAGS", None)
        done = subprocess.run(
            [sys.executable, *line], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run
