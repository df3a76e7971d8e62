"""Scores the policies of WORKDIR on held-out traces, beside baselines; writes the report.

    python -m tooltrain.cli.evaluate --workdir=runs/demo
    python -m tooltrain.cli.evaluate --workdir=runs/demo --checkpoint=best
    python -m tooltrain.cli.evaluate --workdir=runs/demo --name=atlas \\
        --other_cache=runs/atlas/cache/atlas.sqlite --other_traces=runs/atlas/traces

The third is about traces of another suite: WORKDIR/transfer/NAME/eval and report.html.
"""

import sys

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.errors import UserError
from tooltrain.eval.heldout import Other, evaluate_workdir
from tooltrain.train.checkpoint import BEST, NEWEST

FLAGS = flags.FlagValues()
_CHECKPOINT = flags.DEFINE_enum(
    "checkpoint",
    NEWEST,
    (NEWEST, BEST),
    "Of GRPO: its newest, or the one that was best on held-out traces while it trained.",
    flag_values=FLAGS,
)
_NAME = flags.DEFINE_string(
    "name",
    "",
    "Evaluate on another suite's traces, and write to WORKDIR/transfer/NAME.",
    flag_values=FLAGS,
)
_CACHE = flags.DEFINE_string(
    "other_cache", "", "With --name: the other suite's recorded responses.", flag_values=FLAGS
)
_TRACES = flags.DEFINE_string(
    "other_traces", "", "With --name: the directory of the other suite's traces.", flag_values=FLAGS
)


def evaluate(config: ConfigDict, workdir: str) -> None:
    other = None
    if _NAME.value:
        other = Other(_NAME.value, _CACHE.value, _TRACES.value)
    elif _CACHE.value or _TRACES.value:
        raise UserError(
            "--other_cache and --other_traces need --name=NAME, the directory below "
            f"{workdir}/transfer that the evaluation is written to"
        )
    devices.prepare(workdir)
    evaluate_workdir(config, workdir, flags=sys.argv[1:], other=other, checkpoint=_CHECKPOINT.value)


if __name__ == "__main__":
    main.run(evaluate, FLAGS)
