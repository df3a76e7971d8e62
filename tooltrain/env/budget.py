"""How many calls a policy may make: in one turn, and in one episode.

session = Session(environment, Budget(calls_per_turn=4, calls_per_episode=10))
observations = session.execute(calls)       # of one turn
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence

from tooltrain.env.environment import Environment, error
from tooltrain.types import Call, MalformedCall, Observation, ObservationKind


@dataclasses.dataclass(frozen=True)
class Budget:
    """Calls allowed; malformed ones count, as they do in the reward."""

    calls_per_turn: int
    calls_per_episode: int

    def __post_init__(self) -> None:
        if min(self.calls_per_turn, self.calls_per_episode) < 1:
            raise ValueError(
                "calls_per_turn and calls_per_episode must be at least 1, got "
                f"{self.calls_per_turn} and {self.calls_per_episode}"
            )


class Session:
    """One episode in an environment, its calls counted. offered: as in `execute`."""

    def __init__(
        self, environment: Environment, budget: Budget, offered: Collection[str] | None = None
    ):
        self.environment = environment
        self.budget = budget
        self.offered = offered
        self.num_calls = 0  # so far, those over the budget among them

    @property
    def spent(self) -> bool:
        """Whether no further call would be executed."""
        return self.num_calls >= self.budget.calls_per_episode

    def execute(self, calls: Sequence[Call | MalformedCall]) -> list[Observation]:
        """An observation for each call of one turn; those over the budget are not executed."""
        left = max(0, self.budget.calls_per_episode - self.num_calls)
        allowed = min(left, self.budget.calls_per_turn)
        if left < self.budget.calls_per_turn:
            why = (
                f"the episode's {self.budget.calls_per_episode} calls are spent; "
                "answer with what was found"
            )
        else:
            why = (
                f"a turn may make {self.budget.calls_per_turn} calls, this one was number "
                "{}; make it in the next turn"
            )
        self.num_calls += len(calls)
        observations = self.environment.execute_all(calls[:allowed], self.offered)
        over = range(allowed + 1, len(calls) + 1)
        return observations + [error(ObservationKind.OVER_BUDGET, why.format(n)) for n in over]
