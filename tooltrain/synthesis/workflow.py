"""Workflows: DAGs of tool slots whose edges say which response field feeds which argument.

Search_Flight_Location ──[].id──▶ fromId ┐
                                         Search_Flights
Search_Flight_Location ──[].id──▶ toId ──┘
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

from tooltrain.env.cache import Sample
from tooltrain.env.projection import Path, generic
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import Link, ancestors

# Orders of equal slots that are all tried; every workflow of up to six calls has fewer.
# Above it slots are told apart by colour refinement, which 12 calls of one tool do not slow.
_MAX_ORDERS = 720
MIN_CALLS, MAX_CALLS = 2, 12  # of a workflow


class WorkflowError(UserError, ValueError):
    """A workflow that cannot be: the message names it and the edge (or slot) to blame."""


@dataclasses.dataclass(frozen=True, order=True)
class SlotEdge:
    """`argument` of slot `target` takes a value at `path` of slot `source`'s response.

    selector: how the element on the path must be told from its siblings: "" in any way,
    "first", "where" (by any name), or "argmin(field)", "argmax(field)", "nth(2)" to the letter.
    """

    target: int
    argument: str
    source: int
    path: Path
    selector: str = ""

    def __repr__(self) -> str:
        # Ids are digests of this text; those of workflows without selectors are older.
        selector = f", selector={self.selector!r}" if self.selector else ""
        return (
            f"SlotEdge(target={self.target!r}, argument={self.argument!r}, "
            f"source={self.source!r}, path={self.path!r}{selector})"
        )


@dataclasses.dataclass(frozen=True)
class Workflow:
    """slots: tool of each call, sources before their targets. Canonical: two workflows
    that differ only in the numbering of their slots are equal (see `canonical`)."""

    slots: tuple[str, ...]
    edges: tuple[SlotEdge, ...]

    @property
    def id(self) -> str:
        """Readable and unique: the tools, and a digest of the edges."""
        digest = hashlib.sha256(repr((self.slots, self.edges)).encode()).hexdigest()[:6]
        return f"{'>'.join(self.slots)}#{digest}"

    def levels(self) -> tuple[int, ...]:
        """Dependency level of each slot: the turn in which it can be called."""
        levels: list[int] = []
        for slot in range(len(self.slots)):
            sources = (levels[e.source] for e in self.edges if e.target == slot)
            levels.append(1 + max(sources, default=-1))
        return tuple(levels)

    def sources(self, slot: int) -> tuple[int, ...]:
        return tuple(sorted({e.source for e in self.edges if e.target == slot}))

    def describe(self, edge: SlotEdge) -> str:
        """The edge in words, for messages."""
        path = ".".join(edge.path) or "the whole response"
        return (
            f"{path} of {self.slots[edge.source]} (slot {edge.source}) -> {edge.argument} of "
            f"{self.slots[edge.target]} (slot {edge.target})"
        )


def check(workflow: Workflow, tools: Mapping[str, Tool]) -> None:
    """Raises WorkflowError unless every slot's tool is known, every edge goes from an earlier
    slot to an argument of its target's schema, and no argument is fed twice."""
    if not workflow.slots:
        raise WorkflowError("a workflow has no slots; give it at least one tool")
    for slot, tool in enumerate(workflow.slots):
        if tool not in tools:
            raise WorkflowError(
                f"workflow {workflow.id}: slot {slot} is of tool {tool!r}, which the cache does "
                f"not have; it has {', '.join(sorted(tools)) or 'none'}"
            )
    fed = set()
    for edge in workflow.edges:
        if not (0 <= edge.source < len(workflow.slots) and 0 <= edge.target < len(workflow.slots)):
            raise WorkflowError(
                f"workflow {workflow.id}: edge {edge} names a slot that is not there; slots are "
                f"0 to {len(workflow.slots) - 1}"
            )
        if edge.source >= edge.target:
            raise WorkflowError(
                f"workflow {workflow.id}: edge {workflow.describe(edge)} does not go from an "
                "earlier slot to a later one; number the slots with `canonical`"
            )
        known = tools[workflow.slots[edge.target]].properties
        if edge.argument not in known:
            raise WorkflowError(
                f"workflow {workflow.id}: edge {workflow.describe(edge)} feeds an argument that "
                f"the tool does not take; it takes {', '.join(known) or 'none'}"
            )
        if (edge.target, edge.argument) in fed:
            raise WorkflowError(
                f"workflow {workflow.id}: edge {workflow.describe(edge)} feeds an argument that "
                "another edge feeds already; keep one of the two"
            )
        fed.add((edge.target, edge.argument))


