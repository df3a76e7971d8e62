"""What a step's rollouts were like, in numbers and as readable episodes."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.env.environment import Environment
from tooltrain.eval.episodes import episode_to_json
from tooltrain.eval.evaluate import ScoredEpisode
from tooltrain.eval.metrics import episode_metrics
from tooltrain.eval.taxonomy import first_failure
from tooltrain.train.groups import Groups
from tooltrain.types import EndReason, ObservationKind


def rollout_metrics(groups: Groups, no_variance: np.ndarray) -> dict[str, float]:
    """What a step's rollouts were like: means over episodes, unless the name says otherwise.

    end/<reason>: share of episodes; call/<kind>: share of calls; nonzero_variance_share: of
    groups, those that teach something.
    """
    played, rewards = groups.played, groups.rewards
    scored = [
        episode_metrics(groups.trace_of(i), rollout.records, rollout.end)
        for i, rollout in enumerate(played)
    ]
    kinds = collections.Counter(r.kind for rollout in played for r in rollout.records)
    ends = collections.Counter(rollout.end for rollout in played)
    calls = max(kinds.total(), 1)
    return {
        "reward": float(np.mean(rewards)),
        "reward_std": float(np.std(rewards)),
        **{
            f"reward/{name}": float(np.mean(values))
            for name, values in groups.terms.items()
            if values.dtype.kind == "f"
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
    groups: Groups,
    advantages: np.ndarray,
    index: int,
    environment: Environment,
    template: ChatTemplate,
) -> dict[str, Any]:
    """The rollout of that index turn by turn, as `eval.episodes` writes it, with the advantages
    of its turns."""
    trace, rollout = groups.trace_of(index), groups.played[index]
    scored = ScoredEpisode(
        trace,
        rollout,
        episode_metrics(trace, rollout.records, rollout.end),
        first_failure(trace, rollout.records, rollout.end),
        float(groups.rewards[index]),
        {name: float(values[index]) for name, values in groups.terms.items()},
    )
    turns = advantages[index, : rollout.num_turns].tolist()
    return {"advantages": turns, **episode_to_json(scored, environment, template)}
