"""How many calls a policy may make: in one turn, and in one episode."""

from __future__ import annotations

import dataclasses

from tooltrain.env.environment import error
from tooltrain.types import Observation, ObservationKind


@dataclasses.dataclass(frozen=True)
class Budget:
    """Calls allowed, None: any number; malformed ones count, as they do in the reward.

    Raises ValueError for a number below 1.
    """

    calls_per_turn: int | None = None
    calls_per_episode: int | None = None

    def __post_init__(self) -> None:
        if any(n is not None and n < 1 for n in (self.calls_per_turn, self.calls_per_episode)):
            raise ValueError(
                "calls_per_turn and calls_per_episode must be at least 1 or None, got "
                f"{self.calls_per_turn} and {self.calls_per_episode}"
            )

    def over(self, earlier: int, number: int) -> Observation | None:
        """The answer to a turn's call `number` (from 1), if it is over the budget.

        earlier: calls of the turns before, those over the budget among them. Such a call is not
        executed; a turn's calls up to the first such one are answered as without a budget.
        """
        if self.calls_per_episode is not None and earlier + number > self.calls_per_episode:
            why = (
                f"the episode's {self.calls_per_episode} calls are spent; "
                "answer with what was found"
            )
        elif self.calls_per_turn is not None and number > self.calls_per_turn:
            why = (
                f"a turn may make {self.calls_per_turn} calls, this one was number {number}; "
                "make it in the next turn"
            )
        else:
            return None
        return error(ObservationKind.OVER_BUDGET, why)
