"""Drafts: filled workflows as gold calls with bindings and selectors, before they have words."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence

from tooltrain.env.environment import Environment
from tooltrain.env.projection import NAMING
from tooltrain.synthesis.derive import at_path
from tooltrain.synthesis.entities import names
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.sampler import Entry, Recorded, fillings, produced_at
from tooltrain.synthesis.workflow import SlotEdge, Workflow
from tooltrain.types import Binding, Call, GoldCall, Json, Observation, ObservationKind


@dataclasses.dataclass(frozen=True)
class Draft:
    """A filled workflow before it has words."""

    workflow: Workflow
    calls: tuple[GoldCall, ...]
    responses: tuple[Json, ...]
    views: tuple[str, ...]
    entities: frozenset[str]


def fill(
    workflow: Workflow,
    recorded: Recorded,
    environment: Environment,
    rejected: collections.Counter[str],
    *,
    max_fillings: int,
    max_drafts: int,
    rng: random.Random,
) -> list[Draft]:
    """At most `max_drafts` drafts, of at most `max_fillings` of the workflow's fillings; the
    reasons of those that cannot be played from their views are counted in `rejected`."""
    found = list(fillings(workflow, recorded))
    if len(found) > max_fillings:
        found = rng.sample(found, max_fillings)
    drafts = []
    for filling in found:
        entries = [
            recorded.entries(tool)[i] for tool, i in zip(workflow.slots, filling, strict=True)
        ]
        draft = from_filling(workflow, entries, recorded, environment)
        if isinstance(draft, str):
            rejected[f"{draft}: {workflow.id}"] += 1
        else:
            drafts.append(draft)
    rng.shuffle(drafts)
    return drafts[:max_drafts]


def from_filling(
    workflow: Workflow, entries: Sequence[Entry], recorded: Recorded, environment: Environment
) -> Draft | str:
    """The filling as gold calls, or the reason why it cannot be played from its views."""
    views = tuple(
        environment.show(Call(tool, e.arguments), Observation(ObservationKind.OK, e.response))
        for tool, e in zip(workflow.slots, entries, strict=True)
    )
    calls = []
    for slot, tool in enumerate(workflow.slots):
        edges = [e for e in workflow.edges if e.target == slot]
        bindings: list[Binding] = []
        for source in workflow.sources(slot):
            group = [e for e in edges if e.source == source]
            bound = _bind(group, entries[slot], entries[source], views[source])
            if isinstance(bound, str):
                return bound
            bindings += bound
        bindings.sort(key=lambda b: b.argument)
        calls.append(
            GoldCall(tool, entries[slot].arguments, workflow.sources(slot), tuple(bindings))
        )
    return Draft(
        workflow,
        tuple(calls),
        tuple(e.response for e in entries),
        views,
        frozenset(names(calls, recorded)),
    )


def _bind(
    edges: Sequence[SlotEdge], target: Entry, source: Entry, view: str
) -> list[Binding] | str:
    """Bindings of the arguments that one call takes from another: all from one element."""
    places: list[dict[tuple[int, ...], tuple[str | int, ...]]] = []
    for edge in edges:
        text = value_text(target.arguments[edge.argument])
        if text not in view:
            return "not visible in the projection"
        at = {}
        for path, found in produced_at(source.response, edge.path):
            if found == text:
                at.setdefault(tuple(step for step in path if isinstance(step, int)), path)
        places.append(at)
    positions = sorted(set(places[0]).intersection(*places[1:]) - {()})
    if not positions and all(() in at for at in places):
        return [Binding(e.argument, e.source, at[()]) for e, at in zip(edges, places, strict=True)]
    if not positions:
        # Fields of the response's root beside fields of an element (a search key and an id).
        rooted = [at for at in places if () in at]
        listed = [set(at) for at in places if () not in at]
        if not rooted or not listed or not (both := sorted(set.intersection(*listed))):
            return "arguments from different elements"
        positions = both
    position = positions[0]
    path = next(at[position] for at in places if position in at)
    selector = _selector(source.response, path, view)
    if selector is None:
        return "no selector explains the element"
    return [
        Binding(
            e.argument, e.source, at.get(position) or at[()], selector if position in at else ""
        )
        for e, at in zip(edges, places, strict=True)
    ]


def _selector(response: Json, path: tuple[str | int, ...], view: str) -> str | None:
    """How a person would say which element `path` goes through; None if nothing visible
    tells it from the others."""
    indices = [i for i, step in enumerate(path) if isinstance(step, int)]
    if all(path[i] == 0 for i in indices):
        return "first"
    last = indices[-1]
    if any(path[i] != 0 for i in indices[:-1]):
        return None
    siblings = at_path(response, path[:last])
    element = siblings[path[last]]
    if not isinstance(element, dict):
        return None
    for field in sorted(NAMING & element.keys()):
        value = element[field]
        others = [s.get(field) for s in siblings if isinstance(s, dict)]
        if isinstance(value, str) and others.count(value) == 1 and f'"{value}"' in view:
            return f"where({field}={value})"
    return None
