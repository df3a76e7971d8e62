"""How a command over files starts: no config, no workdir; bad input as one clear line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from tooltrain.errors import UserError


def run(command: Callable[[Sequence[str]], None]) -> NoReturn:
    """Parses the flags and calls `command(argv)`; never returns.

    A `UserError` or a flag that cannot be read ends the process with `error: <message>` on
    stderr and status 1.
    """

    def main(argv: Sequence[str]) -> None:
        try:
            command(argv)
        except UserError as error:
            _fail(error)
        except BrokenPipeError:  # `… | head`
            sys.stderr.close()

    app.run(main, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)
