"""Which requests a recording makes: a pure function of plan, seed and earlier responses.

Tools are asked in legs. A leg is one tool and a number of requests that are fixed before
the first of them is sent, from pools of values that only finished legs have filled; so
neither the order of answers nor an interruption changes what is asked. A tool that reads
another's responses comes after it; tools that read each other in a circle take turns.
"""

from __future__ import annotations

import dataclasses
import graphlib
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from tooltrain.env.recorder.plan import (
    Enumeration,
    Field,
    Path,
    Plan,
    Range,
    Rows,
    Source,
    Together,
    ToolPlan,
)
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.types import Json

_ROUNDS_OF_A_CIRCLE = 8  # each adds an eighth of max_requests, from pools grown meanwhile
_DRAWS_PER_REQUEST = 20  # before a space of mostly repeated requests counts as used up

Row = tuple[Json, ...]


@dataclasses.dataclass(frozen=True)
class Leg:
    """Requests of one tool up to `up_to` in all, counting those of its earlier rounds."""

    tool: str
    round: int
    up_to: int
    last: bool


@dataclasses.dataclass(frozen=True)
class Request:
    """key: the canonical form that the request is recorded under."""

    tool: str
    key: str
    arguments: dict[str, Json]


@dataclasses.dataclass(frozen=True)
class _Group:
    """Arguments that get their values together. choices: alternatives, none of them empty."""

    arguments: tuple[str, ...]
    optional: bool
    choices: tuple[Sequence[Row], ...]

    def size(self, absent: bool) -> int:
        return sum(map(len, self.choices)) + absent

    def at(self, index: int) -> Row | None:
        """The row at an index over all alternatives; None past the last: not sent."""
        for rows in self.choices:
            if index < len(rows):
                return rows[index]
            index -= len(rows)
        return None


class _Single(Sequence):
    """The values of one argument as rows of one."""

    def __init__(self, values: Sequence[Json]):
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: int) -> Row:
        return (self._values[index],)


