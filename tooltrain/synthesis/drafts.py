"""Drafts: filled workflows as gold calls with bindings and selectors, before they have words."""

from __future__ import annotations

import collections
import dataclasses
import json
import random
from collections.abc import Callable, Sequence

from tooltrain.env.environment import Environment
from tooltrain.synthesis.bindings import Bound, Seen, bind, places
from tooltrain.synthesis.compile import Compiled, Group, Shown, groups_of
from tooltrain.synthesis.entities import Identifying, names
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.sampler import Entry, Recorded, fillings
from tooltrain.synthesis.workflow import Workflow
from tooltrain.types import Binding, Call, GoldCall, Json, Observation, ObservationKind

_KINDS = ("first", "where")  # of selectors, that `queries` has words for


@dataclasses.dataclass(frozen=True)
class Draft:
    """A filled workflow before it has words."""

    workflow: Workflow
    calls: tuple[GoldCall, ...]
    responses: tuple[Json, ...]
    views: tuple[str, ...]
    entities: frozenset[str]


def of_filling(workflow: Workflow, filling: Sequence[int], compiled: Compiled) -> Draft:
    """The draft of a filling that was drawn from `compiled`. Raises ValueError where an edge
    does not hold, which no drawn filling does."""
    shown = [compiled.shown(tool, i) for tool, i in zip(workflow.slots, filling, strict=True)]

    def bound(group: Group, source: int, target: int) -> tuple[Bound, ...]:
        found = compiled.bindings(group, filling[source], filling[target])
        if found is None:
            raise ValueError(
                f"workflow {workflow.id}: {group.target} (slot {target}) takes nothing from "
                f"{group.source} (slot {source}) in the filling {tuple(filling)}"
            )
        return found

    return _drafted(workflow, shown, bound, compiled)


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
        draft = from_entries(workflow, entries, recorded, environment)
        if isinstance(draft, str):
            rejected[f"{draft}: {workflow.id}"] += 1
        else:
            drafts.append(draft)
    rng.shuffle(drafts)
    return drafts[:max_drafts]


def from_entries(
    workflow: Workflow, entries: Sequence[Entry], recorded: Recorded, environment: Environment
) -> Draft | str:
    """The filling as gold calls, or the reason why it cannot be played from its views."""
    shown = []
    for tool, entry in zip(workflow.slots, entries, strict=True):
        observation = Observation(ObservationKind.OK, entry.response)
        text = environment.show(Call(tool, entry.arguments), observation)
        shown.append(Shown(entry.arguments, entry.response, text, json.loads(text)))
    try:
        return _drafted(
            workflow, shown, lambda group, s, t: _bound(group, shown[s], shown[t]), recorded
        )
    except _Unplayable as error:
        return str(error)


class _Unplayable(ValueError):
    """A filling that cannot be played from its views; the message is the reason."""


def _bound(group: Group, source: Shown, target: Shown) -> tuple[Bound, ...]:
    values = [value_text(target.arguments[feed.argument]) for feed in group.feeds]
    seen = Seen(source.response, source.view)
    found = [places(seen, feed.path) for feed in group.feeds]
    way = bind(group.feeds, values, found, seen, kinds=_KINDS, together=True)
    if way is not None:
        return way
    if bind(group.feeds, values, found, seen, kinds=None, together=False) is None:
        raise _Unplayable("not visible in the projection")
    if bind(group.feeds, values, found, seen, kinds=None, together=True) is None:
        raise _Unplayable("arguments from different elements")
    raise _Unplayable("no selector explains the element")


def _drafted(
    workflow: Workflow,
    shown: Sequence[Shown],
    bound: Callable[[Group, int, int], tuple[Bound, ...]],
    recorded: Identifying,
) -> Draft:
    bindings: list[list[Binding]] = [[] for _ in workflow.slots]
    for source, target, group in groups_of(workflow):
        for argument, place, selector in bound(group, source, target):
            bindings[target].append(Binding(argument, source, place, selector))
    calls = tuple(
        GoldCall(
            tool,
            shown[slot].arguments,
            workflow.sources(slot),
            tuple(sorted(bindings[slot], key=lambda b: b.argument)),
        )
        for slot, tool in enumerate(workflow.slots)
    )
    return Draft(
        workflow,
        calls,
        tuple(s.response for s in shown),
        tuple(s.text for s in shown),
        frozenset(names(calls, recorded)),
    )
