"""Several processes make the run that one makes, and none goes on without another."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from orbax.checkpoint import v1 as ocp

from tooltrain.cli import devices
from tooltrain.errors import UserError
from tooltrain.train import hosts
from tooltrain.train.checkpoint import latest_step

ROOT = pathlib.Path(__file__).resolve().parents[2]
LIMIT_S = 600.0


def test_one_process_has_all_of_it():
    assert hosts.share(7, "config.x") == 7
    assert list(hosts.mine(5)) == [0, 1, 2, 3, 4]
    assert hosts.gather({"a": (1, 2)}) == [{"a": [1, 2]}]
    assert hosts.mean({"loss": 0.5}) == {"loss": 0.5}
    assert hosts.is_first()


def test_parts_of_processes_follow_each_other(monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 3)
    parts = []
    for index in range(3):
        monkeypatch.setattr(hosts, "index", lambda index=index: index)
        parts.append(list(hosts.mine(8)))
    assert parts == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert hosts.share(9, "config.x") == 3
    with pytest.raises(UserError, match=r"config\.x is 8, which 3 processes cannot share evenly"):
        hosts.share(8, "config.x")


def test_a_process_that_does_not_say_which_it_is_gets_told():
    flags.FLAGS.mark_as_parsed()
    given = flagsaver.flagsaver(coordinator="localhost:1234", num_processes=2, process_id=2)
    with given, pytest.raises(UserError, match=r"--num_processes=2 and --process_id=2: give the"):
        devices.join()


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("config") / "processes.py"
    path.write_text(
        "from tests.train.conftest import tiny_config\n\n\n"
        "def get_config():\n"
        "    config = tiny_config().unlock()\n"
        "    config.sft.update(steps=120, checkpoint_every_steps=120, eval_every_steps=120)\n"
        "    config.sft.update(warmup_steps=5, copy_fraction=0.0, learning_rate=5e-3)\n"
        "    config.sft.cpu_devices = 0\n"
        "    return config\n"
    )
    return path


def start(stage, workdir, config, devices_each: int, *options: str) -> subprocess.Popen:
    line = f"-m tooltrain.cli.train_{stage} --workdir={workdir} --config={config}".split()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices_each}",
    }
    with (workdir / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, *line, *options], cwd=ROOT, env=environment, stdout=log, stderr=log
        )


def start_two(stage, workdir, config) -> list[subprocess.Popen]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [
        start(
            stage,
            workdir,
            config,
            4,
            f"--coordinator=localhost:{port}",
            "--num_processes=2",
            f"--process_id={index}",
        )
        for index in range(2)
    ]


@pytest.fixture(scope="module")
def alone(recorded_workdir, config_file, tmp_path_factory) -> pathlib.Path:
    """A run of one process with eight devices."""
    workdir = shutil.copytree(recorded_workdir, tmp_path_factory.mktemp("hosts") / "alone")
    for stage in ("sft", "grpo"):
        process = start(stage, workdir, config_file, 8)
        assert process.wait(LIMIT_S) == 0, (workdir / "log").read_text()[-3000:]
    return workdir


def params_of(stage_dir: pathlib.Path) -> list[np.ndarray]:
    """The parameters of the newest checkpoint, whole, whoever saved them."""
    newest = stage_dir / "checkpoints" / str(latest_step(stage_dir))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        ocp.checkpointables_metadata(newest.absolute()).metadata["params"],
    )
    saved = ocp.load_checkpointables(newest.absolute(), {"params": shapes})
    return jax.tree.leaves(jax.device_get(saved["params"]))


@pytest.mark.slow
def test_two_processes_of_four_devices_make_the_steps_of_one_with_eight(
    alone, config_file, tmp_path
):
    workdir = pathlib.Path(
        shutil.copytree(alone, tmp_path / "two", ignore=shutil.ignore_patterns("grpo"))
    )
    for process in start_two("grpo", workdir, config_file):
        assert process.wait(LIMIT_S) == 0, (workdir / "log").read_text()[-3000:]
    before, one, two = (
        params_of(stage_dir) for stage_dir in (alone / "sft", alone / "grpo", workdir / "grpo")
    )
    # Something was learned that could differ.
    assert max(np.abs(a - b).max() for a, b in zip(before, one, strict=True)) > 1e-4
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    # One process writes: each step has one line.
    count = (alone / "grpo" / "metrics.jsonl").read_text().count("\n")
    assert (workdir / "grpo" / "metrics.jsonl").read_text().count("\n") == count


@pytest.mark.slow
def test_two_processes_train_by_sft_and_resume_their_own_data(
    recorded_workdir, config_file, tmp_path
):
    workdirs = []
    for name in ("whole", "resumed"):
        workdir = pathlib.Path(shutil.copytree(recorded_workdir, tmp_path / name))
        workdirs.append(workdir)
        if name == "resumed":
            processes = start_two("sft", workdir, config_file)
            deadline = time.monotonic() + LIMIT_S
            log = workdir / "sft" / "metrics.jsonl"
            while time.monotonic() < deadline and not (
                log.is_file() and log.read_text().count("\n") > 60
            ):
                time.sleep(0.05)
            # One process is lost: the other does not go on, and says so.
            processes[1].send_signal(signal.SIGKILL)
            assert processes[0].wait(LIMIT_S) != 0
        for process in start_two("sft", workdir, config_file):
            assert process.wait(LIMIT_S) == 0, (workdir / "log").read_text()[-3000:]
    for a, b in zip(*(params_of(workdir / "sft") for workdir in workdirs), strict=True):
        np.testing.assert_array_equal(a, b)
