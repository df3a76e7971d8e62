import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.train.conftest import interrupt
from tooltrain.data.pipeline import Lengths
from tooltrain.errors import UserError
from tooltrain.train import hosts, sft, start
from tooltrain.types import SFTBatch


def saved_arrays(stage_dir, step):
    """Everything the checkpoint of a step holds, as it is on disk."""
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables((stage_dir / "checkpoints" / str(step)).absolute())


def lines(stage_dir, file="metrics.jsonl"):
    return [json.loads(line) for line in (stage_dir / file).read_text().splitlines()]


def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(workdir, config, monkeypatch):
    sft.train(config, str(workdir))
    whole = saved_arrays(workdir / "sft", 4)
    metrics = (workdir / "sft" / "metrics.jsonl").read_bytes()
    losses = [line["loss"] for line in lines(workdir / "sft") if "loss" in line]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert [line["step"] for line in lines(workdir / "sft") if "eval/loss" in line] == [2, 4]

    (workdir / "sft").rename(workdir / "uninterrupted")
    interrupt(sft, config, workdir, monkeypatch, at=4)
    assert [p.name for p in (workdir / "sft" / "checkpoints").iterdir() if p.name.isdigit()] == [
        "2"
    ]
    sft.train(config, str(workdir))
    jax.tree.map(np.testing.assert_array_equal, saved_arrays(workdir / "sft", 4), whole)
    assert (workdir / "sft" / "metrics.jsonl").read_bytes() == metrics

    # A finished run that is started again has nothing to do and changes no number.
    sft.train(config, str(workdir))
    assert (workdir / "sft" / "metrics.jsonl").read_bytes() == metrics


def test_steps_are_traced_once(workdir, config, monkeypatch):
    traced = []
    make_step = sft.make_sft_step

    def counting(apply_fn, *args, **options):
        def counted(params, tokens, *rest):
            traced.append(tokens.shape)
            return apply_fn(params, tokens, *rest)

        return make_step(counted, *args, **options)

    monkeypatch.setattr(sft, "make_sft_step", counting)
    sft.train(config, str(workdir))
    assert traced == [(8, 192)]


def test_sft_hands_variety_curriculum_and_shard_to_its_batches(workdir, config, monkeypatch):
    class Seen(Exception):
        pass

    def look(*args, **options):
        raise Seen(options)

    monkeypatch.setattr(sft, "sft_batches", look)
    config.synthesis.variety = 0.75
    with config.unlocked():
        config.sft.curriculum = {"by": "calls", "ramp_examples": 8, "start": 0.5}
    with pytest.raises(Seen) as caught:
        sft.train(config, str(workdir))
    (seen,) = caught.value.args
    assert seen["variety"] == 0.75
    assert seen["curriculum"].by == "calls"
    assert (seen["shard"].index, seen["shard"].count) == (0, 1)


def test_a_directory_of_another_config_is_refused_before_anything_changes(workdir, config):
    directory = workdir / "sft"
    (directory / "checkpoints" / "2").mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({"config": {"seed": 5}, "data": {}}))
    before = sorted(directory.rglob("*"))
    with pytest.raises(UserError, match=r"config\.seed is 5 there and 0 here"):
        sft.train(config, str(workdir))
    assert sorted(directory.rglob("*")) == before


def test_a_batch_that_the_mesh_cannot_share_is_refused(workdir, config):
    config.sft.batch_size = 12
    with pytest.raises(UserError, match=r"config\.sft\.batch_size makes batches of 12 rows"):
        sft.train(config, str(workdir))
    assert not (workdir / "sft").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_no_checkpoint(
    workdir, config, monkeypatch
):
    fresh = start.init_params

    def broken(*args):
        return jax.tree.map(lambda x: x * jnp.nan, fresh(*args))

    monkeypatch.setattr(start, "init_params", broken)
    with pytest.raises(UserError, match=r"sft stopped: .*loss nan at step 1 of 4"):
        sft.train(config, str(workdir))
    assert not [p for p in (workdir / "sft" / "checkpoints").iterdir() if p.name.isdigit()]


def test_metrics_of_the_data_are_those_of_all_processes(monkeypatch):
    # Padding, examples taken, examples left out of the other process.
    monkeypatch.setattr(hosts, "gather", lambda own: [own, [0.5, 30, 6]])
    rows = np.zeros((1, 4))
    batch = SFTBatch(rows, rows, np.array([[1, 1, 1, 0]]), rows)
    found = sft._data_metrics(batch, Lengths(taken=10, left_out=1))
    assert found == {"padding": 0.375, "examples": 40, "left_out": 7 / 40}
