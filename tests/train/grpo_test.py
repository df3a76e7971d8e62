import collections
import json
import shutil

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from tooltrain.errors import UserError
from tooltrain.train import grpo, hosts, sft
from tooltrain.train.checkpoint import Checkpoints
from tooltrain.train.metrics import MetricsWriter
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
    if len(learned) > 1:
        assert learned[-1]["kl"] > learned[0]["kl"]


def test_held_out_accuracy_is_measured_before_during_and_after(trained):
    steps = [x["step"] for x in lines(trained / "grpo") if "eval/strict_turn_accuracy" in x]
    assert steps == [0, 2, 4]
    with Checkpoints(trained / "grpo") as checkpoints:
        assert checkpoints.best_step in (2, 4)


def test_sampled_episodes_are_written_turn_by_turn(trained):
    episodes = lines(trained / "grpo", "episodes.jsonl")
    assert collections.Counter(e["step"] for e in episodes) == {1: 2, 2: 2, 3: 2, 4: 2}
    assert all({"advantages", "query", "gold", "turns", "end"} <= e.keys() for e in episodes)


def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    trained, warm_config, monkeypatch, tmp_path
):
    workdir = warm_copy(trained, tmp_path / "run")
    write = MetricsWriter.step

    def interrupted(self, step, *args):
        if step == 4:
            raise KeyboardInterrupt
        write(self, step, *args)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsWriter, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            grpo.train(warm_config, str(workdir))
    grpo.train(warm_config, str(workdir))
    jax.tree.map(
        np.testing.assert_array_equal,
        saved_arrays(workdir / "grpo", 4),
        saved_arrays(trained / "grpo", 4),
    )
    for file in ("metrics.jsonl", "episodes.jsonl"):
        assert (workdir / "grpo" / file).read_bytes() == (trained / "grpo" / file).read_bytes()


def test_components_and_importance_weights_teach(trained, warm_config, tmp_path):
    config = warm_config.copy_and_resolve_references()
    config.grpo.update(advantages="components", credit="rollout", normalize_std=True)
    config.grpo.update(importance_cap=2.0, kl_coefficient=0.0, steps=2)
    workdir = warm_copy(trained, tmp_path / "run")
    grpo.train(config, str(workdir))
    learned = [line for line in lines(workdir / "grpo") if line.get("grad_norm")]
    assert learned
    for line in learned:
        # One policy sampled and is updated: two programs say the same of it, up to rounding.
        assert 0 <= line["mismatch_kl"] < 1e-6
        assert 0 < line["mismatch_abs"] < 1e-4
        assert line["truncated_share"] == 0
        assert abs(line["approx_kl"]) < 1e-10


def test_grpo_without_a_warm_start_says_what_to_run(workdir, config):
    with pytest.raises(UserError, match="run train_sft with this --workdir first"):
        grpo.train(config, str(workdir))
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"importance_cap": -1.0}, r"importance_cap is -1\.0; allowed: 0"),
        (
            {"dynamic_sampling_rounds": 1, "filter_zero_variance": False},
            r"so filter_zero_variance must be True",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(config, options, says):
    config.grpo.update(options)
    with pytest.raises(UserError, match=says):
        grpo.check_options(config.grpo)


def test_options_of_one_process_are_refused_in_several(config, monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    config.grpo.dynamic_sampling_rounds = 1
    with pytest.raises(UserError, match=r"dynamic_sampling_rounds is 1 in a run of 2 processes"):
        grpo.check_options(config.grpo)


def test_rows_too_short_for_a_rollout_are_refused(trained, warm_config):
    config = warm_config.copy_and_resolve_references()
    config.grpo.row_len = 100
    with pytest.raises(UserError, match=r"row_len is 100, but rollouts may have 192 tokens"):
        grpo.train(config, str(trained))
