"""What a policy's episodes depend on, and the values of a config that none can be played with."""

import json
import pathlib
import shutil

import pytest

from tests.eval.heldout_test import config_for, save_fresh_policy
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.errors import UserError
from tooltrain.eval.trained_policy import TrainedPolicy


@pytest.fixture
def config(environment):
    return config_for(environment)


@pytest.fixture
def workdir(config, tmp_path) -> pathlib.Path:
    workdir = tmp_path / "run"
    (workdir / "traces").mkdir(parents=True)
    train_tokenizer([], 300).save(workdir / "traces" / "tokenizer.json")
    save_fresh_policy(config, workdir / "sft", 0)
    write_config(workdir, learning_rate=0.1)
    return workdir


def write_config(workdir, **fields):
    recorded = {"config": {"sft": fields}, "data": {}}
    (workdir / "sft" / "config.json").write_text(json.dumps(recorded))


def identity(config, workdir):
    return TrainedPolicy(config, str(workdir), "sft").identity


def test_a_workdir_that_was_moved_holds_the_same_policy(config, workdir, tmp_path):
    before = identity(config, workdir)
    assert (before["player"], before["step"]) == ("sft", 1)
    assert identity(config, shutil.move(workdir, tmp_path / "elsewhere")) == before


def test_a_stage_that_was_trained_anew_is_another_policy(config, workdir):
    before = identity(config, workdir)
    write_config(workdir, learning_rate=0.2)
    assert differing(before, identity(config, workdir)) == {"config"}
    shutil.rmtree(workdir / "sft" / "checkpoints")
    save_fresh_policy(config, workdir / "sft", 0)
    write_config(workdir, learning_rate=0.1)
    assert differing(before, identity(config, workdir)) == {"saved_ns"}


def test_other_arithmetic_is_another_policy(config, workdir):
    before = identity(config, workdir)
    config.policy.update(dtype="bfloat16", attention="xla")
    assert differing(before, identity(config, workdir)) == {"dtype", "attention"}


def differing(before, after) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("section", "field", "value", "says"),
    [
        ("grpo", "max_turns", 0, r"config\.grpo\.max_turns is 0; allowed: 1 or more"),
        ("grpo", "max_turn_tokens", 0, r"config\.grpo\.max_turn_tokens is 0; allowed: 1 or more"),
        ("grpo", "max_len", 1, r"config\.grpo\.max_len is 1; allowed: 2 or more"),
        ("eval", "slots", 0, r"config\.eval\.slots is 0; allowed: 1 or more"),
        ("eval", "chunks", (32, 0), r"config\.eval\.chunks is \(32, 0\); allowed"),
        ("policy", "num_kv_heads", 3, r"config\.policy\.num_heads is 1 and num_kv_heads 3"),
    ],
)
def test_a_value_that_nothing_can_be_played_with_names_its_field(
    config, workdir, section, field, value, says
):
    config[section][field] = value
    with pytest.raises(UserError, match=says):
        TrainedPolicy(config, str(workdir), "sft")
