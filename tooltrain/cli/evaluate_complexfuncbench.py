"""Evaluates a policy, an endpoint, transcripts or a baseline on ComplexFuncBench, offline."""

from __future__ import annotations

import pathlib
import re

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import devices, main
from tooltrain.env.environment import Environment, open_environment
from tooltrain.errors import UserError
from tooltrain.eval.baselines import PLAYERS
from tooltrain.eval.complexfuncbench import evaluate
from tooltrain.eval.complexfuncbench_endpoint import EndpointPlayer
from tooltrain.eval.complexfuncbench_players import Player, Script, Transcripts
from tooltrain.eval.complexfuncbench_policy import PolicyPlayer
from tooltrain.eval.complexfuncbench_samples import (
    BenchmarkEnvironment,
    Request,
    chosen,
    read_samples,
)
from tooltrain.eval.complexfuncbench_scores import table_lines
from tooltrain.eval.endpoint import Endpoint
from tooltrain.eval.trained_policy import PRETRAINED, TrainedPolicy
from tooltrain.synthesis.contamination import call_keys, of_file

_SCRIPTS = {name.replace(" ", "_").replace("-", "_"): name for name in PLAYERS}
_PLAYERS = (PRETRAINED, "sft", "grpo", "endpoint", "transcript", *_SCRIPTS)
FLAGS = flags.FlagValues()
_PLAYER = flags.DEFINE_enum(
    "player",
    "grpo",
    _PLAYERS,
    "A stage of WORKDIR, what it started from (pretrained), an endpoint, a file or a baseline.",
    flag_values=FLAGS,
)
_ENDPOINT = flags.DEFINE_string(
    "endpoint", "", "Address of --player=endpoint, up to /v1.", flag_values=FLAGS
)
_MODEL = flags.DEFINE_string(
    "model", "", "Name under which the endpoint serves the model.", flag_values=FLAGS
)
_MAX_TOKENS = flags.DEFINE_integer(
    "max_tokens",
    0,
    "Of one answer of the endpoint; 0 leaves it to the endpoint.",
    lower_bound=0,
    flag_values=FLAGS,
)
_PARALLEL = flags.DEFINE_integer(
    "parallel", 8, "Conversations with it at a time.", lower_bound=1, flag_values=FLAGS
)
_TRANSCRIPTS = flags.DEFINE_string(
    "transcripts",
    "",
    'File of --player=transcript; a line: {"id": ..., "messages": [...]}.',
    flag_values=FLAGS,
)
_SAMPLES = flags.DEFINE_integer(
    "samples", 0, "How many of the 1,000; 0: all.", lower_bound=0, flag_values=FLAGS
)
_DISTRACTORS = flags.DEFINE_integer(
    "distractors",
    -1,
    "Unused tools offered beside a sample's own; -1: the whole domain's tools.",
    flag_values=FLAGS,
)
_WHOLE = flags.DEFINE_bool(
    "whole_responses",
    False,
    "Show responses uncut; else through config.projection.",
    flag_values=FLAGS,
)
_IMITATED = flags.DEFINE_list(
    "imitated",
    [],
    "Trace files whose calls the policy was trained on: also tells the samples that share a call "
    "with them from those that share none.",
    flag_values=FLAGS,
)


def evaluate_complexfuncbench(config: ConfigDict, workdir: str) -> None:
    devices.prepare(workdir)
    player, name = _player(config, workdir)
    path = config.cache or f"{workdir}/cache/{config.suite}.sqlite"
    environment = BenchmarkEnvironment(
        open_environment(path, **config.projection), whole_responses=_WHOLE.value
    )
    distractors = None if _DISTRACTORS.value < 0 else _DISTRACTORS.value
    samples = chosen(read_samples(environment.cache, distractors=distractors), _SAMPLES.value)
    summary = evaluate(
        player,
        samples,
        environment,
        pathlib.Path(workdir) / "eval" / "complexfuncbench" / name,
        settings={"distractors": distractors},
        imitated=_imitated(environment) if _IMITATED.value else None,
    )
    print("\n".join(table_lines(summary)))


def _imitated(environment: Environment) -> set[Request]:
    read = (of_file(path) for path in _IMITATED.value)
    found = {key for material in read for key in call_keys(material, environment.tools)}
    if not found:
        raise UserError(
            f"--imitated={','.join(_IMITATED.value)} holds no call; give trace files, such as "
            "`synthesize --export=FILE` writes"
        )
    return found


def _player(config: ConfigDict, workdir: str) -> tuple[Player, str]:
    """The player, and the name of its directory."""
    name = _PLAYER.value
    if name == "endpoint":
        model = re.sub(r"[^\w.-]", "_", _MODEL.value)
        endpoint = Endpoint(
            _ENDPOINT.value,
            _MODEL.value,
            parallel=_PARALLEL.value,
            max_tokens=_MAX_TOKENS.value,
        )
        return EndpointPlayer(endpoint), f"endpoint_{model}"
    if name == "transcript":
        if not _TRANSCRIPTS.value:
            raise UserError("--player=transcript needs --transcripts=FILE")
        return Transcripts(
            _TRANSCRIPTS.value
        ), f"transcript_{pathlib.Path(_TRANSCRIPTS.value).stem}"
    if name in _SCRIPTS:
        return Script(_SCRIPTS[name]), name
    return PolicyPlayer(TrainedPolicy(config, workdir, name)), name


if __name__ == "__main__":
    main.run(evaluate_complexfuncbench, FLAGS)
