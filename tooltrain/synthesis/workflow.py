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
from collections.abc import Iterable, Sequence

from tooltrain.env.cache import Sample
from tooltrain.env.projection import Path, generic
from tooltrain.synthesis.provenance import Link, ancestors


@dataclasses.dataclass(frozen=True, order=True)
class SlotEdge:
    """`argument` of slot `target` takes a value at `path` of slot `source`'s response."""

    target: int
    argument: str
    source: int
    path: Path


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


def canonical(slots: Sequence[str], edges: Iterable[SlotEdge]) -> Workflow:
    """The workflow with its slots in canonical order: by level, then tool, then the order
    that makes the edges smallest. Raises ValueError on a cyclic or dangling edge."""
    slots, edges = tuple(slots), tuple(edges)
    for edge in edges:
        if not (0 <= edge.source < len(slots) and 0 <= edge.target < len(slots)):
            raise ValueError(f"workflow {slots}: edge {edge} names a slot that is not there")
    levels = _levels(slots, edges)
    groups = [
        list(group)
        for _, group in itertools.groupby(
            sorted(range(len(slots)), key=lambda s: (levels[s], slots[s])),
            key=lambda s: (levels[s], slots[s]),
        )
    ]
    best = None
    for orders in itertools.product(*(itertools.permutations(group) for group in groups)):
        order = [slot for group in orders for slot in group]
        place = {slot: i for i, slot in enumerate(order)}
        renamed = sorted(
            SlotEdge(place[e.target], e.argument, place[e.source], e.path) for e in edges
        )
        if best is None or renamed < best[1]:
            best = (order, renamed)
    order, renamed = best
    return Workflow(tuple(slots[s] for s in order), tuple(renamed))


def _levels(slots: Sequence[str], edges: Sequence[SlotEdge]) -> list[int]:
    levels = [0] * len(slots)
    for _ in range(len(slots)):
        before = list(levels)
        for edge in edges:
            levels[edge.target] = max(levels[edge.target], levels[edge.source] + 1)
        if levels == before:
            return levels
    raise ValueError(f"workflow {tuple(slots)}: the dependencies are cyclic: {tuple(edges)}")


def mined(
    samples: Iterable[Sample],
    links: Iterable[Sequence[Link]],
    *,
    max_calls: int,
    min_calls: int = 2,
) -> collections.Counter[Workflow]:
    """Workflows of `min_calls` to `max_calls` calls and in how many calls each was seen.

    Every recorded call with all the calls that it needs is one workflow instance.
    """
    counts: collections.Counter[Workflow] = collections.Counter()
    for sample, sample_links in zip(samples, links, strict=True):
        for call in range(len(sample.calls)):
            chosen = sorted(ancestors(call, sample_links))
            if not min_calls <= len(chosen) <= max_calls:
                continue
            place = {c: i for i, c in enumerate(chosen)}
            edges = [
                SlotEdge(place[k.target], k.argument, place[k.source], generic(k.path))
                for k in sample_links
                if k.target in place
            ]
            counts[canonical([sample.calls[c].name for c in chosen], edges)] += 1
    return counts
