"""What a config may not say, named before anything is read or written."""

import pytest

from tooltrain.errors import UserError
from tooltrain.train import grpo, hosts, options, sft


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"importance_cap": -1.0}, r"importance_cap is -1\.0; allowed: 0"),
        ({"staleness": 2, "importance_cap": 2.0}, r"staleness is 2; allowed: 0, 1"),
        ({"staleness": 1}, r"which importance_cap > 0 corrects"),
        (
            {"dynamic_sampling_rounds": 1, "filter_zero_variance": False},
            r"so filter_zero_variance must be True",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(config, given, says):
    config.grpo.update(given)
    with pytest.raises(UserError, match=says):
        options.check_grpo(config.grpo)


def test_options_of_one_process_are_refused_in_several(config, monkeypatch):
    monkeypatch.setattr(hosts, "count", lambda: 2)
    config.grpo.importance_cap = 2.0
    for field in ("staleness", "dynamic_sampling_rounds"):
        config.grpo[field] = 1
        with pytest.raises(UserError, match=rf"\.{field} is 1 in a run of 2 processes"):
            options.check_grpo(config.grpo)


COUNTS = ("log_every_steps", "checkpoint_every_steps", "eval_every_steps")


@pytest.mark.parametrize(
    "field", [*COUNTS, "batch_size", "seq_len", "microbatches", "eval_batches"]
)
def test_sft_with_a_count_of_0_is_refused_at_the_start(config, tmp_path, field):
    config.sft[field] = 0
    with pytest.raises(UserError, match=rf"config\.sft\.{field} is 0; allowed: 1 or more"):
        sft.train(config, str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("field", "value", "least"),
    [
        *((field, 0, 1) for field in COUNTS),
        ("eval_episodes", 0, 1),
        ("prompts_per_step", 0, 1),
        ("generations", 1, 2),
        ("minibatches", 0, 1),
        ("updates_per_batch", 0, 1),
        ("microbatch_rows", 0, 1),
        ("max_turns", 0, 1),
        ("max_turn_tokens", 0, 1),
        ("max_len", 1, 2),
        ("max_failed_turns", -1, 0),
        ("slots", 0, 1),
    ],
)
def test_grpo_with_too_small_a_count_is_refused_at_the_start(config, tmp_path, field, value, least):
    config.grpo[field] = value
    says = rf"config\.grpo\.{field} is {value}; allowed: {least} or more"
    with pytest.raises(UserError, match=says):
        grpo.train(config, str(tmp_path / "absent"))


def test_parts_of_a_batch_have_as_many_rows_each(config):
    config.sft.microbatches = 3
    with pytest.raises(UserError, match=r"microbatches is 3, which does not divide .*, 8;"):
        options.check_sft(config.sft)


def test_a_warmup_longer_than_the_run_is_told_in_the_configs_own_numbers(config):
    # Of GRPO's four steps each makes six updates, of which nobody wrote anything.
    config.grpo.update(warmup_steps=5, updates_per_batch=2, minibatches=3)
    with pytest.raises(UserError, match=r"config\.grpo\.warmup_steps is 5 in a run of 4 steps"):
        options.check_grpo(config.grpo)
    config.sft.warmup_steps = -1
    with pytest.raises(UserError, match=r"config\.sft\.warmup_steps is -1 in a run of 4 steps"):
        options.check_sft(config.sft)


def test_an_unknown_aggregation_is_refused(config):
    config.grpo.loss_aggregation = "mean"
    with pytest.raises(UserError, match=r"aggregation is 'mean'; allowed: token_mean, sequence_"):
        options.check_grpo(config.grpo)


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1.0), ("top_k", -1), ("top_p", 0.0), ("top_p", 1.5)]
)
def test_a_sampling_that_means_nothing_names_the_field(field, value):
    with pytest.raises(UserError, match=rf"^config\.grpo\.{field} is {value}; it must be"):
        options.make_sampling("grpo", **{field: value})
