"""Shows recorded episodes turn by turn, what the policy sampled in colour.

python -m tooltrain.cli.show EPISODES.jsonl [--first=1] [--count=1] [--color=auto]

EPISODES.jsonl: WORKDIR/grpo/episodes.jsonl, WORKDIR/eval/*_episodes_*.jsonl, or what
`rollout.transcript.append` wrote.
"""

from __future__ import annotations

import itertools
import json
import os
import pathlib
import sys
from collections.abc import Sequence

from absl import flags

from tooltrain.cli import files
from tooltrain.errors import UserError
from tooltrain.rollout.terminal import episode_lines

FLAGS = flags.FlagValues()
_FIRST = flags.DEFINE_integer(
    "first", 1, "The first episode shown, from 1.", lower_bound=1, flag_values=FLAGS
)
_COUNT = flags.DEFINE_integer("count", 1, "How many are shown.", lower_bound=1, flag_values=FLAGS)
_COLOR = flags.DEFINE_enum(
    "color",
    "auto",
    ["auto", "always", "never"],
    "auto: in a terminal, unless NO_COLOR is set.",
    flag_values=FLAGS,
)


def show(paths: Sequence[str], *, first: int, count: int, color: bool) -> None:
    """Prints `count` episodes of the one file in `paths`.

    Raises UserError for no file, one that is no file of episodes, or that ends before `first`.
    """
    if len(paths) != 1:
        raise UserError(f"show takes one file of episodes, got {len(paths)}")
    path = pathlib.Path(paths[0])
    shown = 0
    try:
        with path.open(encoding="utf-8") as file:
            lines = enumerate(file, 1)
            for number, line in itertools.islice(lines, first - 1, first - 1 + count):
                print(f"--- episode {number} of {path} ---")
                print(*episode_lines(json.loads(line), color=color), sep="\n")
                shown += 1
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"line {first + shown} of {path} is no episode ({type(error).__name__}: {error}); give "
            "a file that training, evaluation or rollout.transcript wrote"
        ) from error
    if not shown:
        raise UserError(f"{path} has fewer than {first} episodes; give a smaller --first")


def main(argv: Sequence[str]) -> None:
    color = _COLOR.value == "always" or (
        _COLOR.value == "auto" and sys.stdout.isatty() and "NO_COLOR" not in os.environ
    )
    show(argv[1:], first=_FIRST.value, count=_COUNT.value, color=color)


if __name__ == "__main__":
    files.run(main, FLAGS)
