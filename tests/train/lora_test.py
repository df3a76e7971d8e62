"""Training a LoRA tree: it alone changes and is saved; everything else sees the whole policy."""

from __future__ import annotations

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from tests.given_flags import given
from tests.train.conftest import interrupt
from tooltrain import sharding
from tooltrain.cli.export import FLAGS, export
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.policy.lora import lora_of
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.weights import flatten
from tooltrain.train import grpo, sft, start
from tooltrain.train.checkpoint import BASE


def saved(stage_dir: pathlib.Path, step: int):
    return ocp.load_checkpointables((stage_dir / "checkpoints" / str(step)).absolute())


def base_of(stage_dir: pathlib.Path):
    return ocp.load_checkpointables((stage_dir / BASE).absolute())["params"]


def equal(a, b) -> None:
    jax.tree.map(np.testing.assert_array_equal, a, b)


def apart(a, b) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


@pytest.fixture(scope="module")
def lora_config(make_config):
    config = make_config()
    with config.unlocked():
        config.lora.update(rank=4, alpha=8.0)
        config.sft.update(optimizer="adamw", learning_rate=1e-2, copy_fraction=0.0)
        # Nothing that so short a start writes earns anything: let something else move GRPO.
        config.grpo.update(steps=2, checkpoint_every_steps=1, warmup_steps=0, learning_rate=1e-3)
        config.grpo.update(entropy_coefficient=0.1, filter_zero_variance=False, importance_cap=2.0)
    return config


@pytest.fixture(scope="module")
def trained(recorded_workdir, tmp_path_factory, lora_config):
    """A workdir after SFT and GRPO with LoRA."""
    workdir = shutil.copytree(recorded_workdir, tmp_path_factory.mktemp("lora") / "run")
    sft.train(lora_config, str(workdir))
    grpo.train(lora_config, str(workdir))
    return workdir


def test_sft_lowers_the_loss_and_leaves_the_base_as_it_was(trained, lora_config):
    lines = (trained / "sft" / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if "loss" in line]
    assert losses[-1] < losses[0] - 0.1
    mesh = sharding.make_mesh(lora_config.mesh)
    drawn = start.start(lora_config, str(trained)).first_params(mesh, seed=lora_config.seed)
    equal(base_of(trained / "sft"), drawn)


def test_checkpoints_and_optimizer_hold_the_pairs_alone(trained):
    for stage in ("sft", "grpo"):
        checkpoint = saved(trained / stage, 2)
        names = set(flatten(checkpoint["params"]))
        assert len(names) == 14
        assert all(name.endswith(("/a", "/b")) for name in names)
        moments = {
            leaf.shape for leaf in jax.tree.leaves(checkpoint["optimizer"]) if np.ndim(leaf) > 1
        }
        assert moments == {leaf.shape for leaf in jax.tree.leaves(checkpoint["params"])}


def test_each_stage_is_played_and_goes_on_as_a_whole_policy(trained, lora_config):
    lora = lora_of(lora_config)
    after_sft = lora.merge(base_of(trained / "sft"), saved(trained / "sft", 4)["params"])
    policy = TrainedPolicy(lora_config, str(trained), "sft")
    assert apart(policy.params, after_sft) < 1e-6
    # GRPO's own pairs stand beside all that SFT made.
    equal(base_of(trained / "grpo"), policy.params)
    pairs = saved(trained / "grpo", 2)["params"]
    after_grpo = lora.merge(policy.params, pairs)
    assert apart(after_grpo, policy.params) > 1e-5
    assert apart(TrainedPolicy(lora_config, str(trained), "grpo").params, after_grpo) < 1e-6


def test_an_export_is_the_merged_policy(trained, lora_config, tmp_path):
    with given(FLAGS, stage="grpo", directory=str(tmp_path / "hf")):
        export(lora_config, str(trained))
    _, params = from_pretrained(tmp_path / "hf")
    equal(params, TrainedPolicy(lora_config, str(trained), "grpo").params)


def test_a_resumed_run_reads_no_policy_of_sft(trained, lora_config, monkeypatch):
    before = saved(trained / "grpo", 2)
    monkeypatch.setattr(grpo, "load_params", pytest.fail)
    grpo.train(lora_config, str(trained))
    equal(saved(trained / "grpo", 2), before)


@pytest.mark.slow
def test_all_parameters_may_be_trained_after_lora(trained, lora_config, tmp_path):
    config = lora_config.copy_and_resolve_references()
    config.lora.rank = 0
    config.grpo.steps = 1
    workdir = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("grpo"))
    grpo.train(config, str(workdir))
    before = TrainedPolicy(lora_config, str(trained), "sft").params
    after = saved(workdir / "grpo", 1)["params"]
    assert 0 < apart(after, before) < 1e-2
    assert not (workdir / "grpo" / BASE).exists()


@pytest.mark.slow
def test_resumed_stages_are_bit_identical_to_uninterrupted_ones(
    trained, lora_config, monkeypatch, tmp_path
):
    ignored = shutil.ignore_patterns("sft", "grpo")
    workdir = pathlib.Path(shutil.copytree(trained, tmp_path / "run", ignore=ignored))
    for stage, name, last in ((sft, "sft", 4), (grpo, "grpo", 2)):
        interrupt(stage, lora_config, workdir, monkeypatch, at=last)
        stage.train(lora_config, str(workdir))
        equal(saved(workdir / name, last), saved(trained / name, last))
        file = pathlib.Path(name) / "metrics.jsonl"
        assert (workdir / file).read_bytes() == (trained / file).read_bytes()
