"""What a recording asks: for each tool, where the values of its arguments come from.

    Plan(seed=0, tools=(
        ToolPlan("search_city", {"name": Values(("Paris", "Oslo"))}),
        ToolPlan("weather", {"city_id": Field("search_city", ("results", "[]", "id")),
                             "day": Range("2025-01-01", "2025-12-31")}, max_requests=500),
    ))

Paths are as in the cache's edges: field names from the root of a response, "[]" for an
element of a list.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
from collections.abc import Iterator, Mapping, Sequence

from tooltrain.errors import UserError
from tooltrain.types import Json

Path = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Values:
    """A user's list."""

    values: tuple[Json, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not self.values:
            raise UserError(f"Values takes a tuple of at least one value, got {self.values!r}")


@dataclasses.dataclass(frozen=True)
class Range(Sequence):
    """`low`, `low + step`, … up to `high`, which is in it if a step meets it.

    Numbers, or dates as ISO text ("2025-01-31") with the step in whole days. Integer ends
    and step give integers. Raises UserError on an empty range or mixed ends.
    """

    low: int | float | str
    high: int | float | str
    step: int | float = 1

    def __post_init__(self) -> None:
        try:
            size = len(self)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise UserError(
                f"Range({self.low!r}, {self.high!r}, {self.step!r}): ends are two numbers or two "
                f"ISO dates, the step is a positive number, whole for dates ({error})"
            ) from error
        if not size:
            raise UserError(f"Range({self.low!r}, {self.high!r}) is empty: low is above high")

    def __len__(self) -> int:
        if isinstance(self.low, str) or isinstance(self.high, str):
            span = datetime.date.fromisoformat(self.high) - datetime.date.fromisoformat(self.low)
            steps = decimal.Decimal(span.days) / self._days
        else:
            steps = (_exact(self.high) - _exact(self.low)) / _exact(self.step)
            if self.step <= 0:
                raise ValueError("the step is not positive")
        return max(0, int(steps // 1) + 1) if steps >= 0 else 0

    @property
    def _days(self) -> int:
        if not isinstance(self.step, int) or self.step < 1:
            raise ValueError("a step of whole days is needed")
        return self.step

    def __getitem__(self, index: int) -> int | float | str:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        if isinstance(self.low, str):
            days = datetime.timedelta(days=index * self._days)
            return (datetime.date.fromisoformat(self.low) + days).isoformat()
        if all(isinstance(v, int) for v in (self.low, self.high, self.step)):
            return self.low + index * self.step
        # Decimal: 0.1 + 2 * 0.1 is 0.3, as the user means it.
        return float(_exact(self.low) + index * _exact(self.step))


def _exact(number: int | float) -> decimal.Decimal:
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise TypeError(f"{number!r} is not a number")
    return decimal.Decimal(repr(number))


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """The values that the schema itself lists (`enum`), or both of a boolean."""


@dataclasses.dataclass(frozen=True)
class Field:
    """Values at `path` of earlier responses of `tool`.

    per_response: at most so many of each response, in its order; None: all.
    """

    tool: str
    path: Path
    per_response: int | None = None


@dataclasses.dataclass(frozen=True)
class Together:
    """Several arguments from one element of an earlier response, as latitude and longitude.

    element: path of the element, () for the whole response. fields: for each argument its
    path inside the element; where one crosses a list, each of the list's values is taken in
    turn. An element that lacks one of the fields is passed over.
    """

    arguments: tuple[str, ...]
    tool: str
    element: Path
    fields: tuple[Path, ...]
    per_response: int | None = None

    def __post_init__(self) -> None:
        if len(self.arguments) != len(self.fields) or not self.arguments:
            raise UserError(
                f"Together of {self.tool}: {len(self.arguments)} arguments "
                f"({', '.join(self.arguments)}) and {len(self.fields)} fields; give one each"
            )


@dataclasses.dataclass(frozen=True)
class Rows:
    """Several arguments from one row of a user's list, as the two dates of a stay."""

    arguments: tuple[str, ...]
    rows: tuple[tuple[Json, ...], ...]

    def __post_init__(self) -> None:
        if not self.rows or any(len(row) != len(self.arguments) for row in self.rows):
            raise UserError(
                f"Rows of {', '.join(self.arguments)}: give at least one row, each of "
                f"{len(self.arguments)} values"
            )


Source = Values | Range | Enumeration | Field


@dataclasses.dataclass(frozen=True)
class ToolPlan:
    """What to ask one tool.

    arguments: the source of each argument, or a tuple of them (one is drawn first, then a
    value of it). An argument with neither is not sent; a required one then takes the
    schema's enumeration. together: groups of arguments; groups of the same arguments are
    alternatives. max_requests: how many different requests, answered or not.
    optional_probability: in [0, 1], how often an optional argument is sent.
    """

    tool: str
    arguments: Mapping[str, Source | tuple[Source, ...]] = dataclasses.field(default_factory=dict)
    together: tuple[Together | Rows, ...] = ()
    max_requests: int = 1000
    optional_probability: float = 0.5

    def __post_init__(self) -> None:
        if self.max_requests < 1 or not 0 <= self.optional_probability <= 1:
            raise UserError(
                f"plan of {self.tool}: max_requests is at least 1 and optional_probability in "
                f"[0, 1], got {self.max_requests} and {self.optional_probability}"
            )

    def sources(self, argument: str) -> tuple[Source, ...]:
        """The sources of an argument, empty if the plan names none."""
        given = self.arguments.get(argument, ())
        return given if isinstance(given, tuple) else (given,)

    def reads(self) -> Iterator[Field | Together]:
        """Every source that reads earlier responses."""
        for argument in self.arguments:
            yield from (s for s in self.sources(argument) if isinstance(s, Field))
        yield from (group for group in self.together if isinstance(group, Together))


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a recording asks. The same plan, seed and answers give the same cache digest."""

    tools: tuple[ToolPlan, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        names = [tool.tool for tool in self.tools]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"the plan names {', '.join(twice)} twice; one ToolPlan a tool")
