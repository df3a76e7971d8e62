"""Looks into caches, checks them, and makes one of several.

python -m tooltrain.cli.cache inspect FILE [--tool=NAME] [--entries=1]
python -m tooltrain.cli.cache verify FILE...
python -m tooltrain.cli.cache merge --out=FILE [--conflict=error] FILE...
"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from absl import flags

from tooltrain.cli import files
from tooltrain.env import inspect, merge, verify
from tooltrain.env.cache import Cache
from tooltrain.errors import UserError

FLAGS = flags.FlagValues()
_TOOL = flags.DEFINE_string("tool", None, "inspect: this tool alone.", flag_values=FLAGS)
_ENTRIES = flags.DEFINE_integer(
    "entries", 1, "inspect: entries shown of a tool.", lower_bound=0, flag_values=FLAGS
)
_OUT = flags.DEFINE_string("out", None, "merge: the file to write.", flag_values=FLAGS)
_CONFLICT = flags.DEFINE_string(
    "conflict",
    "error",
    "merge: what becomes of a request that two caches answer differently, one of "
    f"{', '.join(merge.CONFLICT_RULES)} (of the files named).",
    flag_values=FLAGS,
)


def inspect_command(paths: Sequence[str]) -> None:
    if len(paths) != 1:
        raise UserError(f"inspect takes one file, got {len(paths)}")
    for line in inspect.inspect(paths[0], _TOOL.value, _ENTRIES.value):
        print(line)


def verify_command(paths: Sequence[str]) -> None:
    if not paths:
        raise UserError("verify takes one file or more, got none")
    faulty = 0
    for path in paths:
        found = verify.verify(path)
        verdict = f"{found.num_faults:,} faults" if found.num_faults else "whole"
        print(
            f"{path}: {found.tools} tools, {found.entries:,} entries, {found.samples:,} samples, "
            f"digest {found.digest[:16]}: {verdict}"
        )
        for fault in found.faults:
            print(f"  {fault}")
        faulty += found.num_faults > 0
    if faulty:
        raise UserError(f"{faulty} of {len(paths)} files are faulty: record or copy them again")


def merge_command(paths: Sequence[str]) -> None:
    if len(paths) < 2 or not _OUT.value:
        raise UserError("merge takes --out=FILE and two files or more")
    if pathlib.Path(_OUT.value).exists():  # never written over: it may be another's file
        raise UserError(f"{_OUT.value} is there already; delete it, or name another with --out")
    done = merge.merge(paths, _OUT.value, _CONFLICT.value)
    digest = Cache.open(_OUT.value).digest
    print(
        f"wrote {_OUT.value}: {done.entries:,} entries of {done.tools} tools, {done.samples:,} "
        f"samples, digest {digest[:16]}"
    )
    print(f"{done.same:,} requests were in several caches with the same response")
    if done.conflicts:
        print(f"{done.conflicts:,} were answered differently: the {_CONFLICT.value} answer is kept")


_COMMANDS = {"inspect": inspect_command, "verify": verify_command, "merge": merge_command}


def cache(argv: Sequence[str]) -> None:
    """Runs the command that `argv` names after the program."""
    command = argv[1] if len(argv) > 1 else "none"
    if command not in _COMMANDS:
        raise UserError(f"unknown command {command}; allowed: {', '.join(_COMMANDS)}")
    _COMMANDS[command](argv[2:])


if __name__ == "__main__":
    files.run(cache, FLAGS)
