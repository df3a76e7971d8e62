"""Evaluates a policy or an endpoint on BFCL's single-turn AST and multi-turn base tests."""

from __future__ import annotations

import pathlib
import re

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.eval.bfcl import SINGLE_TURN, Bfcl
from tooltrain.eval.bfcl_evaluate import evaluate, table_lines
from tooltrain.eval.bfcl_players import EndpointPlayer, PolicyPlayer
from tooltrain.eval.endpoint import Endpoint
from tooltrain.eval.trained_policy import TrainedPolicy

FLAGS = flags.FlagValues()
_PLAYER = flags.DEFINE_enum(
    "player",
    "grpo",
    ("sft", "grpo", "endpoint"),
    "A stage of WORKDIR, or an endpoint.",
    flag_values=FLAGS,
)
_ENDPOINT = flags.DEFINE_string(
    "endpoint", "", "Address of --player=endpoint, up to /v1.", flag_values=FLAGS
)
_MODEL = flags.DEFINE_string(
    "model", "", "Name under which the endpoint serves the model.", flag_values=FLAGS
)
_PARALLEL = flags.DEFINE_integer(
    "parallel", 8, "Conversations with it at a time.", lower_bound=1, flag_values=FLAGS
)
_CATEGORIES = flags.DEFINE_list("categories", list(SINGLE_TURN), "Which tests.", flag_values=FLAGS)
_TESTS = flags.DEFINE_integer(
    "tests", 0, "How many of each category; 0: all.", lower_bound=0, flag_values=FLAGS
)


def evaluate_bfcl(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir)
    bfcl = Bfcl.open()
    entries = []
    for category in _CATEGORIES.value:
        of_category = bfcl.entries(category)
        entries += of_category[: _TESTS.value or len(of_category)]
    name = _PLAYER.value
    if name == "endpoint":
        endpoint = Endpoint(_ENDPOINT.value, _MODEL.value, parallel=_PARALLEL.value)
        player = EndpointPlayer(endpoint)
        name = "endpoint_" + re.sub(r"[^\w.-]", "_", _MODEL.value)
    else:
        player = PolicyPlayer(TrainedPolicy(config, workdir, name))
    summary = evaluate(player, bfcl, entries, pathlib.Path(workdir) / "eval" / "bfcl" / name)
    print("\n".join(table_lines(summary)))


if __name__ == "__main__":
    main.run(evaluate_bfcl, FLAGS)
