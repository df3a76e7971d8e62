"""How every command starts: the two shared flags, and bad input as one clear line."""

from __future__ import annotations

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from tooltrain.cli import own_flags
from tooltrain.errors import UserError

_CONFIGS = "configs"  # a checkout's; a wheel has them in the package (setup.py)
_PACKAGE = pathlib.Path(__file__).resolve().parents[1]


def installed_config(path: str) -> str:
    """`configs/NAME.py`, or the installed one of that name outside a checkout. A `:` and what
    follows it is the config's own argument."""
    file, colon, argument = path.partition(":")
    name = pathlib.Path(file)
    if name.is_file() or str(name.parent) != _CONFIGS:
        return path
    for folder in (_PACKAGE / _CONFIGS, _PACKAGE.parent / _CONFIGS):
        if (folder / name.name).is_file():
            return f"{folder / name.name}{colon}{argument}"
    return path


CONFIG = config_flags.DEFINE_config_file(
    "config",
    installed_config(f"{_CONFIGS}/tiny_cpu.py"),
    "Config file; override a field with --config.field=value.",
    lock_config=True,
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory that all commands of one run read and write."
)


def run(
    command: Callable[[ConfigDict, str], None],
    own: flags.FlagValues | None = None,
    *,
    without_workdir: Callable[[], bool] = lambda: False,
) -> None:
    """Parses the flags and calls `command(config, workdir)`; never returns.

    own: the flags that only this command has (`own_flags`).
    without_workdir: whether, by its other flags, the command can do without --workdir (it
    is given "" then).

    A `UserError`, an unreadable config file or an unknown config field ends the process
    with `error: <message>` on stderr and status 1. Any other exception is a fault of
    tooltrain and keeps its traceback.
    """

    def main(argv: list[str]) -> None:
        if len(argv) > 1:
            _fail(f"unexpected arguments {argv[1:]}: options are written --name=value")
        try:
            config = CONFIG.value.lock()  # an unreadable config file shows at its first use
        except OSError as error:
            _fail(_one_line(error))
        if not WORKDIR.value and not without_workdir():
            _fail("--workdir is missing: name the directory of this run, e.g. --workdir=runs/demo")
        try:
            command(config, WORKDIR.value or "")
        except UserError as error:
            _fail(_one_line(error))

    parser = functools.partial(_parse_flags, own=own or flags.FlagValues())
    app.run(main, flags_parser=parser)


def _parse_flags(argv: list[str], own: flags.FlagValues) -> list[str]:
    flag = "--config="
    argv = [
        flag + installed_config(arg.removeprefix(flag)) if arg.startswith(flag) else arg
        for arg in argv
    ]
    try:
        rest = own_flags.parse(argv, own)
    except (KeyError, AttributeError) as error:  # --config.field where there is no such field
        paths = [arg.partition("=")[0] for arg in argv if arg.startswith("--config.")]
        if not paths:
            _fail(f"the config file raised {type(error).__name__}: {_one_line(error)}; correct it")
        given = next((path for path in paths if path.rpartition(".")[2] in str(error)), paths[0])
        _fail(
            f"{given}: the config has no such field ({_one_line(error)}); allowed are the fields "
            "that the config file sets (--config=FILE): look there for the spelling"
        )
    except (flags.Error, TypeError, ValueError) as error:
        _fail(_one_line(error))
    # absl.app would make it INFO, at which Orbax tells each save in 20 lines.
    if flags.FLAGS["verbosity"].using_default_value:
        flags.FLAGS.verbosity = logging.WARNING
    return rest


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)
