"""What a stage of training refuses in its section of the config, before it reads anything."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from tooltrain.errors import UserError
from tooltrain.rollout.sampling import Sampling
from tooltrain.train import hosts
from tooltrain.train.objectives import AGGREGATIONS

# The least that each may be.
EPISODE = {"max_turns": 1, "max_turn_tokens": 1, "max_len": 2}
_EVERY = {"log_every_steps": 1, "checkpoint_every_steps": 1, "eval_every_steps": 1}
_SFT = {"batch_size": 1, "seq_len": 1, "microbatches": 1, "eval_batches": 1, **_EVERY}
_GRPO = {
    "prompts_per_step": 1,
    "generations": 2,  # they are compared with each other
    "updates_per_batch": 1,
    "minibatches": 1,
    "microbatch_rows": 1,
    "max_failed_turns": 0,
    "slots": 1,
    "eval_episodes": 1,
    **EPISODE,
    **_EVERY,
}


def check_least(section: str, fields: ConfigDict, least: Mapping[str, int]) -> None:
    """Raises UserError, naming the field, for one of config.`section` that is below its least."""
    for name, lowest in least.items():
        if fields[name] < lowest:
            raise UserError(f"config.{section}.{name} is {fields[name]}; allowed: {lowest} or more")


def make_sampling(section: str, **fields: float) -> Sampling:
    """The sampling that these fields of config.`section` describe.

    Raises UserError, naming the field, for a value that it cannot have.
    """
    try:
        return Sampling(**fields)
    except ValueError as error:
        raise UserError(f"config.{section}.{error}") from error


def check_sft(sft: ConfigDict) -> None:
    """Raises UserError, naming the field, for a config.sft that cannot be trained by."""
    check_least("sft", sft, _SFT)
    _check_warmup("sft", sft)
    if sft.batch_size % sft.microbatches:
        raise UserError(
            f"config.sft.microbatches is {sft.microbatches}, which does not divide "
            f"config.sft.batch_size, {sft.batch_size}; its parts have as many rows each"
        )


def check_grpo(grpo: ConfigDict) -> None:
    """Raises UserError, naming the field, for a config.grpo that cannot be trained by: unless
    every rollout fits in a row of an update, for options that need others, and for those that
    several processes do not have."""
    check_least("grpo", grpo, _GRPO)
    _check_warmup("grpo", grpo)
    if grpo.loss_aggregation not in AGGREGATIONS:
        raise UserError(
            f"config.grpo.loss_aggregation is {grpo.loss_aggregation!r}; allowed: "
            f"{', '.join(AGGREGATIONS)}"
        )
    if grpo.row_len < grpo.max_len:
        raise UserError(
            f"config.grpo.row_len is {grpo.row_len}, but rollouts may have {grpo.max_len} tokens "
            "(config.grpo.max_len); give rows at least as many"
        )
    if grpo.importance_cap < 0:
        raise UserError(
            f"config.grpo.importance_cap is {grpo.importance_cap}; allowed: 0 (off), or the most "
            "that an advantage is weighed by, such as 2.0"
        )
    if grpo.dynamic_sampling_rounds and not grpo.filter_zero_variance:
        raise UserError(
            f"config.grpo.dynamic_sampling_rounds is {grpo.dynamic_sampling_rounds}: groups "
            "without variance are drawn anew, so filter_zero_variance must be True"
        )
    if grpo.staleness not in (0, 1):
        raise UserError(f"config.grpo.staleness is {grpo.staleness}; allowed: 0, 1")
    if grpo.staleness and not grpo.importance_cap:
        raise UserError(
            "config.grpo.staleness is 1: rollouts are those of another policy than the one that is "
            "updated, which importance_cap > 0 corrects; set it, to 2.0 for example"
        )
    for field in ("dynamic_sampling_rounds", "staleness"):
        if grpo[field] and hosts.count() > 1:
            raise UserError(
                f"config.grpo.{field} is {grpo[field]} in a run of {hosts.count()} processes, "
                "which draw and play in step; set it to 0, or train with one process"
            )


def _check_warmup(section: str, fields: ConfigDict) -> None:
    if not 0 <= fields.warmup_steps <= fields.steps:
        raise UserError(
            f"config.{section}.warmup_steps is {fields.warmup_steps} in a run of {fields.steps} "
            f"steps (config.{section}.steps); allowed: 0 to as many as the run has"
        )