# --- canonical form -----------------------------------------------------------------


def canonical(slots: Sequence[str], edges: Iterable[SlotEdge]) -> Workflow:
    """The workflow with its slots in canonical order: by level, then tool, then the order
    that makes the edges smallest. Raises WorkflowError on a cyclic or dangling edge."""
    slots, edges = tuple(slots), tuple(edges)
    for edge in edges:
        if not (0 <= edge.source < len(slots) and 0 <= edge.target < len(slots)):
            raise WorkflowError(
                f"workflow {'>'.join(slots)}: edge {edge} names a slot that is not there; slots "
                f"are 0 to {len(slots) - 1}"
            )
    levels = _levels(slots, edges)
    colours = _ranks([(levels[s], slots[s]) for s in range(len(slots))])
    sizes = collections.Counter(colours).values()
    if math.prod(math.factorial(size) for size in sizes) <= _MAX_ORDERS:
        order = _smallest_order(colours, edges)
    else:
        order = _refined_order(colours, edges)
    return Workflow(tuple(slots[s] for s in order), _renamed(order, edges))


def _levels(slots: Sequence[str], edges: Sequence[SlotEdge]) -> list[int]:
    levels = [0] * len(slots)
    for _ in range(len(slots)):
        before = list(levels)
        for edge in edges:
            levels[edge.target] = max(levels[edge.target], levels[edge.source] + 1)
        if levels == before:
            return levels
    cycle = next(e for e in edges if e.source in _reached(e.target, edges))
    raise WorkflowError(
        f"workflow {'>'.join(slots)}: the dependencies are cyclic: slot {cycle.target} "
        f"({slots[cycle.target]}) needs slot {cycle.source} ({slots[cycle.source]}) for "
        f"{cycle.argument!r}, which needs it in turn; remove an edge of the cycle"
    )


def _reached(slot: int, edges: Sequence[SlotEdge]) -> set[int]:
    reached, frontier = {slot}, [slot]
    while frontier:
        at = frontier.pop()
        new = {e.target for e in edges if e.source == at} - reached
        reached |= new
        frontier += new
    return reached


def _ranks(colours: Sequence) -> list[int]:
    """Each colour's place among the different ones, in order."""
    rank = {colour: i for i, colour in enumerate(sorted(set(colours)))}
    return [rank[colour] for colour in colours]


def _renamed(order: Sequence[int], edges: Iterable[SlotEdge]) -> tuple[SlotEdge, ...]:
    place = {slot: i for i, slot in enumerate(order)}
    return tuple(
        sorted(
            SlotEdge(place[e.target], e.argument, place[e.source], e.path, e.selector)
            for e in edges
        )
    )


def _smallest_order(colours: Sequence[int], edges: Sequence[SlotEdge]) -> list[int]:
    """Of all orders that keep the colours in order, the one with the smallest edges."""
    by_colour = sorted(range(len(colours)), key=lambda s: colours[s])
    groups = [list(g) for _, g in itertools.groupby(by_colour, key=lambda s: colours[s])]
    orders = itertools.product(*(itertools.permutations(group) for group in groups))
    return min(
        ([slot for group in groups for slot in group] for groups in orders),
        key=lambda order: _renamed(order, edges),
    )


def _refined(colours: Sequence[int], edges: Sequence[SlotEdge]) -> list[int]:
    """Colour refinement: slots stay equal only if equal slots feed them and are fed by them
    in equal ways. The order of the colours does not depend on slot numbers."""
    colours = list(colours)
    while True:
        around: list[list[tuple]] = [[] for _ in colours]
        for e in edges:
            around[e.target].append((0, e.argument, e.path, e.selector, colours[e.source]))
            around[e.source].append((1, e.argument, e.path, e.selector, colours[e.target]))
        finer = _ranks([(c, tuple(sorted(a))) for c, a in zip(colours, around, strict=True)])
        if finer == colours:
            return colours
        colours = finer