class Explorer:
    """The requests of a plan. Raises UserError when plan and tools do not fit."""

    def __init__(self, tools: Mapping[str, Tool], plan: Plan):
        _check(tools, plan)
        self._tools = tools
        self._plans = {tool.tool: tool for tool in plan.tools}
        self._seed = plan.seed
        # Values seen at each source, by their text: insertion order is the pool's order.
        self._pools: dict[Field | Together, dict[bytes, Row]] = {
            source: {} for tool in plan.tools for source in tool.reads()
        }
        self._asked: dict[str, set[str]] = {tool.tool: set() for tool in plan.tools}
        self.invalid: dict[str, int] = {}

    def legs(self) -> Iterator[Leg]:
        """The order of asking. Take a leg's requests and let `learn` read their responses
        before the next leg."""
        for names in _circles(self._plans):
            alone = len(names) == 1 and not any(
                source.tool == names[0] for source in self._plans[names[0]].reads()
            )
            rounds = 1 if alone else _ROUNDS_OF_A_CIRCLE
            for turn in range(rounds):
                for name in names:
                    most = self._plans[name].max_requests
                    up_to = math.ceil(most * (turn + 1) / rounds)
                    yield Leg(name, turn, up_to, last=turn == rounds - 1)

    def feeds(self, tool: str) -> bool:
        """Whether some request takes values of this tool's responses."""
        return any(source.tool == tool for source in self._pools)

    def learn(self, tool: str, responses: Iterable[Json]) -> None:
        """Adds the values of a leg's responses to the pools. Their order is the pools'
        order: give it independent of the order in which they were answered."""
        sources = [source for source in self._pools if source.tool == tool]
        for response in responses:
            for source in sources:
                pool = self._pools[source]
                for taken, row in enumerate(_rows(source, response)):
                    if taken == source.per_response:
                        break
                    pool.setdefault(_text(row), row)

    def requests(self, leg: Leg) -> Iterator[Request]:
        """The requests of a leg, each different from all that were asked before.

        Those that the tool's schema finds fault with, or that are no text, are left out and
        counted in `invalid`.
        """
        tool, plan, asked = self._tools[leg.tool], self._plans[leg.tool], self._asked[leg.tool]
        groups = [
            group
            for group in self._groups(tool, plan)
            if not group.optional or (group.choices and plan.optional_probability > 0)
        ]
        if not all(group.choices for group in groups):
            return
        rng = random.Random(f"{self._seed}/{leg.tool}/{leg.round}")
        for rows in _draws(groups, plan.optional_probability, leg.up_to, rng):
            if len(asked) >= leg.up_to:
                return
            arguments = {}
            for group, row in zip(groups, rows, strict=True):
                if row is not None:
                    arguments.update(zip(group.arguments, row, strict=True))
            arguments = tool.coerced(arguments)
            key = tool.canonical(arguments)
            if key in asked:
                continue
            if not _is_text(key) or tool.validate(arguments):
                self.invalid[leg.tool] = self.invalid.get(leg.tool, 0) + 1
                continue
            asked.add(key)
            yield Request(leg.tool, key, arguments)

    def wanting(self, tool: str) -> list[str]:
        """Required arguments that no response has given a value yet."""
        groups = self._groups(self._tools[tool], self._plans[tool])
        return [n for g in groups if not g.optional and not g.choices for n in g.arguments]

    def _groups(self, tool: Tool, plan: ToolPlan) -> list[_Group]:
        """In the schema's order, so that a plan's order of naming does not matter."""
        groups, grouped = [], set()
        for group in plan.together:
            if group.arguments not in grouped:
                same = [g for g in plan.together if g.arguments == group.arguments]
                choices = [
                    g.rows if isinstance(g, Rows) else tuple(self._pools[g].values()) for g in same
                ]
                optional = not set(group.arguments) & set(tool.required)
                groups.append(_Group(group.arguments, optional, tuple(c for c in choices if c)))
                grouped.add(group.arguments)
        together = {name for arguments in grouped for name in arguments}
        for name, schema in tool.properties.items():
            sources = plan.sources(name)
            if not sources and name in tool.required and name not in together:
                sources = (Enumeration(),)
            if sources:
                rows = [self._values(source, schema) for source in sources]
                choices = tuple(r for r in rows if len(r))
                groups.append(_Group((name,), name not in tool.required, choices))
        order = {name: i for i, name in enumerate(tool.properties)}
        return sorted(groups, key=lambda group: min(order[name] for name in group.arguments))

    def _values(self, source: Source, schema: Mapping[str, Json]) -> Sequence[Row]:
        if isinstance(source, Field):
            return tuple(self._pools[source].values())
        if isinstance(source, Enumeration):
            return _Single(_enumerated(schema))
        return _Single(source if isinstance(source, Range) else source.values)


def _draws(
    groups: Sequence[_Group], probability: float, wanted: int, rng: random.Random
) -> Iterator[list[Row | None]]:
    """Rows for all groups, again and again: the whole space in a random order where it is
    small beside what is wanted, else drawn with replacement."""
    sizes = [g.size(absent=g.optional and probability < 1) for g in groups]
    space = math.prod(sizes)
    if space <= 2 * wanted:
        order = list(range(space))
        rng.shuffle(order)
        for index in order:
            rows = []
            for group, size in zip(groups, sizes, strict=True):
                index, at = divmod(index, size)
                rows.append(group.at(at))
            yield rows
        return
    for _ in range(_DRAWS_PER_REQUEST * wanted):
        rows = []
        for group in groups:
            if group.optional and rng.random() >= probability:
                rows.append(None)
            else:
                # The alternative first: a user's short list is not drowned by a large pool.
                choice = group.choices[rng.randrange(len(group.choices))]
                rows.append(choice[rng.randrange(len(choice))])
        yield rows


