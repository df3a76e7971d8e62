"""How a command over files starts: no config, no workdir; bad input as one clear line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags

from tooltrain.cli import own_flags
from tooltrain.errors import UserError


def run(command: Callable[[Sequence[str]], None], own: flags.FlagValues) -> NoReturn:
    """Parses the flags and calls `command(argv)`; never returns. own: its flags (`own_flags`).

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

    app.run(main, flags_parser=functools.partial(_parse_flags, own=own))


def _parse_flags(argv: list[str], own: flags.FlagValues) -> list[str]:
    try:
        return own_flags.parse(argv, own)
    except flags.Error as error:
        _fail(error)


def _fail(error: Exception) -> NoReturn:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(1)
