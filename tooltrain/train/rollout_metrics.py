"""What a step's rollouts were like, in numbers and as readable episodes."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.environment import Environment
from tooltrain.eval.episodes import episode_to_json
from tooltrain.eval.evaluate import ScoredEpisode
from tooltrain.eval.metrics import episode_metrics
from tooltrain.eval.taxonomy import first_failure
from tooltrain.types import EndReason, ObservationKind, Rollout, Trace


def rollout_metrics(
    traces: Sequence[Trace],
    played: Sequence[Rollout],
    rewards: np.ndarray,
    terms: dict[str, np.ndarray],
    no_variance: np.ndarray,
) -> dict[str, float]:
    """What a step's rollouts were like: means over episodes, unless the name says otherwise.

    end/<reason>: share of episodes; call/<kind>: share of calls; nonzero_variance_share: of
    groups, those that teach something.
    """
    scored = [
        episode_metrics(trace, rollout.records, rollout.end)
        for trace, rollout in zip(traces, played, strict=True)
    ]
    kinds = collections.Counter(r.kind for rollout in played for r in rollout.records)
    ends = collections.Counter(rollout.end for rollout in played)
    calls = max(kinds.total(), 1)
    return {
        "reward": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards)),
        **{
            f"reward/{name}": float(np.mean(values))
            for name, values in terms.items()
            if values.ndim == 1 and values.dtype.kind == "f"
        },
        "strict_turn_accuracy": float(np.mean([m.strict_turn_accuracy for m in scored])),
        "success": float(np.mean([m.success for m in scored])),
        "nonzero_variance_share": float(1 - np.mean(no_variance)),
        "episode_tokens": float(np.mean([len(r.tokens) for r in played])),
        "sampled_tokens": float(np.mean([r.completion_mask.sum() for r in played])),
        "turns": float(np.mean([r.num_turns for r in played])),
        "calls_per_episode": kinds.total() / len(played),
        "no_call_share": float(np.mean([not r.records for r in played])),
        **{f"call/{kind.value}": kinds[kind] / calls for kind in ObservationKind},
        **{f"end/{end.value}": ends[end] / len(played) for end in EndReason},
    }


def episode_line(
    trace: Trace,
    rollout: Rollout,
    episode_reward: float,
    terms: dict[str, np.ndarray],
    environment: Environment,
    template: ChatTemplate,
) -> dict[str, Any]:
    """One rollout turn by turn, as `eval.episodes` writes it. terms: of its reward."""
    scored = ScoredEpisode(
        trace,
        rollout,
        episode_metrics(trace, rollout.records, rollout.end),
        first_failure(trace, rollout.records, rollout.end),
        float(episode_reward),
        {name: float(value) for name, value in terms.items() if np.ndim(value) == 0},
    )
    return episode_to_json(scored, environment, template)