def _circles(plans: Mapping[str, ToolPlan]) -> list[list[str]]:
    """Tools in an order in which each comes after those it reads; in one list those that
    read each other."""
    reads = {name: {s.tool for s in plan.reads()} for name, plan in plans.items()}
    reach = {name: _reachable(name, reads) for name in plans}
    circle = {
        name: next(other for other in plans if other == name or _mutual(reach, name, other))
        for name in plans
    }
    graph: dict[str, set[str]] = {circle[name]: set() for name in plans}
    for name in plans:
        graph[circle[name]] |= {circle[r] for r in reads[name]} - {circle[name]}
    # Sorted: a set's order of strings differs from process to process.
    ordered = graphlib.TopologicalSorter({name: sorted(graph[name]) for name in graph})
    return [[n for n in plans if circle[n] == first] for first in ordered.static_order()]


def _mutual(reach: Mapping[str, set[str]], one: str, other: str) -> bool:
    return other in reach[one] and one in reach[other]


def _reachable(name: str, reads: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    stack = list(reads[name])
    while stack:
        if (tool := stack.pop()) not in found:
            found.add(tool)
            stack += reads[tool]
    return found


def _rows(source: Field | Together, response: Json) -> Iterator[Row]:
    if isinstance(source, Field):
        yield from ((value,) for value in values_at(response, source.path))
        return
    for element in values_at(response, source.element):
        yield from _products([list(values_at(element, path)) for path in source.fields])


def _products(lists: Sequence[Sequence[Json]]) -> Iterator[Row]:
    if not lists:
        yield ()
        return
    for value in lists[0]:
        for rest in _products(lists[1:]):
            yield (value, *rest)


def values_at(value: Json, path: Path) -> Iterator[Json]:
    """Values at a path, in order, nulls left out; "[]" is each element of a list."""
    if not path:
        if value is not None:
            yield value
    elif path[0] == "[]":
        for element in value if isinstance(value, list) else ():
            yield from values_at(element, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from values_at(value[path[0]], path[1:])


def _is_text(key: str) -> bool:
    """False for half of a surrogate pair, which no file and no request can hold."""
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(row: Row) -> bytes:
    # As text True is not 1, which Python's == would make one value.
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate
        return json.dumps(row, sort_keys=True).encode()


def _enumerated(schema: Mapping[str, Json]) -> tuple[Json, ...]:
    return tuple(schema.get("enum") or ((True, False) if schema.get("type") == "boolean" else ()))


def _check(tools: Mapping[str, Tool], plan: Plan) -> None:
    planned = {tool.tool for tool in plan.tools}
    for tool_plan in plan.tools:
        where = f"plan of {tool_plan.tool}"
        if tool_plan.tool not in tools:
            raise UserError(f"{where}: there is no such tool; there are {', '.join(sorted(tools))}")
        tool = tools[tool_plan.tool]
        grouped: dict[str, tuple[str, ...]] = {}
        for group in tool_plan.together:
            for name in group.arguments:
                if grouped.setdefault(name, group.arguments) != group.arguments:
                    raise UserError(f"{where}: {name} is in two groups of different arguments")
        if both := sorted(set(grouped) & set(tool_plan.arguments)):
            raise UserError(
                f"{where}: {', '.join(both)} in `arguments` and in `together`; keep one"
            )
        for name in (*tool_plan.arguments, *grouped):
            if name not in tool.properties:
                allowed = ", ".join(tool.properties) or "none"
                raise UserError(f"{where}: no argument {name}; allowed: {allowed}")
        for source in tool_plan.reads():
            if source.tool not in planned:
                raise UserError(f"{where} reads responses of {source.tool}; plan that tool too")
        for name, schema in tool.properties.items():
            sources = tool_plan.sources(name)
            wanted = name in tool.required and not sources and name not in grouped
            listed = any(isinstance(source, Enumeration) for source in sources)
            if (wanted or listed) and not _enumerated(schema):
                raise UserError(
                    f"{where}: argument {name} has no values and its schema lists none; give it "
                    "Values, a Range or a Field"
                )
