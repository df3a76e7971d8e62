import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from experiments import distractors, generations, rewards, sweep, traces_a_filling
from tests.train.conftest import (
    recorded_workdir,  # noqa: F401  a fixture
    tiny_config,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def scores(**by_seed: float):
    return {int(seed[1:]): {"grpo_strict_turn_accuracy": v} for seed, v in by_seed.items()}


def test_arms_are_compared_on_the_seeds_that_both_have():
    found = {"a": scores(s0=0.5, s1=0.6, s2=0.4), "b": scores(s0=0.6, s1=0.7), "c": {}}
    told = sweep.summary(found, "a")
    assert told["a"]["mean"] == pytest.approx(0.5)
    assert told["a"]["difference"] == 0.0
    assert told["b"]["difference"] == pytest.approx(0.1)
    assert "c" not in told


def test_an_interval_is_students():
    # Mean 2, sample std 1, n = 3: half width 4.303 / sqrt(3).
    low, high = sweep.interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose([low, high], [2 - 2.4843, 2 + 2.4843], atol=1e-3)
    assert sweep.interval([1.0]) is None


@pytest.mark.parametrize("experiment", [rewards, generations, distractors, traces_a_filling])
def test_every_override_of_every_arm_is_a_field_of_the_config(experiment):
    config = tiny_config().unlock()
    for overrides in experiment.ARMS.values():
        for name, value in overrides.items():
            section, field = name.split(".")
            assert field in config[section]
            assert isinstance(value, type(config[section][field]))


def test_arms_share_what_they_do_not_change():
    digest = lambda overrides, sections: sweep._digest(sweep._of(overrides, sections))  # noqa: E731
    reward, offered = {"grpo.reward": "binary"}, {"synthesis.distractors": 5}
    assert digest(reward, sweep.OF_SFT) == digest({}, sweep.OF_SFT) == "base"
    assert digest(offered, sweep.OF_TRACES) != "base"
    assert digest({"sft.steps": 10}, sweep.OF_TRACES) == "base"
    assert digest({"sft.steps": 10}, sweep.OF_SFT) != "base"


@pytest.mark.slow
def test_a_sweep_runs_and_goes_on_where_it_stopped(recorded_workdir, tmp_path):  # noqa: F811
    workdir = tmp_path / "sweep"
    shutil.copytree(recorded_workdir / "cache", workdir / "cache")
    shutil.copytree(recorded_workdir / "traces", workdir / "traces-base" / "traces")
    config = tmp_path / "small.py"
    config.write_text(
        "from tests.train.conftest import tiny_config\n\n\n"
        "def get_config():\n"
        "    config = tiny_config().unlock()\n"
        "    config.grpo.steps = 2\n"
        "    config.eval.episodes = 2\n"
        "    return config\n"
    )
    results = tmp_path / "rewards.json"
    line = f"-m experiments.rewards --config={config} --workdir={workdir} --results={results}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("XLA_FLAGS", None)

    def run(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, *line.split(), "--seeds=0", *options],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run("--arms=matched")
    told = run("--arms=matched,binary")
    # The start is shared and the first arm done: only the second one is trained.
    assert told.count("tooltrain.cli.train_grpo") == 1
    table = json.loads(results.read_text())
    assert table["summary"].keys() == {"matched", "binary"}
    assert table["results"]["binary"][0]["last_steps"]["calls_per_episode"] >= 0
    assert table["question"].startswith("Which reward gives the best strict accuracy")
