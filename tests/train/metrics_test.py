import json

import jax.numpy as jnp
import pytest

from tooltrain.errors import UserError
from tooltrain.train.metrics import MetricsWriter


def writer(directory, *, resumed_step=None, total_steps=4, log_every_steps=1):
    return MetricsWriter(
        directory,
        "sft",
        resumed_step=resumed_step,
        total_steps=total_steps,
        log_every_steps=log_every_steps,
        show=("loss", "eval/loss"),
    )


def lines(directory, file="metrics.jsonl"):
    return [json.loads(line) for line in (directory / file).read_text().splitlines()]


def test_a_step_is_written_when_the_next_one_is_dispatched(tmp_path):
    with writer(tmp_path) as metrics:
        metrics.step(1, {"loss": jnp.float32(0.5)})
        assert lines(tmp_path) == []
        metrics.step(2, {"loss": jnp.float32(0.25)})
        assert lines(tmp_path) == [{"step": 1, "loss": 0.5}]
    assert lines(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]


def test_what_the_clock_said_stands_in_a_file_of_its_own(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with writer(tmp_path / name) as metrics:
            metrics.step(1, {"loss": 0.5}, {"tokens": 100, "update_seconds": 0.1})
            metrics.evaluation(1, {"loss": 0.75}, seconds=2.0)
    first, second = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in "ab")
    assert first == second
    assert lines(tmp_path / "a")[1] == {"step": 1, "eval/loss": 0.75}
    timing = lines(tmp_path / "a", "timing.jsonl")
    assert set(timing[0]) == {"step", "seconds", "tokens_per_second", "update_seconds"}
    assert timing[1] == {"step": 1, "eval/seconds": 2.0}


def test_lines_come_every_so_many_steps_and_at_the_end(tmp_path):
    with writer(tmp_path, total_steps=5, log_every_steps=2) as metrics:
        for step in range(1, 6):
            metrics.step(step, {"loss": float(step)})
    assert [line["step"] for line in lines(tmp_path)] == [2, 4, 5]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_with_the_step_and_what_to_look_at(tmp_path, bad):
    metrics = writer(tmp_path, log_every_steps=100)
    metrics.step(1, {"loss": 2.0, "grad_norm": 3.0})
    metrics.step(2, {"loss": jnp.float32(bad), "grad_norm": 4.0})
    with pytest.raises(UserError) as error:
        metrics.step(3, {"loss": 1.0, "grad_norm": 1.0})
    message = str(error.value)
    assert f"loss {bad} at step 2 of 4" in message
    assert "the step before had grad_norm 3, loss 2" in message
    assert "learning rate" in message


def test_a_bad_last_step_is_found_on_leaving(tmp_path):
    with pytest.raises(UserError, match="at step 1"), writer(tmp_path) as metrics:
        metrics.step(1, {"loss": float("nan")})


def test_a_resumed_run_rewrites_what_came_after_its_checkpoint(tmp_path):
    with writer(tmp_path) as metrics:
        for step in (1, 2, 3):
            metrics.step(step, {"loss": float(step)})
    with writer(tmp_path, resumed_step=2) as metrics:
        metrics.step(3, {"loss": 30.0})
    assert [line["loss"] for line in lines(tmp_path)] == [1.0, 2.0, 30.0]


def test_a_run_that_starts_anew_drops_the_lines_of_the_old_one(tmp_path):
    for loss in (1.0, 2.0):
        with writer(tmp_path) as metrics:
            metrics.step(1, {"loss": loss})
    assert lines(tmp_path) == [{"step": 1, "loss": 2.0}]


def test_tensorboard_gets_the_numbers_too(tmp_path):
    with writer(tmp_path) as metrics:
        metrics.step(1, {"loss": 0.5})
    files = list((tmp_path / "tensorboard").iterdir())
    assert len(files) == 1
    assert b"sft/loss" in files[0].read_bytes()
