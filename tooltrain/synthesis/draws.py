"""Draws: fillings of workflows by index, each a pure function of (cache, workflow, seed, i).

How a workflow is filled is found out once, and is one of

    tree      relations make a forest: exact counting, then top-down draws; uniform
    joined    some lie on cycles and were joined into tables: uniform all the same
    listed    tools repeat and the fillings are few: all of them, listed; uniform
    searched  a table would be too large: backtracking in a random order of the entries;
              every filling can come, the chances are not equal

Rule: no recorded call fills two slots. Counts and draws of the first two go over all
fillings, then a draw that breaks the rule is drawn again, so what is left is uniform over
the fillings that keep it (`distinct_count` counts those). Uniform means: up to the
rounding of float64 sums, about 1e-10 of a probability.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from tooltrain.synthesis import philox
from tooltrain.synthesis.compile import Compiled
from tooltrain.synthesis.network import (
    MAX_ROWS,
    Link,
    Network,
    NoFilling,
    Step,
    Table,
    TooManyRows,
    network_of,
    row_sums,
    row_weights,
)
from tooltrain.synthesis.segments import Numbers, Segments
from tooltrain.synthesis.workflow import Workflow

_LISTED = 65_536  # fillings that are listed where tools repeat
_TRIES = 64  # draws of one index before it is searched for
_PROBES = 1_024  # draws that tell how often the rule is broken
_MAX_MERGES = 1_000  # that distinct_count goes through
# Bell numbers: partitions of that many slots of one tool; 12 calls at most.
_WAYS_TO_MERGE = (1, 1, 2, 5, 15, 52, 203, 877, 4140, 21147, 115975, 678570, 4213597)
_CHOOSE = 0xFFFFFFFF  # the attempt under which a sampler chooses the workflow


class TooHard(ValueError):
    """Neither a filling nor the proof that there is none was found within `max_nodes`."""


class _TopDown(NamedTuple):
    """What a step draws from: rows are entries of the parent, or keys."""

    step: Step
    first: Segments
    second: Segments | None  # key -> targets, where the parent is the source of a relation


class Filler:
    """One workflow over one compiled cache. Raises WorkflowError for a bad workflow and
    NoFilling, with the edge to blame, where the recorded calls cannot fill it.

    max_rows: of tables of joined slots. max_nodes: of a search for a first filling, where
    counting does not say whether there is one; past it TooHard is raised. None: no limit.
    """

    def __init__(
        self,
        workflow: Workflow,
        compiled: Compiled,
        max_rows: int = MAX_ROWS,
        max_nodes: int | None = None,
    ):
        self.workflow, self.compiled = workflow, compiled
        self.network = network_of(workflow, compiled, max_rows)
        self._max_rows, self._max_nodes = max_rows, max_nodes
        self._listed: np.ndarray | None = None
        slots = range(len(workflow.slots))
        self.clashes = [
            (a, b)
            for a, b in itertools.combinations(slots, 2)
            if workflow.slots[a] == workflow.slots[b]
            and (self.network.domains[a] & self.network.domains[b]).any()
        ]
        self.count: int | None = None
        if crowded_tool(workflow, self.network) is not None:
            raise NoFilling(self._broken())
        try:
            self.count = self.network.count
        except TooManyRows:
            self.kind = "searched"
            self._search(np.random.default_rng(0), max_nodes)
            return
        if not self.count:
            raise NoFilling(self._unsearchable())
        joined = any(isinstance(factor, Table) for factor in self.network.factors)
        self.kind = "joined" if joined else "tree"
        self._prepare()
        if self.clashes:
            self._keep_rule()

    def _keep_rule(self) -> None:
        """Lists the fillings that keep the rule, where they are few or often break it.
        Raises NoFilling where all break it."""
        drawn = self._top_down(philox.key_of("probe"), np.arange(_PROBES), 0)
        kept = len(self._keeping(drawn))
        if self.count <= _LISTED or (kept < _PROBES // 2 and self.count <= self._max_rows):
            with contextlib.suppress(TooManyRows):
                slots = tuple(range(len(self.workflow.slots)))
                rows = self.network.join(self.network.apart, slots, self._max_rows).rows
                self._listed, self.kind = self._keeping(rows), "listed"
                if not len(self._listed):
                    raise NoFilling(self._broken())
                return
        if not kept and not self.distinct_count:
            self._search(np.random.default_rng(0), self._max_nodes)  # raises if there is none

    def _broken(self) -> str:
        tools = sorted({self.workflow.slots[a] for a, _ in self.clashes})
        count = "" if self.count is None else f" {self.count:,}"
        return (
            f"workflow {self.workflow.id} cannot be filled: in each of its{count} fillings one "
            f"recorded call of {' or '.join(tools)} fills two slots; record more calls, or take "
            "one of the equal slots out"
        )

    # --- counting -------------------------------------------------------------------

    @functools.cached_property
    def distinct_count(self) -> int | None:
        """Exact number of fillings in which no recorded call fills two slots; None where
        that is not worked out (a searched workflow, or very many equal slots).

        Inclusion and exclusion over the ways to put slots of one tool together: fillings of
        the workflow with blocks of a partition merged, times (-1)^(b-1) (b-1)! a block.
        """
        if self._listed is not None:
            return len(self._listed)
        if self.count is None or not self.clashes:
            return self.count
        slots: dict[str, list[int]] = {}
        for slot in sorted({slot for pair in self.clashes for slot in pair}):
            slots.setdefault(self.workflow.slots[slot], []).append(slot)
        if math.prod(_WAYS_TO_MERGE[min(len(group), 12)] for group in slots.values()) > _MAX_MERGES:
            return None
        try:
            return sum(sign * self._merged_count(place) for place, sign in _merges(slots.values()))
        except TooManyRows:
            return None

    def _merged_count(self, place: Mapping[int, int]) -> int:
        kept = [s for s in range(len(self.workflow.slots)) if place.get(s, s) == s]
        number = {slot: i for i, slot in enumerate(kept)}
        links = [
            Link(number[place.get(k.source, k.source)], number[place.get(k.target, k.target)],
                 k.relation)
            for k in self.network.links
        ]  # fmt: skip
        domains = [self.network.domains[slot].copy() for slot in kept]
        for slot, into in place.items():
            domains[number[into]] &= self.network.domains[slot]
        try:
            return Network(domains, links, lambda _: "", self._max_rows).count
        except NoFilling:
            return 0

    # --- drawing --------------------------------------------------------------------

    def draw(self, key: tuple[int, int], indices: np.ndarray) -> np.ndarray:
        """int32 [n, slots]: per index and slot an entry of the slot's tool. Row r depends on
        the key and indices[r] alone."""
        indices = np.asarray(indices, np.int64)
        if self._listed is not None:
            u = philox.uniforms(key, indices, 0, 0)[:, 0]
            at = (u * len(self._listed)).astype(np.int64)
            return self._listed[np.minimum(at, len(self._listed) - 1)]
        found = np.empty((len(indices), len(self.workflow.slots)), np.int32)
        left = np.arange(len(indices))
        if self.kind != "searched":
            for attempt in range(_TRIES if self.clashes else 1):
                found[left] = self._top_down(key, indices[left], attempt)
                if self.clashes:
                    left = left[self._breaking(found[left])]
                if not self.clashes or not len(left):
                    return found
        for row in left:
            seed = [*key, *divmod(int(indices[row]), 2**32)]
            found[row] = self._search(np.random.default_rng(seed))
        return found

    def _prepare(self) -> None:
        ways = self.network.ways()
        self._roots: list[tuple[int, Segments]] = []
        for root in self.network.forest[0]:
            size = len(ways[root])
            zeros = np.zeros(size, np.int64)
            self._roots.append((root, Segments(zeros, np.arange(size), ways[root], 1)))
        self._steps = [_top_down_step(step, ways) for step in self.network.forest[1]]

    def _top_down(self, key: tuple[int, int], indices: np.ndarray, attempt: int) -> np.ndarray:
        numbers = Numbers(key, indices, attempt)
        found = np.empty((len(self.workflow.slots), len(indices)), np.int32)
        for root, segments in self._roots:
            found[root] = segments.pick(np.zeros(len(indices), np.int64), numbers.next())
        for step, first, second in self._steps:
            parent = found[step.parent]
            if isinstance(step.factor, Table):
                row = first.pick(parent, numbers.next())
                for child in step.children:
                    found[child] = step.factor.column(child)[row]
            elif second is not None:
                found[step.children[0]] = second.pick(
                    first.pick(parent, numbers.next()), numbers.next()
                )
            else:
                key_ = step.factor.relation.key_of_target[parent]
                found[step.children[0]] = first.pick(key_, numbers.next())
        return found.T

    def _breaking(self, rows: np.ndarray) -> np.ndarray:
        """bool per row: does one recorded call fill two slots?"""
        broken = np.zeros(len(rows), bool)
        for a, b in self.clashes:
            broken |= rows[:, a] == rows[:, b]
        return broken

    def _keeping(self, rows: np.ndarray) -> np.ndarray:
        return rows[~self._breaking(rows)]

    # --- searching ------------------------------------------------------------------

    def _search(self, rng: np.random.Generator, max_nodes: int | None = None) -> np.ndarray:
        """A filling by backtracking: the slot with the fewest entries left is filled next,
        its entries tried in random order. Complete: raises NoFilling only where all of them
        were tried."""
        nodes = 0
        equal: dict[int, list[int]] = {slot: [] for slot in range(len(self.workflow.slots))}
        for a, b in self.clashes:
            equal[a].append(b)
            equal[b].append(a)

        def fill(chosen: dict[int, int], live: dict[int, np.ndarray]) -> dict[int, int] | None:
            nonlocal nodes
            if not live:
                return chosen
            nodes += 1
            if max_nodes is not None and nodes > max_nodes:
                raise TooHard(f"workflow {self.workflow.id}: more than {max_nodes} nodes")
            slot = min(live, key=lambda s: np.count_nonzero(live[s]))
            rest = {s: domain for s, domain in live.items() if s != slot}
            for entry in rng.permutation(np.flatnonzero(live[slot])).tolist():
                left = self._left(slot, entry, rest, equal[slot])
                found = left is not None and fill(chosen | {slot: entry}, left)
                if found:
                    return found
            return None

        found = fill({}, dict(enumerate(self.network.domains)))
        if found is None:
            raise NoFilling(self._unsearchable())
        return np.array([found[slot] for slot in range(len(found))], np.int32)

    def _left(
        self, slot: int, entry: int, live: Mapping[int, np.ndarray], equal: Sequence[int]
    ) -> dict[int, np.ndarray] | None:
        """What is left of the other slots' entries once `slot` holds `entry`; None if one
        has none left."""
        left = dict(live)
        for link in self.network.apart:
            other = link.source + link.target - slot
            if slot in link.slots and other in left:
                fits = _targets_of(link, entry) if slot == link.source else _sources_of(link, entry)
                left[other] = left[other] & fits
        for other in equal:
            if other in left and left[other][entry]:
                left[other] = left[other].copy()
                left[other][entry] = False
        return left if all(domain.any() for domain in left.values()) else None

    def _unsearchable(self) -> str:
        if self.count:
            return self._broken()
        cycle = next(k for k in self.network.links if k.source != k.target)
        edges = [
            self.workflow.describe(e)
            for e in self.workflow.edges
            if (e.source, e.target) == (cycle.source, cycle.target)
        ]
        return (
            f"workflow {self.workflow.id} cannot be filled: every edge alone can hold, all "
            f"together cannot, and the first on a cycle is {' and '.join(edges)}; remove an edge"
        )


def crowded_tool(workflow: Workflow, network: Network) -> str | None:
    """A tool with more slots than there are entries left for all of them; None if none."""
    for tool in sorted(set(workflow.slots)):
        domains = [network.domains[s] for s, t in enumerate(workflow.slots) if t == tool]
        if np.logical_or.reduce(domains).sum() < len(domains):
            return tool
    return None


def _top_down_step(step: Step, ways: Sequence[np.ndarray]) -> _TopDown:
    factor = step.factor
    if isinstance(factor, Table):
        parent = factor.column(step.parent)
        weights = row_weights(factor, step.children, dict(enumerate(ways)))
        size = len(ways[step.parent])
        return _TopDown(step, Segments(parent, np.arange(len(parent)), weights, size), None)
    r, child = factor.relation, ways[step.children[0]]
    if step.parent == factor.source:
        by_key = row_sums(r.targets, child)
        keys = Segments(r.keys.rows, r.keys.indices, by_key[r.keys.indices], len(r.keys))
        targets = Segments(r.targets.rows, r.targets.indices, child[r.targets.indices],
                           len(r.targets))  # fmt: skip
        return _TopDown(step, keys, targets)
    sources = Segments(r.sources.rows, r.sources.indices, child[r.sources.indices], len(r.sources))
    return _TopDown(step, sources, None)


def _merges(groups: Iterable[Sequence[int]]) -> Iterator[tuple[dict[int, int], int]]:
    """(slot -> slot that it is merged into, sign and weight) of every way to merge slots."""
    for chosen in itertools.product(*map(_partitions, groups)):
        place, sign = {}, 1
        for block in itertools.chain(*chosen):
            place |= dict.fromkeys(block, block[0])
            for i in range(1, len(block)):
                sign *= -i
        yield place, sign


def _partitions(items: Sequence[int]) -> Iterator[list[list[int]]]:
    if not items:
        yield []
        return
    for smaller in _partitions(items[1:]):
        yield [[items[0]], *smaller]
        for i, block in enumerate(smaller):
            yield [*smaller[:i], [items[0], *block], *smaller[i + 1 :]]


def _sources_of(link: Link, target: int) -> np.ndarray:
    r = link.relation
    found = np.zeros(len(r.keys), bool)
    key = r.key_of_target[target]
    if key >= 0:
        found[r.sources.indices[r.sources.indptr[key] : r.sources.indptr[key + 1]]] = True
    return found


def _targets_of(link: Link, source: int) -> np.ndarray:
    r = link.relation
    found = np.zeros(len(r.key_of_target), bool)
    for key in r.keys.indices[r.keys.indptr[source] : r.keys.indptr[source + 1]]:
        found[r.targets.indices[r.targets.indptr[key] : r.targets.indptr[key + 1]]] = True
    return found


# --- sets of workflows --------------------------------------------------------------


class Batch(NamedTuple):
    """workflow: int32 [n], index into the sampler's workflows; entries: int32 [n, S], per
    slot an entry of its tool, -1 past the workflow's last slot."""

    workflow: np.ndarray
    entries: np.ndarray


