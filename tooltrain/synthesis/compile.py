"""The cache compiled: which recorded calls can feed which, as integer arrays.

All edges between two slots make one relation. A recorded target call takes one tuple of
values from its source, its key; a recorded source call produces a set of keys. Storing
call -> keys and key -> calls instead of pairs of calls keeps the arrays small: a country
code shared by 1,000 sources and 1,000 targets is 2,000 numbers, not 1,000,000.

    Search_Hotel_Destination    key                 Search_Hotels
    0 {"query": "Rome"}  ──┬──▶ 0 ("-126693",) ──┬──▶ 17 {"dest_id": -126693, "adults": 1}
    1 {"query": "Roma"}  ──┘                     └──▶ 18 {"dest_id": -126693, "adults": 2}
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tooltrain.env.cache import Cache
from tooltrain.env.projection import Projection
from tooltrain.synthesis.bindings import (
    SELECTORS,
    Bound,
    Feed,
    Place,
    Seen,
    bind,
    explanations,
    places,
)
from tooltrain.synthesis.provenance import is_opaque, value_text
from tooltrain.synthesis.sampler import is_identifying
from tooltrain.synthesis.workflow import Workflow, check
from tooltrain.types import Json

_MAX_SHOWN = 8_192  # responses kept, with their views
_SMALL_TOOL = 1_024  # entries of a tool whose responses are kept while relations are made
_PAIRS_SAMPLED = 200  # of a relation, to see which selectors there are


@dataclasses.dataclass(frozen=True)
class Group:
    """All edges from one slot to another: what a call of `target` takes from one of `source`."""

    source: str
    target: str
    feeds: tuple[Feed, ...]


@dataclasses.dataclass(frozen=True)
class CSR:
    """Rows of integers: row r is `indices[indptr[r]:indptr[r + 1]]`, each row ascending."""

    indptr: np.ndarray  # int64 [R + 1]
    indices: np.ndarray  # int32 [N]

    @classmethod
    def of(cls, rows: np.ndarray, indices: np.ndarray, num_rows: int) -> CSR:
        order = np.lexsort((indices, rows))
        counts = np.bincount(rows, minlength=num_rows)
        indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return cls(indptr, indices[order].astype(np.int32))

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """Row of each of `indices`."""
        lengths = np.diff(self.indptr)
        return np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)

    def __len__(self) -> int:
        return len(self.indptr) - 1


@dataclasses.dataclass(frozen=True)
class Relation:
    """Which entries of a source tool can feed which of a target tool, through K keys."""

    keys: CSR  # source entry -> keys it produces
    sources: CSR  # key -> source entries
    targets: CSR  # key -> target entries
    key_of_target: np.ndarray  # int32, -1 where no source entry produces the key

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """source * K + key of every produced key, ascending: membership by binary search."""
        return self.keys.rows.astype(np.int64) * len(self.targets) + self.keys.indices

    def holds(self, sources: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """bool: does source entry feed target entry, elementwise?"""
        key = self.key_of_target[targets]
        if not len(self.codes):
            return np.zeros(len(key), bool)
        code = sources.astype(np.int64) * len(self.targets) + key
        at = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
        return (key >= 0) & (self.codes[at] == code)


@dataclasses.dataclass(frozen=True)
class Shown:
    """A recorded call, its response, and what of it is visible."""

    arguments: dict[str, Json]
    response: Json
    text: str
    view: Json


class Compiled:
    """A cache's entries by tool, and relations between them, made once each.

    projection: with one, a call feeds another only if the value is visible in the view, its
    element has a selector, and edges through one list share its element; and a call is
    admitted only if no edge is needed to say its arguments (`admitted`). So every filling can
    be played from the views and put in words. Without one an edge holds if the value is
    anywhere at its path.
    """

    def __init__(self, cache: Cache, projection: Projection | None = None):
        self.cache, self.tools = cache, cache.tools()
        self.digest = cache.digest
        self._projection = projection
        self._arguments: dict[str, tuple[dict[str, Json], ...]] = {}
        self._unsayable: dict[str, tuple[frozenset[str], ...]] = {}
        self._relations: dict[Group, Relation] = {}
        self.shown = functools.lru_cache(_MAX_SHOWN)(self._shown)
        self.identifies = functools.cache(self._identifies)

    def arguments(self, tool: str) -> tuple[dict[str, Json], ...]:
        """Arguments of a tool's entries, in key order; those of invalid calls left out."""
        if tool not in self._arguments:
            schema = self.tools[tool]
            self._arguments[tool] = tuple(
                schema.coerced(arguments)
                for arguments, _ in self.cache.entries(tool)
                if not schema.validate(arguments)
            )
        return self._arguments[tool]

    def _identifies(self, tool: str, argument: str) -> bool:
        return is_identifying(self.arguments(tool), argument)

    def unsayable(self, tool: str) -> tuple[frozenset[str], ...]:
        """Per entry, its arguments that no person would say: ids, coordinates, tokens."""
        if tool not in self._unsayable:
            self._unsayable[tool] = tuple(
                frozenset(
                    name
                    for name, value in arguments.items()
                    if _is_unsayable(value, code=self.identifies(tool, name))
                )
                for arguments in self.arguments(tool)
            )
        return self._unsayable[tool]

    def admitted(self, tool: str, bound: frozenset[str]) -> np.ndarray:
        """bool per entry: may it fill a slot whose arguments `bound` are fed by edges?"""
        if self._projection is None:
            return np.ones(len(self.arguments(tool)), bool)
        return np.array([names <= bound for names in self.unsayable(tool)], bool)

    def relation(self, group: Group) -> Relation:
        if group not in self._relations:
            self.prepare_groups([group])
        return self._relations[group]

    def prepare(self, workflows: Iterable[Workflow]) -> None:
        """Makes the relations of all workflows, reading each tool's responses once.

        Raises WorkflowError, naming workflow and edge, for the first one that cannot be.
        """
        groups: dict[Group, None] = {}
        for workflow in workflows:
            check(workflow, self.tools)
            groups.update(dict.fromkeys(group for _, _, group in groups_of(workflow)))
        self.prepare_groups(list(groups))

    def prepare_groups(self, groups: Sequence[Group]) -> None:
        """Makes the relations that are not there yet, reading each tool's responses once."""
        by_source: dict[str, list[Group]] = collections.defaultdict(list)
        for group in dict.fromkeys(groups):
            if group in self._relations:
                continue
            plain = _without_selectors(group)
            if plain != group and plain in self._relations:  # read again only what can be in it
                self._relations[group] = self._narrowed(group)
            else:
                by_source[group.source].append(group)
        for source in sorted(by_source):
            self._compile_source(source, by_source[source])

    def _compile_source(self, source: str, groups: Sequence[Group]) -> None:
        """One pass over the responses of `source`."""
        builders = [_Builder(group, self.arguments(group.target)) for group in groups]
        paths = sorted({feed.path for group in groups for feed in group.feeds})
        num_entries = 0
        for entry, seen in enumerate(self._seen(source)):
            found = {path: places(seen, path) for path in paths}
            for builder in builders:
                builder.add(entry, found, seen, self._bind if self._chooses(builder) else None)
            num_entries = entry + 1
        for builder in builders:
            self._relations[builder.group] = builder.relation(num_entries)

    def _seen(self, tool: str) -> Iterator[Seen]:
        """What is seen of each entry; of a small tool it is kept for the next relation."""
        if len(self.arguments(tool)) <= _SMALL_TOOL:
            for entry in range(len(self.arguments(tool))):
                shown = self.shown(tool, entry)
                yield Seen(shown.response, shown.view)
            return
        schema = self.tools[tool]
        for arguments, response in self.cache.entries(tool):
            if not schema.validate(arguments):
                yield Seen(response, self._view(tool, response)[1])

    def _narrowed(self, group: Group) -> Relation:
        """The relation of a group with selectors, out of the one without."""
        plain = self._relations[_without_selectors(group)]
        builder = _Builder(group, self.arguments(group.target))
        for source, key in zip(plain.keys.rows.tolist(), plain.keys.indices.tolist(), strict=True):
            target = int(plain.targets.indices[plain.targets.indptr[key]])
            if self.bindings(group, source, target) is not None:
                builder.produce(source, self._taken(group, target))
        return builder.relation(len(plain.keys))

    def _taken(self, group: Group, target: int) -> tuple[str | None, ...]:
        arguments = self.arguments(group.target)[target]
        return tuple(value_text(arguments.get(feed.argument)) for feed in group.feeds)

    def selectors(self, group: Group) -> list[str]:
        """Selectors that tell some element of the group from its siblings, for a sample of
        the calls; those that a workflow can ask for."""
        plain = self.relation(_without_selectors(group))
        found: set[str] = set()
        pairs = list(zip(plain.keys.rows.tolist(), plain.keys.indices.tolist(), strict=True))
        for source, key in pairs[:: 1 + len(pairs) // _PAIRS_SAMPLED]:
            target = int(plain.targets.indices[plain.targets.indptr[key]])
            shown = self.shown(group.source, source)
            for bound in self.bindings(_without_selectors(group), source, target) or ():
                if any(isinstance(step, int) for step in bound.place):
                    found.update(explanations(bound.place, Seen(shown.response, shown.view)))
        return sorted({"where" if s.startswith("where(") else s for s in found})

    def _chooses(self, builder: _Builder) -> bool:
        """False where any place of a value will do, so that none need be looked for."""
        return self._projection is not None or any(f.selector for f in builder.group.feeds)

    def _view(self, tool: str, response: Json) -> tuple[str, Json]:
        if self._projection is None:
            return "", response
        text = self._projection(tool, response)
        return text, json.loads(text)

    def _bind(self, group: Group, values: Sequence[str], found, seen: Seen):
        strict = self._projection is not None
        kinds = SELECTORS if strict else None
        return bind(group.feeds, values, found, seen, kinds=kinds, together=strict)

    def _shown(self, tool: str, entry: int) -> Shown:
        arguments = self.arguments(tool)[entry]
        found, response = self.cache.lookup(tool, self.tools[tool].canonical(arguments))
        if not found:
            raise LookupError(f"{tool} has no recorded response for {arguments}")
        return Shown(arguments, response, *self._view(tool, response))

    def bindings(self, group: Group, source: int, target: int) -> tuple[Bound, ...] | None:
        """How entry `target` takes its arguments from entry `source`; None if it cannot."""
        shown = self.shown(group.source, source)
        values = self._taken(group, target)
        if None in values:
            return None
        seen = Seen(shown.response, shown.view)
        return self._bind(group, values, [places(seen, f.path) for f in group.feeds], seen)


def groups_of(workflow: Workflow) -> list[tuple[int, int, Group]]:
    """(source slot, target slot, group) of each pair of slots with edges, in order."""
    feeds: dict[tuple[int, int], list[Feed]] = {}
    for edge in workflow.edges:
        feed = Feed(edge.argument, edge.path, edge.selector)
        feeds.setdefault((edge.source, edge.target), []).append(feed)
    return [
        (s, t, Group(workflow.slots[s], workflow.slots[t], tuple(sorted(feeds[s, t]))))
        for s, t in sorted(feeds, key=lambda pair: (pair[1], pair[0]))
    ]


def _is_unsayable(value: Json, *, code: bool) -> bool:
    if isinstance(value, list | dict):  # a list of flights' legs holds the ids of its airports
        inner = value.values() if isinstance(value, dict) else value
        return any(_is_unsayable(item, code=True) for item in inner)
    text = value_text(value)
    return text is not None and is_opaque(text, code=code)


def _without_selectors(group: Group) -> Group:
    feeds = tuple(sorted(feed._replace(selector="") for feed in group.feeds))
    return dataclasses.replace(group, feeds=feeds)


class _Builder:
    """Gathers one relation while the source's entries go by."""

    def __init__(self, group: Group, targets: Sequence[dict[str, Json]]):
        self.group = group
        self._num_targets = len(targets)
        self._targets: dict[tuple[str, ...], list[int]] = {}
        for target, arguments in enumerate(targets):
            values = tuple(value_text(arguments.get(feed.argument)) for feed in group.feeds)
            if None not in values:
                self._targets.setdefault(values, []).append(target)
        # Candidates are looked up by the feed whose values tell most keys apart.
        columns = [{key[i] for key in self._targets} for i in range(len(group.feeds))]
        self._column = max(range(len(columns)), key=lambda i: len(columns[i]))
        self._by_value: dict[str, list[tuple[str, ...]]] = collections.defaultdict(list)
        for key in self._targets:
            self._by_value[key[self._column]].append(key)
        self._ids: dict[tuple[str, ...], int] = {}
        self._produced: list[tuple[int, int]] = []

    def add(self, entry: int, found: dict[tuple, dict[str, list[Place]]], seen, bind_) -> None:
        held = [found[feed.path] for feed in self.group.feeds]
        for value in held[self._column]:
            for key in self._by_value.get(value, ()):
                if not all(v in at for v, at in zip(key, held, strict=True)):
                    continue
                if bind_ is None or bind_(self.group, key, held, seen) is not None:
                    self.produce(entry, key)

    def produce(self, entry: int, key: tuple[str, ...]) -> None:
        self._produced.append((entry, self._ids.setdefault(key, len(self._ids))))

    def relation(self, num_sources: int) -> Relation:
        source, key = np.array(self._produced, np.int64).reshape(-1, 2).T
        targets = [
            (id_, target) for values, id_ in self._ids.items() for target in self._targets[values]
        ]
        target_key, target = np.array(targets, np.int64).reshape(-1, 2).T
        key_of_target = np.full(self._num_targets, -1, np.int32)
        key_of_target[target] = target_key
        num_keys = len(self._ids)
        return Relation(
            CSR.of(source, key, num_sources),
            CSR.of(key, source, num_keys),
            CSR.of(target_key, target, num_keys),
            key_of_target,
        )
