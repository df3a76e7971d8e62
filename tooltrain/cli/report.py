"""Compares runs on one self-contained HTML page, from the files of their workdirs.

python -m tooltrain.cli.report WORKDIR... [--out=FILE] [--episodes=1]
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from tooltrain.cli import files
from tooltrain.report.page import write_report

FLAGS = flags.FlagValues()
_OUT = flags.DEFINE_string(
    "out",
    None,
    "File to write; unset: WORKDIR/report.html of one workdir, comparison.html here of several.",
    flag_values=FLAGS,
)
_EPISODES = flags.DEFINE_integer(
    "episodes",
    1,
    "Episodes shown of each kind: right with one and wrong with another, right, wrong.",
    lower_bound=0,
    flag_values=FLAGS,
)


def report(argv: Sequence[str]) -> None:
    """Writes the page about the workdirs that `argv` names after the program."""
    workdirs = argv[1:]
    path = _OUT.value or ("comparison.html" if len(workdirs) > 1 else None)
    print(f"report: {write_report(workdirs, path, episodes=_EPISODES.value)}")


if __name__ == "__main__":
    files.run(report, FLAGS)