class Sampler:
    """Fillings of a set of workflows by index.

    weights: how often each workflow is chosen, relative to the others; equal by default.
    Filling i depends on the cache's digest, the compiled projection, the workflows with
    their weights, the seed and i; not on what was drawn before, nor on batches.
    Raises NoFilling for the first workflow that cannot be filled.
    """

    def __init__(
        self,
        workflows: Sequence[Workflow],
        compiled: Compiled,
        *,
        seed: int,
        weights: Sequence[float] | None = None,
    ):
        if not workflows:
            raise ValueError("a sampler needs at least one workflow")
        weights = [1.0] * len(workflows) if weights is None else list(weights)
        if len(weights) != len(workflows) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(
                f"weights must be one number >= 0 a workflow, not all 0; got {len(weights)} for "
                f"{len(workflows)} workflows"
            )
        compiled.prepare(workflows)
        self.workflows = tuple(workflows)
        self.fillers = [Filler(workflow, compiled) for workflow in workflows]
        ids = [workflow.id for workflow in workflows]
        self._key = philox.key_of(compiled.digest, seed, *ids, *map(repr, weights))
        self._cumulative = np.cumsum(weights) / sum(weights)
        self.width = max(len(workflow.slots) for workflow in workflows)

    def draw(self, indices: Sequence[int] | np.ndarray) -> Batch:
        """Fillings of these indices (each in [0, 2^63)), in their order."""
        indices = np.asarray(indices, np.int64)
        u = philox.uniforms(self._key, indices, _CHOOSE, 0)[:, 0]
        chosen = np.searchsorted(self._cumulative, u, side="right")
        chosen = np.minimum(chosen, len(self.workflows) - 1).astype(np.int32)
        entries = np.full((len(indices), self.width), -1, np.int32)
        order = np.argsort(chosen, kind="stable")
        starts = np.searchsorted(chosen[order], np.arange(len(self.workflows) + 1))
        for workflow in np.unique(chosen):
            rows = order[starts[workflow] : starts[workflow + 1]]
            filler = self.fillers[workflow]
            found = filler.draw(self._key, indices[rows])
            entries[rows, : found.shape[1]] = found
        return Batch(chosen, entries)

    def filling(self, index: int) -> tuple[Workflow, tuple[int, ...]]:
        """One filling: the workflow and, per slot, an entry of its tool."""
        batch = self.draw([index])
        workflow = self.workflows[int(batch.workflow[0])]
        return workflow, tuple(map(int, batch.entries[0, : len(workflow.slots)]))
