"""From rollouts to a summary: every metric with its interval, by workflow, depth and size.

Intervals are 95% percentile bootstrap intervals over episodes (Efron 1979): they say how
far the number would move with another draw of held-out episodes, and nothing about
another training seed.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from tooltrain.calls.encoder import encode_calls, encode_gold
from tooltrain.eval.metrics import METRICS, EpisodeMetrics, episode_metrics
from tooltrain.eval.taxonomy import Failure, Outcome, first_failure
from tooltrain.rewards.reward import matched, score_batch
from tooltrain.types import Rollout, Trace, turns

NUM_RESAMPLES = 1000
REWARD = "matched_reward"
_BLOCK = 64  # episodes a call of the reward: one compiled shape, however many there are
NAMES = (*METRICS, REWARD)  # columns of every table of scores


@dataclasses.dataclass(frozen=True)
class ScoredEpisode:
    """An episode with all that is said about it. reward and terms: the `matched` reward."""

    trace: Trace
    rollout: Rollout
    metrics: EpisodeMetrics
    failure: Failure
    reward: float
    terms: dict[str, float]

    def row(self) -> dict[str, float]:
        return {**dataclasses.asdict(self.metrics), REWARD: self.reward}


def score(traces: Sequence[Trace], rollouts: Sequence[Rollout]) -> list[ScoredEpisode]:
    """Scores every rollout against `traces[rollout.prompt]`, in the order of `rollouts`."""
    played = [traces[rollout.prompt] for rollout in rollouts]
    rewards, terms = _rewards(played, rollouts)
    return [
        ScoredEpisode(
            trace,
            rollout,
            episode_metrics(trace, rollout.records, rollout.end),
            first_failure(trace, rollout.records, rollout.end),
            rewards[i],
            {name: values[i] for name, values in terms.items()},
        )
        for i, (trace, rollout) in enumerate(zip(played, rollouts, strict=True))
    ]


def _rewards(
    traces: Sequence[Trace], rollouts: Sequence[Rollout]
) -> tuple[list[float], dict[str, list[float]]]:
    """The `matched` reward and its terms (those that are one number an episode)."""
    rewards: list[float] = []
    terms: dict[str, list[float]] = {}
    for start in range(0, len(rollouts), _BLOCK):
        rows = range(start, min(start + _BLOCK, len(rollouts)))
        records = [rollouts[i].records for i in rows] + [()] * (_BLOCK - len(rows))
        calls = [traces[i].calls for i in rows] + [()] * (_BLOCK - len(rows))
        block_rewards, block_terms = score_batch(
            matched,
            encode_calls(records, num_calls=8, num_arguments=12),
            encode_gold(calls, num_steps=6, num_arguments=12),
        )
        rewards += np.asarray(block_rewards)[: len(rows)].tolist()
        for name, values in block_terms.items():
            if values.ndim == 1:
                terms.setdefault(name, []).extend(np.asarray(values)[: len(rows)].tolist())
    return rewards, terms


def summarize(episodes: Sequence[ScoredEpisode], *, seed: int = 0) -> dict[str, Any]:
    """Summary of a set of episodes, ready for JSON.

    Keys: episodes, turns, calls (counts: gold), emitted_calls; metrics {name: {mean, low,
    high}}; outcomes and ends {label: episodes}; by_workflow, by_depth (gold turns),
    by_num_calls {group: {episodes, mean of each metric}}. Raises ValueError for no episodes.
    """
    if not episodes:
        raise ValueError("no episodes to summarize; pass at least one scored rollout")
    rows = _rows(episodes)
    low, high = bootstrap_interval(rows, seed=seed)
    outcomes = collections.Counter(episode.failure.outcome for episode in episodes)
    ends = collections.Counter(episode.rollout.end for episode in episodes)

    def table(group: Callable[[Trace], Hashable]) -> dict[str, dict[str, float]]:
        indices: dict[Hashable, list[int]] = {}
        for i, episode in enumerate(episodes):
            indices.setdefault(group(episode.trace), []).append(i)
        return {
            str(key): {
                "episodes": len(rows_of),
                **dict(zip(NAMES, rows[rows_of].mean(0).tolist(), strict=True)),
            }
            for key, rows_of in sorted(indices.items())
        }

    return {
        "episodes": len(episodes),
        "turns": sum(max(turns(episode.trace.calls)) + 1 for episode in episodes),
        "calls": sum(len(episode.trace.calls) for episode in episodes),
        "emitted_calls": sum(len(episode.rollout.records) for episode in episodes),
        "metrics": {
            name: {"mean": float(rows[:, i].mean()), "low": float(low[i]), "high": float(high[i])}
            for i, name in enumerate(NAMES)
        },
        "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome},
        "ends": {end.value: count for end, count in sorted(ends.items())},
        "by_workflow": table(lambda trace: trace.workflow),
        "by_depth": table(lambda trace: max(turns(trace.calls)) + 1),
        "by_num_calls": table(lambda trace: len(trace.calls)),
    }


def _rows(episodes: Sequence[ScoredEpisode]) -> np.ndarray:
    return np.array([[episode.row()[name] for name in NAMES] for episode in episodes])


def difference(
    before: Sequence[ScoredEpisode], after: Sequence[ScoredEpisode], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Mean of (after - before) of each metric with its paired bootstrap interval.

    Both must hold the same traces in the same order: pairing takes the difficulty of the
    episodes out of the interval. Raises ValueError otherwise.
    """
    if [e.trace.id for e in before] != [e.trace.id for e in after] or not before:
        raise ValueError("before and after must hold the same traces in the same order, not none")
    rows = np.array(
        [
            [a.row()[name] - b.row()[name] for name in NAMES]
            for b, a in zip(before, after, strict=True)
        ]
    )
    low, high = bootstrap_interval(rows, seed=seed)
    return {
        name: {"mean": float(rows[:, i].mean()), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(NAMES)
    }


def bootstrap_interval(rows: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """95% percentile bootstrap interval of the mean over axis 0 of `rows` [n, m].

    The same seed gives the same interval. One resample at a time: memory stays at [n, m].
    """
    rng = np.random.default_rng(seed)
    means = np.stack(
        [rows[rng.integers(len(rows), size=len(rows))].mean(0) for _ in range(NUM_RESAMPLES)]
    )
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high
