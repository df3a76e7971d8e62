"""The command of an experiment, as its results file tells it, and the commands that it runs."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

from tooltrain.errors import UserError


def told(name: str, options: Sequence[str] | None = None) -> str:
    """`python -m experiments.NAME` with these options (None: this process's), and a WORKDIR that
    is nobody's own."""
    options = sys.argv[1:] if options is None else options
    shown = [f"--workdir=runs/{name}" if o.startswith("--workdir=") else o for o in options]
    return shlex.join(["python", "-m", f"experiments.{name}", *shown])


def run(line: Sequence[str], **environment: str) -> None:
    """Prints and runs `python LINE...` to its end, with these variables of the environment set.

    Raises UserError if it fails: what was wrong, the command has said itself.
    """
    print(shlex.join(["python", *line]), flush=True)
    status = subprocess.run([sys.executable, *line], env={**os.environ, **environment}).returncode
    if status:
        raise UserError(
            f"python {shlex.join(line)} ended with status {status}, for the reason above; what was "
            "done before it is kept, and the same experiment goes on from there"
        )
