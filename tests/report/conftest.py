"""Workdirs as the commands leave them, made of a small world's episodes."""

from __future__ import annotations

import json

import pytest

from tests.eval.conftest import environment, traces  # noqa: F401 (fixtures)
from tooltrain.eval.baselines import PLAYERS, gold_calls, play
from tooltrain.eval.evaluate import score
from tooltrain.eval.heldout import write_evaluation
from tooltrain.types import Call

RUN = {
    "suite": "cars",
    "subtitle": "SFT step 1",
    "commands": ["python -m tooltrain.cli.evaluate --workdir=x"],
    "versions": "jax",
}
HOSTILE = "<script>alert('x')</script>"


def wrong_vehicle(trace, environment):  # noqa: F811
    """Gold, but the last call carries another value."""
    *turns, last = gold_calls(trace, environment)
    name, argument = last[0].name, next(iter(last[0].arguments))
    return [*turns, [Call(name, {**last[0].arguments, argument: HOSTILE})]]


def nothing(trace, environment):  # noqa: F811
    return []


gold = PLAYERS["gold"]


@pytest.fixture
def workdir(tmp_path, environment, traces):  # noqa: F811
    """workdir(name, sft=player, ...): a directory with their held-out evaluation."""

    def scored(player):
        return {
            "test": score(traces, play(player, traces, environment)),
            "test_workflows": score(traces[:1], play(player, traces[:1], environment)),
        }

    def write(name="run", **policies):
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        write_evaluation(
            str(path),
            {name: scored(player) for name, player in PLAYERS.items()},
            {stage: scored(player) for stage, player in policies.items()},
            environment,
            steps={"sft": 1, "grpo": 1},
            seed=0,
            run=RUN,
        )
        return path

    return write


def write_stage(path, stage, lines, **config):
    """Metrics and config of a stage that trained."""
    directory = path / stage
    directory.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "metrics.jsonl").write_text(text)
    (directory / "config.json").write_text(json.dumps({"config": config}))
