"""The command of an experiment, as its results file tells it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence


def told(name: str, options: Sequence[str] | None = None) -> str:
    """`python -m experiments.NAME` with these options (None: this process's), and a WORKDIR that
    is nobody's own."""
    options = sys.argv[1:] if options is None else options
    shown = [f"--workdir=runs/{name}" if o.startswith("--workdir=") else o for o in options]
    return shlex.join(["python", "-m", f"experiments.{name}", *shown])
