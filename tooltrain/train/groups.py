"""The groups of a step: what was played on each prompt, what it earned, and which are kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tooltrain.train.credit import Credit
from tooltrain.types import Rollout, Trace


@dataclasses.dataclass(frozen=True)
class Groups:
    """P groups, each of G rollouts of one trace; the rollouts of group 0 come first.

    rewards: [P * G]; to_go: [P * G, N], of `reward.rewards_to_go`; terms: numbers of the reward,
    [P * G] each.
    """

    traces: list[Trace]
    played: list[Rollout]
    rewards: np.ndarray
    to_go: np.ndarray
    terms: dict[str, np.ndarray]

    @property
    def shape(self) -> tuple[int, int]:
        """P, G."""
        return len(self.traces), len(self.played) // len(self.traces)

    def trace_of(self, rollout: int) -> Trace:
        """The trace of the rollout of this index."""
        return self.traces[rollout // self.shape[1]]

    def rollouts_of(self, groups: np.ndarray) -> np.ndarray:
        """Indices of the rollouts of these groups."""
        return np.arange(len(self.played)).reshape(self.shape)[groups].ravel()

    def take(self, groups: np.ndarray) -> Groups:
        """These groups, in this order."""
        rows = self.rollouts_of(groups)
        return Groups(
            [self.traces[g] for g in groups],
            [self.played[i] for i in rows],
            self.rewards[rows],
            self.to_go[rows],
            {name: values[rows] for name, values in self.terms.items()},
        )


class Judged(NamedTuple):
    """advantages: [P * G, N or 1]; no_variance: bool [P], all rollouts of the group earned the
    same; teaches: bool [P], they did not, and some advantage is not 0."""

    advantages: np.ndarray
    no_variance: np.ndarray
    teaches: np.ndarray


def judge(groups: Groups, credit: Credit) -> Judged:
    """What the rollouts of groups are worth beside each other."""
    num_turns = np.array([rollout.num_turns for rollout in groups.played])
    advantages, no_variance = credit(
        groups.rewards.reshape(groups.shape),
        groups.to_go.reshape(*groups.shape, -1),
        num_turns.reshape(groups.shape),
        {name: values.reshape(groups.shape) for name, values in groups.terms.items()},
    )
    some = np.any(advantages, axis=(1, 2))
    advantages = advantages.reshape(len(groups.played), -1)
    return Judged(advantages, no_variance, some & ~no_variance)


def draw_until_enough_teach(
    draw: Callable[[int], Groups], credit: Credit, rounds: int
) -> tuple[Groups, Judged, dict[str, float]]:
    """As many groups as `draw(0)` gives; while not all of them teach, more are drawn, `rounds`
    times at most (`draw(1)`, ...), and the first that teach are kept. If they are too few, the
    first of the others stand in.

    The dynamic sampling of DAPO (arXiv 2503.14476, section 3.2). Returns the groups, what they
    are worth, and, if rounds are allowed, metrics: groups_drawn, and the mean reward of them all.
    """
    groups = draw(0)
    judged = judge(groups, credit)
    if not rounds:
        return groups, judged, {}
    wanted, teaches = len(groups.traces), judged.teaches
    for number in range(1, rounds + 1):
        if np.count_nonzero(teaches) >= wanted:
            break
        more = draw(number)
        teaches = np.concatenate([teaches, judge(more, credit).teaches])
        groups = _joined([groups, more])
    metrics = {"groups_drawn": len(groups.traces), "drawn_reward": float(groups.rewards.mean())}
    groups = groups.take(np.argsort(~teaches, kind="stable")[:wanted])
    # Again: what a group is worth may depend on the others.
    return groups, judge(groups, credit), metrics


def _joined(parts: Sequence[Groups]) -> Groups:
    return Groups(
        [trace for part in parts for trace in part.traces],
        [rollout for part in parts for rollout in part.played],
        np.concatenate([part.rewards for part in parts]),
        np.concatenate([part.to_go for part in parts]),
        {name: np.concatenate([part.terms[name] for part in parts]) for name in parts[0].terms},
    )
