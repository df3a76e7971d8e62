import collections
import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from tests.train.conftest import interrupt
from tooltrain.errors import UserError
from tooltrain.train import grpo, sft
from tooltrain.train.checkpoint import best_step
from tooltrain.train.optimizer import make_schedule
from tooltrain.types import ObservationKind


def lines(stage_dir, file="metrics.jsonl"):
    return [json.loads(line) for line in (stage_dir / file).read_text().splitlines()]


def saved_arrays(stage_dir, step):
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables((stage_dir / "checkpoints" / str(step)).absolute())


def warm_copy(trained, workdir):
    """A workdir with the SFT of `trained` and no GRPO."""
    shutil.copytree(trained, workdir, ignore=shutil.ignore_patterns("grpo"))
    return workdir


@pytest.fixture(scope="module")
def warm_config(make_config) -> ConfigDict:
    """Enough SFT that some rollouts of a group are right and others are not."""
    config = make_config()
    with config.unlocked():
        config.sft.update(steps=120, warmup_steps=5, log_every_steps=40, eval_every_steps=120)
        config.sft.update(checkpoint_every_steps=120, copy_fraction=0.0, learning_rate=5e-3)
    return config


@pytest.fixture(scope="module")
def trained(recorded_workdir, tmp_path_factory, warm_config):
    """A workdir after SFT and GRPO."""
    workdir = shutil.copytree(recorded_workdir, tmp_path_factory.mktemp("grpo") / "run")
    sft.train(warm_config, str(workdir))
    grpo.train(warm_config, str(workdir))
    return workdir


def test_every_step_reports_what_is_worth_watching(trained):
    found = {line["step"]: line for line in lines(trained / "grpo") if "reward" in line}
    assert sorted(found) == [1, 2, 3, 4]
    learned = [line for line in found.values() if line["nonzero_variance_share"] > 0]
    assert learned, "no group had variance: the warm start is too long or too short"
    for line in learned:
        assert 0 < line["reward"] < 1
        assert line["grad_norm"] > 0
        assert line["entropy"] > 0
        # On policy, the ratio is 1 up to rounding, and so far from every clip.
        assert abs(line["approx_kl"]) < 1e-6
        assert line["clip_fraction"] == 0
        assert (
            abs(line["reward"] - (line["reward/atomic"] + line["reward/orchestration"]) / 2) < 1e-5
        )
    for line in found.values():
        assert abs(sum(v for k, v in line.items() if k.startswith("end/")) - 1) < 1e-6
        assert {f"call/{kind.value}" for kind in ObservationKind} <= line.keys()
    timing = [line for line in lines(trained / "grpo", "timing.jsonl") if "seconds" in line]
    assert {"rollout_seconds", "reward_seconds", "update_seconds"} <= timing[0].keys()


def test_the_reference_policy_is_the_one_that_training_started_from(trained):
    learned = [line for line in lines(trained / "grpo") if "kl" in line]
    assert abs(learned[0]["kl"]) < 1e-6
    assert len(learned) > 1
    assert learned[-1]["kl"] > learned[0]["kl"]


def test_held_out_accuracy_is_measured_before_during_and_after(trained):
    steps = [x["step"] for x in lines(trained / "grpo") if "eval/strict_turn_accuracy" in x]
    assert steps == [0, 2, 4]
    assert best_step(trained / "grpo") in (2, 4)


def test_the_learning_rate_of_a_step_is_the_one_of_its_update(trained, warm_config):
    grpo = warm_config.grpo
    schedule = make_schedule(
        grpo.learning_rate,
        steps=4,
        warmup_steps=1,
        final_fraction=grpo.final_lr_fraction,
        decay=grpo.decay,
    )
    updates = 0
    for line in lines(trained / "grpo"):
        if "reward" in line:
            assert line["learning_rate"] == float(schedule(updates))
            updates += "grad_norm" in line
    assert updates > 0


def test_a_checkpoint_says_how_many_processes_saved_it(trained):
    assert saved_arrays(trained / "grpo", 4)["run"]["num_processes"] == 1


