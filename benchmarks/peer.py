"""Another implementation in a process of its own, which measures when it is asked to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence

import jax


class Peer:
    """A script in an interpreter that has the peer's packages: a line of JSON for a line.

    without: environment variables that it does not get.
    """

    def __init__(
        self, python: str, script: str, *arguments: str, without: Sequence[str] = ("XLA_FLAGS",)
    ):
        environment = {**os.environ, "JAX_PLATFORMS": jax.default_backend()}
        for name in without:
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [python, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, line: str) -> dict:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self.read()

    def read(self) -> dict:
        """What it says unasked."""
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer's process ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
