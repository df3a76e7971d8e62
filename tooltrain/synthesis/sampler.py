"""Fillings, plainly: every way to play a workflow with recorded calls only.

The slow reference of `draws`, and what the demo's few workflows are enumerated with.
Complete by construction: the search goes over recorded entries through an index of each
edge (value -> entries that produce it), backwards from the calls that nothing needs, so
a filling that exists is found and one that does not exist is never tried twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from tooltrain.env.cache import Cache
from tooltrain.env.projection import Path
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.workflow import SlotEdge, Workflow
from tooltrain.types import Json

# Distinct values of an argument per recorded value, below which it is a category. On
# booking: search_type 0.03, sort_option_id 0.13, the next (fromId) 0.25.
_CATEGORY_SHARE = 0.15


@dataclasses.dataclass(frozen=True)
class Entry:
    """A recorded call: arguments in the schema's types, and its whole response."""

    arguments: dict[str, Json]
    response: Json


class Recorded:
    """The cache's entries by tool, indexed by what they produce. Loads a tool once."""

    def __init__(self, cache: Cache):
        self.tools = cache.tools()
        self._cache = cache
        self._entries: dict[str, tuple[Entry, ...]] = {}
        self._identifies: dict[tuple[str, str], bool] = {}
        self._producers: dict[tuple[str, Path], dict[str, tuple[int, ...]]] = {}

    def entries(self, tool: str) -> tuple[Entry, ...]:
        """Entries of a tool in key order, those with an invalid call left out."""
        if tool not in self._entries:
            if tool not in self.tools:
                raise ValueError(f"workflow names tool {tool!r}, which the cache does not have")
            schema = self.tools[tool]
            self._entries[tool] = tuple(
                Entry(schema.coerced(arguments), response)
                for arguments, response in self._cache.entries(tool)
                if not schema.validate(arguments)
            )
        return self._entries[tool]

    def identifies(self, tool: str, argument: str) -> bool:
        """False for an argument whose values repeat like a category's (`search_type`)."""
        if (tool, argument) not in self._identifies:
            arguments = (entry.arguments for entry in self.entries(tool))
            self._identifies[tool, argument] = is_identifying(arguments, argument)
        return self._identifies[tool, argument]

    def producers(self, tool: str, path: Path) -> dict[str, tuple[int, ...]]:
        """value text -> indices of the entries of `tool` with that value at `path`."""
        if (tool, path) not in self._producers:
            found: dict[str, list[int]] = {}
            for i, entry in enumerate(self.entries(tool)):
                for text in dict.fromkeys(produced(entry.response, path)):
                    found.setdefault(text, []).append(i)
            self._producers[tool, path] = {text: tuple(ids) for text, ids in found.items()}
        return self._producers[tool, path]


def is_identifying(recorded: Iterable[Mapping[str, Json]], argument: str) -> bool:
    """False for an argument whose recorded values repeat like a category's."""
    texts = [value_text(arguments.get(argument)) for arguments in recorded]
    given = [text for text in texts if text is not None]
    return len(set(given)) > _CATEGORY_SHARE * len(given)


def produced(response: Json, path: Path) -> list[str]:
    """Texts of the values at a generic path, in order."""
    return [text for _, text in produced_at(response, path)]


def produced_at(response: Json, path: Path) -> list[tuple[tuple[str | int, ...], str]]:
    """(path with list positions, text) of the values at a generic path, in order."""
    found: list[tuple[tuple[str | int, ...], Json]] = [((), response)]
    for step in path:
        if step == "[]":
            found = [
                ((*at, i), item)
                for at, value in found
                if isinstance(value, list)
                for i, item in enumerate(value)
            ]
        else:
            found = [
                ((*at, step), value[step])
                for at, value in found
                if isinstance(value, dict) and step in value
            ]
    return [(at, text) for at, value in found if (text := value_text(value)) is not None]


def fillings(workflow: Workflow, recorded: Recorded) -> Iterator[tuple[int, ...]]:
    """Every filling, in a fixed order: per slot an index into `recorded.entries(tool)`.

    Every edge holds in every filling, and no recorded call fills two slots.
    """
    incoming: dict[int, list[SlotEdge]] = {}
    for edge in workflow.edges:
        incoming.setdefault(edge.target, []).append(edge)
    chosen: dict[int, int] = {}

    def allowed(slot: int) -> list[int]:
        """Entries that give every later slot, already chosen, the value it has."""
        tool, sets = workflow.slots[slot], []
        for edge in workflow.edges:
            if edge.source == slot:
                target = recorded.entries(workflow.slots[edge.target])[chosen[edge.target]]
                text = value_text(target.arguments.get(edge.argument))
                sets.append(recorded.producers(tool, edge.path).get(text, ()))
        if not sets:
            every = range(len(recorded.entries(tool)))
            need = {edge.argument for edge in incoming.get(slot, ())}
            return [i for i in every if need <= recorded.entries(tool)[i].arguments.keys()]
        common = set(sets[0]).intersection(*sets[1:])
        need = {edge.argument for edge in incoming.get(slot, ())}
        return [i for i in sorted(common) if need <= recorded.entries(tool)[i].arguments.keys()]

    def fill(slot: int) -> Iterator[tuple[int, ...]]:
        if slot < 0:
            yield tuple(chosen[s] for s in range(len(workflow.slots)))
            return
        tool = workflow.slots[slot]
        used = {i for s, i in chosen.items() if workflow.slots[s] == tool}
        for entry in allowed(slot):
            if entry not in used:
                chosen[slot] = entry
                yield from fill(slot - 1)
                del chosen[slot]

    yield from fill(len(workflow.slots) - 1)
