"""Signs that a run is going wrong while its reward looks fine.

Alarms warn and never stop a run: each is a rule over the metrics that were logged, so the
same run raises the same alarms, resumed or not. A metric that is not finite does stop it
(`metrics.MetricsWriter`).
"""

from __future__ import annotations

import collections
from collections.abc import Mapping

WINDOW = 10  # logged steps that a mean is taken over
COLLAPSED_ENTROPY = 0.1  # share of what it was over the first WINDOW steps
EMPTY_SHARE = 0.5  # of episodes without a call
FALL = 0.03  # of held-out accuracy below its best, as a share of 1


class Alarms:
    """Sees every line of metrics.jsonl in order and says what is alarming, once until it passes.

    entropy_collapse      entropy over the last WINDOW steps under COLLAPSED_ENTROPY of what it
                          was over the first: all rollouts of a group will soon be one
    empty_completions     more than EMPTY_SHARE of the episodes make no call
    reward_not_accuracy   held-out strict turn accuracy FALL under its best, while the reward is
                          over what it was then: the reward is being gamed, or prompts learned
                          by heart
    """

    def __init__(self):
        self._first: list[float] = []  # entropy
        self._last: dict[str, collections.deque[float]] = collections.defaultdict(
            lambda: collections.deque(maxlen=WINDOW)
        )
        self._best: tuple[float, float] | None = None  # accuracy, and the reward at that time
        self._raised: set[str] = set()

    def see(self, metrics: Mapping[str, float]) -> dict[str, str]:
        """{alarm: what was seen and what to look at} that this line raises."""
        for name in ("entropy", "no_call_share", "reward"):
            if name in metrics:
                self._last[name].append(metrics[name])
        found: dict[str, str | None] = {}
        if "entropy" in metrics:
            found["entropy_collapse"] = self._entropy_collapse(metrics["entropy"])
        if "no_call_share" in metrics:
            found["empty_completions"] = self._empty_completions()
        if "eval/strict_turn_accuracy" in metrics:
            accuracy = metrics["eval/strict_turn_accuracy"]
            found["reward_not_accuracy"] = self._reward_not_accuracy(accuracy)
        new = {
            name: message
            for name, message in found.items()
            if message is not None and name not in self._raised
        }
        self._raised |= new.keys()
        self._raised -= {name for name, message in found.items() if message is None}
        return new

    def _mean(self, name: str) -> float | None:
        """Over the last WINDOW steps; None as long as there were fewer."""
        values = self._last[name]
        return sum(values) / WINDOW if len(values) == WINDOW else None

    def _entropy_collapse(self, entropy: float) -> str | None:
        if len(self._first) < WINDOW:
            self._first.append(entropy)
            return None
        was, now = sum(self._first) / WINDOW, self._mean("entropy")
        if now is None or now >= COLLAPSED_ENTROPY * was:
            return None
        return (
            f"entropy is {now:.3g} nats a token over the last {WINDOW} logged steps, {was:.3g} "
            "over the first: rollouts of a group become alike. Lower the learning rate, or set "
            "entropy_coefficient or epsilon_high above epsilon_low"
        )

    def _empty_completions(self) -> str | None:
        share = self._mean("no_call_share")
        if share is None or share <= EMPTY_SHARE:
            return None
        return (
            f"{share:.0%} of the episodes of the last {WINDOW} logged steps make no call. Look at "
            "episodes.jsonl: the warm start may be too short, or its template another one"
        )

    def _reward_not_accuracy(self, accuracy: float) -> str | None:
        reward = self._mean("reward")
        if self._best is None or accuracy >= self._best[0]:
            self._best = accuracy, reward if reward is not None else float("-inf")
            return None
        best, reward_then = self._best
        if reward is None or accuracy > best - FALL or reward <= reward_then:
            return None
        was = "" if reward_then == float("-inf") else f", from {reward_then:.3f}"
        return (
            f"held-out strict turn accuracy fell to {accuracy:.3f} from {best:.3f} while the "
            f"reward rose to {reward:.3f}{was}. Look at episodes.jsonl for what earns reward, and "
            "at how often a prompt comes back"
        )
