"""Runs that are killed with -9, again and again, end where one that was left alone ends."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
KILLS = 12  # of each stage's own share: 4 in SFT, 8 in GRPO
LIMIT_S = 600.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> pathlib.Path:
    """The small config of these tests, longer, as a file that a command can be given."""
    path = tmp_path_factory.mktemp("config") / "killed.py"
    path.write_text(
        "from tests.train.conftest import tiny_config\n\n\n"
        "def get_config():\n"
        "    config = tiny_config().unlock()\n"
        "    config.sft.update(steps=60, checkpoint_every_steps=5, eval_every_steps=30)\n"
        "    config.sft.learning_rate = 5e-3\n"
        "    config.grpo.update(steps=24, eval_every_steps=12)\n"
        "    return config\n"
    )
    return path


def command(stage: str, workdir: pathlib.Path, config: pathlib.Path) -> subprocess.Popen:
    line = f"-m tooltrain.cli.train_{stage} --workdir={workdir} --config={config}".split()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A process of its own, without the virtual devices that the tests have.
    environment.pop("XLA_FLAGS", None)
    with (workdir / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, *line], cwd=ROOT, env=environment, stdout=log, stderr=log
        )


def steps_written(stage_dir: pathlib.Path) -> int:
    path = stage_dir / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def saving(stage_dir: pathlib.Path) -> bool:
    return any((stage_dir / "checkpoints").glob("*tmp*"))


def kill_once(stage: str, workdir, config, moment: str, rng: random.Random) -> str:
    """Starts a stage and kills it at `moment`; returns what happened: "killed" or "finished"."""
    process = command(stage, workdir, config)
    directory = workdir / stage
    at_start, target, deadline = None, rng.randint(1, 6), time.monotonic() + LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        written = steps_written(directory)
        if at_start is None or written < at_start:  # lines after the checkpoint were dropped
            at_start = written
        if moment == "saving" and saving(directory):
            break
        if moment == "stepping" and written >= at_start + target:
            time.sleep(rng.uniform(0.0, 0.5))  # anywhere in a step: in the rollout, in the update
            break
        if moment == "starting" and (directory / "config.json").is_file():
            time.sleep(rng.uniform(0.0, 10.0))
            break
        time.sleep(0.002)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return "killed"
    assert process.returncode == 0, (workdir / "log").read_text()[-3000:]
    return "finished"


def saved(stage_dir: pathlib.Path):
    from orbax.checkpoint import v1 as ocp

    steps = [int(p.name) for p in (stage_dir / "checkpoints").iterdir() if p.name.isdigit()]
    return ocp.load_checkpointables((stage_dir / "checkpoints" / str(max(steps))).absolute())


def test_twelve_kills_change_no_bit_of_what_is_learned(recorded_workdir, config_file, tmp_path):
    rng = random.Random(0)
    alone, killed = (
        pathlib.Path(shutil.copytree(recorded_workdir, tmp_path / name))
        for name in ("alone", "killed")
    )
    moments = {
        "sft": ("starting", "stepping", "saving", "stepping"),
        "grpo": ("starting", "saving", *["stepping"] * 4, "saving", "stepping"),
    }
    happened = []
    for stage, kinds in moments.items():
        assert command(stage, alone, config_file).wait(LIMIT_S) == 0, (alone / "log").read_text()
        happened += [kill_once(stage, killed, config_file, kind, rng) for kind in kinds]
        assert command(stage, killed, config_file).wait(LIMIT_S) == 0, (killed / "log").read_text()
        jax.tree.map(np.testing.assert_array_equal, saved(alone / stage), saved(killed / stage))
        # Every number of every step, what was sampled, and the order of the data.
        for file in ("metrics.jsonl", "episodes.jsonl"):
            if (alone / stage / file).is_file():
                assert (alone / stage / file).read_bytes() == (killed / stage / file).read_bytes()
    assert happened == ["killed"] * KILLS
