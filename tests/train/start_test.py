"""Training from a published checkpoint: its own weights, tokenizer and template, its own shape."""

from __future__ import annotations

import functools
import json

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.train.conftest import interrupt
from tooltrain import sharding
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import PRETRAINED, TrainedPolicy
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_policy
from tooltrain.policy.transformer import init_params
from tooltrain.rollout import decode
from tooltrain.rollout.episode import Prompt
from tooltrain.train import grpo, sft
from tooltrain.train.start import start


@pytest.fixture
def published(workdir, config):
    """A policy as others publish theirs, and the config that starts from it."""
    tokenizer = Tokenizer.load(workdir / "traces" / "tokenizer.json")
    policy = PolicyConfig(vocab_size=tokenizer.vocab_size, **config.policy.to_dict())
    params = init_params(policy, jax.random.key(7))
    export_policy(workdir / "hf", policy, params, ChatTemplate(tokenizer), max_len=192)
    # Only the published files say how text becomes ids.
    (workdir / "traces" / "tokenizer.json").rename(workdir / "tokenizer.json")
    (workdir / "traces" / "tokenizer.json").write_text("{}")
    with config.unlocked():
        config.policy = {"pretrained": str(workdir / "hf"), "dtype": "float32", "remat": False}
    return policy, params


def saved_params(directory, step):
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables((directory / "checkpoints" / str(step)).absolute())["params"]


def test_a_start_is_the_published_shape_weights_and_tokenizer(workdir, config, published):
    policy, params = published
    begin = start(config, str(workdir))
    assert begin.policy == policy
    assert begin.template.tokenizer.encode("Rome") == Tokenizer.load(
        workdir / "tokenizer.json"
    ).encode("Rome")
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    placed = begin.params(mesh)
    jax.tree.map(np.testing.assert_array_equal, placed, params)
    assert placed["layers"]["gate"].sharding.spec == PartitionSpec(None, "fsdp", "tensor")


def test_sft_goes_on_from_the_published_weights(workdir, config, published):
    _, params = published
    config.sft.update(steps=1, warmup_steps=0, learning_rate=1e-6, context_loss_weight=0.0)
    config.optimizer.clip_norm = 1.0
    config.sft.optimizer = "adamw"
    sft.train(config, str(workdir))
    trained = saved_params(workdir / "sft", 1)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), trained, params)
    assert 0 < max(jax.tree.leaves(moved)) < 1e-5
    policy = TrainedPolicy(config, str(workdir), "sft")
    jax.tree.map(np.testing.assert_array_equal, policy.params, trained)


@pytest.mark.slow
def test_grpo_goes_on_from_sft_of_the_published_weights(workdir, config, published):
    config.sft.update(steps=1, warmup_steps=0, learning_rate=1e-6, context_loss_weight=0.0)
    config.sft.optimizer = "adamw"
    # Nothing that these weights write earns anything: weight decay and rounding move them.
    config.grpo.filter_zero_variance = False
    sft.train(config, str(workdir))
    grpo.train(config, str(workdir))
    before, after = (
        saved_params(workdir / stage, step) for stage, step in (("sft", 1), ("grpo", 4))
    )
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), after, before)
    assert 0 < max(jax.tree.leaves(moved)) < 1e-3
    # The dataset's own tokenizer file is empty: these ids are the published one's.
    episode = json.loads((workdir / "grpo" / "episodes.jsonl").read_text().splitlines()[0])
    assert episode["query"].startswith("Weather in")
    tokenizer = Tokenizer.load(workdir / "tokenizer.json")
    assert episode["query"] in tokenizer.decode(episode["ids"])
    policy = TrainedPolicy(config, str(workdir), "grpo")
    jax.tree.map(np.testing.assert_array_equal, policy.params, after)


def test_the_published_policy_itself_can_be_played(workdir, config, published):
    _, params = published
    policy = TrainedPolicy(config, str(workdir), PRETRAINED)
    jax.tree.map(np.testing.assert_array_equal, policy.params, params)
    assert policy.identity["step"] == 0
    assert policy.identity["checkpoint"] == str(workdir / "hf")


def test_one_device_plays_as_eight_do_and_each_shape_has_one_program(
    workdir, config, published, monkeypatch
):
    environment = open_environment(str(workdir / "cache" / "weather.sqlite"), **config.projection)
    prompts = [Prompt(i, (5, 6 + i, 7)) for i in range(3)]
    config.eval.slots = 4
    eight = TrainedPolicy(config, str(workdir), PRETRAINED).rollouts(prompts, environment)
    make_mesh = functools.partial(sharding.make_mesh, devices=jax.devices()[:1])
    monkeypatch.setattr(sharding, "make_mesh", make_mesh)
    policy = TrainedPolicy(config, str(workdir), PRETRAINED)
    one = policy.rollouts(prompts, environment)
    assert [r.tokens.tolist() for r in one] == [r.tokens.tolist() for r in eight]
    programs = decode.decode._cache_size()
    assert [r.tokens.tolist() for r in policy.rollouts(prompts, environment)] == [
        r.tokens.tolist() for r in one
    ]
    assert decode.decode._cache_size() == programs


def test_without_a_published_model_there_is_nothing_to_play_before_training(workdir, config):
    with pytest.raises(UserError, match=r"config\.policy\.pretrained names no model"):
        TrainedPolicy(config, str(workdir), PRETRAINED)


def test_a_shape_beside_a_published_model_is_refused(workdir, config, published):
    with config.unlocked():
        config.policy.num_layers = 2
    with pytest.raises(UserError, match=r"sets num_layers beside pretrained='.*hf'"):
        start(config, str(workdir))


def test_a_value_that_a_policy_cannot_have_names_the_field(workdir, config):
    config.policy.num_kv_heads = 3
    with pytest.raises(UserError, match=r"^config\.policy\.num_heads is 2 and num_kv_heads 3"):
        start(config, str(workdir))


def test_a_setting_that_a_published_model_cannot_have_names_the_field(workdir, config, published):
    config.policy.dtype = "int8"
    with pytest.raises(UserError, match=r"^config\.policy\.dtype is 'int8'; allowed: float32"):
        start(config, str(workdir))


@pytest.mark.slow
def test_what_does_not_fit_is_counted_the_same_after_a_resume(workdir, config, monkeypatch):
    # Traces have 152 or 154 tokens here; of the copy task's examples most are longer than 192.
    config.sft.update(seq_len=192, copy_fraction=0.5, steps=4, checkpoint_every_steps=2)
    sft.train(config, str(workdir))
    lines = (workdir / "sft" / "metrics.jsonl").read_text().splitlines()
    shares = [json.loads(line)["left_out"] for line in lines if "left_out" in line]
    assert 0 < shares[-1] < 1
    (workdir / "sft").rename(workdir / "whole")

    interrupt(sft, config, workdir, monkeypatch, at=4)
    sft.train(config, str(workdir))
    assert (workdir / "sft" / "metrics.jsonl").read_text().splitlines() == lines


def test_a_row_that_no_example_fits_in_is_an_error(workdir, config):
    config.sft.update(seq_len=128, copy_fraction=0.0)
    with pytest.raises(UserError, match=r"longer than seq_len=128 tokens, the last one 15\d"):
        sft.train(config, str(workdir))
