"""Several processes make the run that one makes, and none goes on without another."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from orbax.checkpoint import v1 as ocp

from tooltrain import sharding
from tooltrain.cli import devices
from tooltrain.errors import UserError
from tooltrain.train import hosts
from tooltrain.train.checkpoint import BASE, latest_step

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


def test_a_number_without_a_coordinator_is_refused(tmp_path):
    flags.FLAGS.mark_as_parsed()
    for name, says in (("num_processes", "=2 and --process_id=None"), ("process_id", "=None and ")):
        with (
            flagsaver.flagsaver(**{name: 2}),
            pytest.raises(UserError, match=rf"--num_processes{says}.* without --coordinator"),
        ):
            devices.prepare(str(tmp_path), joins=True)


def test_commands_that_do_not_train_are_one_process(tmp_path):
    flags.FLAGS.mark_as_parsed()
    given = flagsaver.flagsaver(coordinator="localhost:1234", num_processes=2, process_id=1)
    with given, pytest.raises(UserError, match=r"only train_sft and train_grpo run in several"):
        devices.prepare(str(tmp_path))


def test_messages_of_like_length_are_sent_by_one_program(monkeypatch):
    from jax.experimental import multihost_utils

    shapes = set()

    def allgather(x):
        shapes.add(x.shape)
        return np.stack([x, x])

    monkeypatch.setattr(hosts, "count", lambda: 2)
    monkeypatch.setattr(multihost_utils, "process_allgather", allgather)
    for length in (0, 1, 700, 1022, 1023, 2046, 2047):  # and two quotes
        text = "x" * length
        assert hosts.gather(text) == [text, text]
    assert shapes == {(1,), (1024,), (2048,), (4096,)}


def test_a_copy_of_ones_own_is_whole_on_the_first_device_and_compiled_once():
    # Device 1 is the first of the mesh.
    others = [*jax.devices()[1:], jax.devices()[0]]
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2}, others)
    params = sharding.shard_params(mesh, {"embedding": np.arange(64.0).reshape(8, 8)})
    for added in (0.0, 1.0, 2.0):
        given = jax.tree.map(lambda x, added=added: x + added, params)
        own = hosts.own_copy(mesh, given, always=True)
        assert own["embedding"].devices() == {jax.local_devices()[0]}
        np.testing.assert_array_equal(own["embedding"], given["embedding"])
    assert hosts._placing(sharding.replicated(mesh))._cache_size() == 1


def test_a_checkpoint_is_resumed_by_as_many_processes():
    hosts.check_count(1)
    with pytest.raises(UserError, match=r"is of 2 processes, .* there are 1 now: resume it with 2"):
        hosts.check_count(2)


def test_what_the_first_process_holds_is_left_again_and_its_refusal_is_everyones(monkeypatch):
    held = []

    @contextlib.contextmanager
    def holding():
        held.append("in")
        yield
        held.append("out")

    @contextlib.contextmanager
    def refused():
        raise UserError("another has it")
        yield

    with hosts.first_holds(holding()):
        assert held == ["in"]
    assert held == ["in", "out"]
    with pytest.raises(UserError, match="another has it"), hosts.first_holds(refused()):
        pass

    # The second of two processes.
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    monkeypatch.setattr(hosts, "gather", lambda own: ["another has it", own])
    with pytest.raises(UserError, match="another has it"), hosts.first_holds(holding()):
        pass
    assert held == ["in", "out"]


def test_matrices_are_not_split_over_processes(monkeypatch):
    # Two processes of four devices, in the order of the mesh.
    chips = [types.SimpleNamespace(process_index=i // 4) for i in range(8)]
    monkeypatch.setattr(
        sharding.jax,
        "make_mesh",
        lambda sizes, axes, **_: types.SimpleNamespace(devices=np.array(chips).reshape(sizes)),
    )
    for tensor in (1, 2, 4):
        sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": tensor}, chips)
    with pytest.raises(UserError, match=r"config\.mesh\.tensor is 8, .* has 4 devices here: give"):
        sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 8}, chips)


# What is trained: all parameters, or thin matrices beside frozen ones. So short a start with those
# earns nothing that differs within a group, so something else moves GRPO.
TRAINED = {
    "all": "",
    "lora": (
        "    config.lora.update(rank=4, alpha=8.0)\n"
        "    config.sft.optimizer = 'adamw'\n"
        "    config.grpo.update(entropy_coefficient=0.1, filter_zero_variance=False)\n"
        "    config.grpo.update(importance_cap=2.0, learning_rate=1e-3)\n"
    ),
}


@pytest.fixture(scope="module", params=TRAINED)
def config_file(request, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("config") / "processes.py"
    path.write_text(
        "from tests.train.conftest import tiny_config\n\n\n"
        "def get_config():\n"
        "    config = tiny_config().unlock()\n"
        "    config.sft.update(steps=120, checkpoint_every_steps=30, eval_every_steps=120)\n"
        "    config.sft.update(warmup_steps=5, copy_fraction=0.0, learning_rate=5e-3)\n"
        "    config.sft.cpu_devices = 0\n"
        f"{TRAINED[request.param]}"
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
    """The trained parameters of the newest checkpoint, whole, whoever saved them."""
    return saved_params(stage_dir / "checkpoints" / str(latest_step(stage_dir)))


def saved_params(checkpoint: pathlib.Path) -> list[np.ndarray]:
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here),
        ocp.checkpointables_metadata(checkpoint.absolute()).metadata["params"],
    )
    saved = ocp.load_checkpointables(checkpoint.absolute(), {"params": shapes})
    return jax.tree.leaves(jax.device_get(saved["params"]))


def base_of(stage_dir: pathlib.Path) -> list[np.ndarray]:
    """What the pairs of a LoRA run stand beside; nothing of other runs."""
    return saved_params(stage_dir / BASE) if (stage_dir / BASE).is_dir() else []


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
    for a, b in zip(base_of(alone / "grpo"), base_of(workdir / "grpo"), strict=True):
        np.testing.assert_array_equal(a, b)
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
            assert 0 < (latest_step(workdir / "sft") or 0) < 120
        for process in start_two("sft", workdir, config_file):
            assert process.wait(LIMIT_S) == 0, (workdir / "log").read_text()[-3000:]
    for a, b in zip(*(params_of(workdir / "sft") for workdir in workdirs), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(*(base_of(workdir / "sft") for workdir in workdirs), strict=True):
        np.testing.assert_array_equal(a, b)
