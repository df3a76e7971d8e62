"""How every command starts: the two shared flags, and bad input as one clear line."""

from __future__ import annotations

import sys
from collections.abc import Callable

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from tooltrain.errors import UserError

CONFIG = config_flags.DEFINE_config_file(
    "config",
    "configs/tiny_cpu.py",
    "Config file; override a field with --config.field=value.",
    lock_config=True,
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory that all commands of one run read and write.", required=True
)


def run(command: Callable[[ConfigDict, str], None]) -> None:
    """Parses the flags and calls `command(config, workdir)`; never returns.

    A `UserError`, an unreadable config file or an unknown config field ends the process
    with `error: <message>` on stderr and status 1. Any other exception is a fault of
    tooltrain and keeps its traceback.
    """

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            _fail(f"unexpected arguments {argv[1:]}: options are written --name=value")
        try:
            command(CONFIG.value, WORKDIR.value)
        except UserError as error:
            _fail(str(error))

    app.run(main, flags_parser=_parse_flags)


def _parse_flags(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    # What ml_collections raises for --config.field: KeyError/AttributeError (unknown),
    # TypeError/ValueError (wrong type); for --config: file and syntax errors.
    except (
        flags.Error,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        ImportError,
        SyntaxError,
    ) as error:
        _fail(_one_line(error))


def _one_line(error: Exception) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def _fail(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