def test_sampled_episodes_are_written_turn_by_turn(trained):
    episodes = lines(trained / "grpo", "episodes.jsonl")
    assert collections.Counter(e["step"] for e in episodes) == {1: 2, 2: 2, 3: 2, 4: 2}
    assert all({"advantages", "query", "gold", "turns", "end"} <= e.keys() for e in episodes)


def check_equal_runs(one, other) -> None:
    """Every array, number and episode of the two GRPO directories is the same."""
    jax.tree.map(np.testing.assert_array_equal, saved_arrays(one, 4), saved_arrays(other, 4))
    for file in ("metrics.jsonl", "episodes.jsonl"):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    trained, warm_config, monkeypatch, tmp_path
):
    workdir = warm_copy(trained, tmp_path / "run")
    interrupt(grpo, warm_config, workdir, monkeypatch, at=4)
    grpo.train(warm_config, str(workdir))
    check_equal_runs(workdir / "grpo", trained / "grpo")


@pytest.mark.slow
def test_rollouts_in_flight_and_prompts_drawn_again_are_resumed(
    trained, warm_config, monkeypatch, tmp_path
):
    config = warm_config.copy_and_resolve_references()
    config.grpo.update(staleness=1, importance_cap=2.0, dynamic_sampling_rounds=2)
    config.grpo.update(advantages="components", credit="rollout", normalize_std=True)
    config.grpo.update(kl_coefficient=0.0, learning_rate=1e-3, eval_every_steps=4)
    whole, resumed = (warm_copy(trained, tmp_path / name) for name in ("whole", "resumed"))
    grpo.train(config, str(whole))
    interrupt(grpo, config, resumed, monkeypatch, at=4)
    grpo.train(config, str(resumed))
    check_equal_runs(resumed / "grpo", whole / "grpo")

    found = {line["step"]: line for line in lines(whole / "grpo") if "reward" in line}
    assert max(line["groups_drawn"] for line in found.values()) > 4
    # Steps 1 and 2 are played by the policy that training started from. When step 1 is updated
    # that is the policy itself, of which two programs say the same up to rounding; when step 2
    # is, it is the one from before an update.
    assert found[1]["grad_norm"] > 0
    assert 0 < found[1]["mismatch_abs"] < 1e-4 < 1e-3 < found[2]["mismatch_abs"]
    # The ratio of the update itself is to the policy that is updated.
    assert max(abs(line.get("approx_kl", 0.0)) for line in found.values()) < 1e-9
    saved = saved_arrays(whole / "grpo", 4)
    moved = jax.tree.map(
        lambda a, b: float(np.abs(a - b).max()), saved["behaviour"], saved["params"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-5


def test_grpo_without_a_warm_start_says_what_to_run(workdir, config):
    with pytest.raises(UserError, match="run train_sft with this --workdir first"):
        grpo.train(config, str(workdir))
    assert not (workdir / "grpo").exists()


def test_a_warm_start_without_its_config_is_refused(trained, warm_config, tmp_path):
    workdir = warm_copy(trained, tmp_path / "run")
    (workdir / "sft" / "config.json").unlink()
    with pytest.raises(UserError, match=r"sft has no config\.json"):
        grpo.train(warm_config, str(workdir))
    assert not (workdir / "grpo").exists()


def test_another_start_is_another_run(trained, warm_config):
    config = warm_config.copy_and_resolve_references()
    before = config.grpo.learning_rate
    config.grpo.learning_rate = 1.0
    with pytest.raises(UserError, match=rf"config\.grpo\.learning_rate is {before} there and 1\.0"):
        grpo.train(config, str(trained))


def test_greedy_rollouts_are_refused(trained, warm_config):
    config = warm_config.copy_and_resolve_references()
    config.grpo.temperature = 0.0
    with pytest.raises(UserError, match="temperature is 0"):
        grpo.train(config, str(trained))


def test_rows_too_short_for_a_rollout_are_refused(trained, warm_config):
    config = warm_config.copy_and_resolve_references()
    config.grpo.row_len = 100
    with pytest.raises(UserError, match=r"row_len is 100, but rollouts may have 192 tokens"):
        grpo.train(config, str(trained))