def _refined_order(colours: Sequence[int], edges: Sequence[SlotEdge]) -> list[int]:
    """The order by refined colour, ties broken by search.

    One of the first equal slots is set apart, the rest refined, and so on down to an order;
    of all orders reached so, the one with the smallest edges is taken. Two slots whose first
    orders give the same edges are images of each other under a symmetry, so only one of
    them is searched further (McKay & Piperno 2014, "Practical graph isomorphism, II").
    """
    colours = _refined(colours, edges)
    tied = [c for c, size in collections.Counter(colours).items() if size > 1]
    if not tied:
        return sorted(range(len(colours)), key=lambda s: colours[s])
    best, seen = None, set()
    for slot in (s for s, c in enumerate(colours) if c == min(tied)):
        apart = [2 * c + (c == min(tied) and s != slot) for s, c in enumerate(colours)]
        first = _renamed(_any_order(apart, edges), edges)
        if first in seen:
            continue
        seen.add(first)
        order = _refined_order(apart, edges)
        if best is None or _renamed(order, edges) < _renamed(best, edges):
            best = order
    return best


def _any_order(colours: Sequence[int], edges: Sequence[SlotEdge]) -> list[int]:
    """The first order that the search reaches below these colours."""
    while True:
        colours = _refined(colours, edges)
        tied = [c for c, size in collections.Counter(colours).items() if size > 1]
        if not tied:
            return sorted(range(len(colours)), key=lambda s: colours[s])
        slot = colours.index(min(tied))
        colours = [2 * c + (c == min(tied) and s != slot) for s, c in enumerate(colours)]


# --- mined workflows ----------------------------------------------------------------


def mined(
    samples: Iterable[Sample],
    links: Iterable[Sequence[Link]],
    *,
    max_calls: int,
    tools: Mapping[str, Tool] | None = None,
) -> collections.Counter[Workflow]:
    """Workflows of 2 to `max_calls` calls and in how many calls each was seen.

    Every recorded call with all the calls that it needs is one workflow instance. tools:
    with them, an instance that holds a call which its schema forbids is not counted (2 of
    ComplexFuncBench's 5,070 calls), as nothing that can be played is a witness of it.
    """
    counts: collections.Counter[Workflow] = collections.Counter()
    for sample, sample_links in zip(samples, links, strict=True):
        valid = _valid_calls(sample, tools)
        for call in range(len(sample.calls)):
            chosen = sorted(ancestors(call, sample_links))
            if MIN_CALLS <= len(chosen) <= max_calls and valid.issuperset(chosen):
                counts[_of_calls(sample, sample_links, chosen)] += 1
    return counts


def whole(
    samples: Iterable[Sample],
    links: Iterable[Sequence[Link]],
    *,
    tools: Mapping[str, Tool] | None = None,
) -> collections.Counter[Workflow]:
    """Workflows of all calls of a sample, and how many samples have each; see `mined`."""
    counts: collections.Counter[Workflow] = collections.Counter()
    for sample, sample_links in zip(samples, links, strict=True):
        every = range(len(sample.calls))
        if every and _valid_calls(sample, tools).issuperset(every):
            counts[_of_calls(sample, sample_links, every)] += 1
    return counts


def _valid_calls(sample: Sample, tools: Mapping[str, Tool] | None) -> set[int]:
    return {
        i
        for i, call in enumerate(sample.calls)
        if tools is None or not tools[call.name].validate(call.arguments)
    }


def _of_calls(sample: Sample, links: Sequence[Link], chosen: Sequence[int]) -> Workflow:
    place = {c: i for i, c in enumerate(chosen)}
    edges = [
        SlotEdge(place[k.target], k.argument, place[k.source], generic(k.path))
        for k in links
        if k.target in place
    ]
    return canonical([sample.calls[c].name for c in chosen], edges)
