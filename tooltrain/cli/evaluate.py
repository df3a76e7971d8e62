"""Scores the policies of WORKDIR on held-out traces, beside baselines; writes the report."""

import sys

from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.eval.heldout import evaluate_workdir


def evaluate(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir)
    evaluate_workdir(config, workdir, flags=sys.argv[1:])


if __name__ == "__main__":
    main.run(evaluate)
