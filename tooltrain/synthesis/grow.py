"""Workflows grown from the tool graph, beyond those that samples show.

A workflow is grown level by level. A slot's tool must be able to stand there: every
argument whose values a person does not say (ids, coordinates, tokens) is fed by a bundle of
edges from an earlier slot, one of them on the level just before. A bundle holds edges that
belong together: a latitude and a longitude from one element; `fromId` and `toId`, which
read the same field, are two bundles and may come from two slots. What cannot be filled is
dropped as soon as it stands, so every workflow that comes out can be filled.

    wanted: calls 4, depth 3, width 2
    level 0   Search_Flight_Location   Search_Flight_Location
    level 1   Search_Flights  (fromId from the one, toId from the other)
    level 2   Get_Flight_Details
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Iterator, Sequence

from tooltrain.env.cache import Edge
from tooltrain.env.projection import Path, estimate_tokens
from tooltrain.synthesis.bindings import SELECTORS, Feed
from tooltrain.synthesis.compile import Compiled, groups_of
from tooltrain.synthesis.draws import Filler, TooHard, crowded_tool
from tooltrain.synthesis.graph import tool_graph
from tooltrain.synthesis.network import NoFilling, network_of
from tooltrain.synthesis.workflow import (
    MAX_CALLS,
    MIN_CALLS,
    SlotEdge,
    Workflow,
    WorkflowError,
    canonical,
)

_NEEDED_SHARE = 0.5  # of a tool's calls: an argument unsayable in more of them must be fed
_TRIES = 60  # shapes tried for one workflow
_NODES = 120  # slots tried for one shape, and steps of a search for its first filling
_SAMPLED = 20  # responses whose views tell a tool's size


@dataclasses.dataclass(frozen=True)
class Controls:
    """What a grown workflow must be; None leaves it free.

    calls: 2 to 12. depth: levels, 1 to calls. width: calls of the widest level. repeated:
    calls beyond the first of their tool. selected: slot pairs whose element must be told by
    one of `kinds`, which leaves out "first". max_response_tokens: of all views together, by
    the mean view of each tool.
    """

    calls: int = 4
    depth: int | None = None
    width: int | None = None
    repeated: int | None = None
    selected: int = 0
    kinds: tuple[str, ...] = ("where", "argmin", "argmax", "nth")
    max_response_tokens: int | None = None

    def __post_init__(self):
        if not MIN_CALLS <= self.calls <= MAX_CALLS:
            raise WorkflowError(f"calls must be {MIN_CALLS} to {MAX_CALLS}, got {self.calls}")
        if not set(self.kinds) <= set(SELECTORS) - {"first"}:
            raise WorkflowError(f"kinds must be of {SELECTORS[1:]}, got {self.kinds}")
        depth, width = self.depth or 1, self.width or 1
        fits = depth + width - 1 <= self.calls
        if self.depth is not None and self.width is not None:
            fits = fits and self.calls <= depth * width
        if depth < 1 or width < 1 or not fits:
            raise WorkflowError(
                f"{self.calls} calls cannot have depth {self.depth} and width {self.width}: "
                "depth + width - 1 <= calls <= depth x width"
            )
        if not 0 <= (self.repeated or 0) < self.calls or self.selected < 0:
            raise WorkflowError(
                f"repeated must be 0 to calls - 1 and selected at least 0, got {self.repeated} "
                f"and {self.selected}"
            )


@dataclasses.dataclass(frozen=True)
class Bundle:
    """Edges of one tool from one call of another that belong together."""

    source: str
    feeds: tuple[Feed, ...]

    @property
    def arguments(self) -> frozenset[str]:
        return frozenset(feed.argument for feed in self.feeds)


class Grower:
    """Grows workflows over one compiled cache, from `edges` or the cache's own tool graph."""

    def __init__(self, compiled: Compiled, edges: Sequence[Edge] | None = None):
        self.compiled = compiled
        self._tools = [tool for tool in sorted(compiled.tools) if compiled.arguments(tool)]
        self.edges = tuple(
            edge
            for edge in (tool_graph(compiled.cache) if edges is None else edges)
            if edge.source in self._tools
            and edge.target in self._tools
            and edge.argument in compiled.tools[edge.target].properties
        )
        self.bundles = bundles(self.edges)
        self._sources = {bundle.source for made in self.bundles.values() for bundle in made}
        self._needs = {tool: self._needed(tool) for tool in self._tools}
        self._tokens: dict[str, float] = {}

    def _needed(self, tool: str) -> frozenset[str]:
        """Arguments of a tool that must be fed: a person would not say their values."""
        counts = collections.Counter(itertools.chain(*self.compiled.unsayable(tool)))
        least = _NEEDED_SHARE * len(self.compiled.arguments(tool))
        return frozenset(name for name, count in counts.items() if count > least)

    def view_tokens(self, tool: str) -> float:
        """Mean tokens of a tool's views, over its first recorded calls."""
        if tool not in self._tokens:
            count = min(_SAMPLED, len(self.compiled.arguments(tool)))
            texts = [self.compiled.shown(tool, i).text for i in range(count)]
            self._tokens[tool] = sum(map(estimate_tokens, texts)) / max(1, count)
        return self._tokens[tool]

    def grow(self, controls: Controls, *, seed: int, count: int) -> list[Workflow]:
        """Up to `count` different workflows, every one of them fillable; the same for the
        same cache, edges, controls and seed. Raises WorkflowError if there is none."""
        found: dict[Workflow, None] = {}
        barren = 0
        for i in range(count * _TRIES):
            workflow = self._one(controls, random.Random(f"{seed}/{i}"))
            barren = 0 if workflow is not None and workflow not in found else barren + 1
            if workflow is not None:
                found[workflow] = None
            if len(found) == count or barren == _TRIES:
                break
        if not found:
            raise WorkflowError(
                f"no workflow of {controls} could be grown from {len(self.edges)} edges in "
                f"{_TRIES} tries; ask for less depth, width or repetition"
            )
        return list(found)

    def _one(self, controls: Controls, rng: random.Random) -> Workflow | None:
        levels = _shape(controls, rng)
        nodes = 0

        def extend(slots: list[str], edges: list[SlotEdge]) -> Workflow | None:
            nonlocal nodes
            at = len(slots)
            if at == len(levels):
                return self._selected(canonical(slots, edges), controls, rng)
            for tool, added in self._choices(slots, edges, levels, controls, rng):
                nodes += 1
                if nodes > _NODES:
                    return None
                more = [*edges, *(dataclasses.replace(edge, target=at) for edge in added)]
                if self._may_fill(Workflow((*slots, tool), tuple(sorted(more)))):
                    workflow = extend([*slots, tool], more)
                    if workflow is not None:
                        return workflow
            return None

        return extend([], [])

    def _may_fill(self, workflow: Workflow) -> bool:
        """False where arc consistency, or counting entries, proves that nothing fills it."""
        try:
            network = network_of(workflow, self.compiled)
        except NoFilling:
            return False
        return crowded_tool(workflow, network) is None

    def _fills(self, workflow: Workflow) -> bool:
        try:
            Filler(workflow, self.compiled, max_nodes=_NODES)
        except (NoFilling, TooHard):
            return False
        return True

    def _choices(
        self,
        slots: list[str],
        edges: list[SlotEdge],
        levels: list[int],
        controls: Controls,
        rng: random.Random,
    ) -> Iterator[tuple[str, list[SlotEdge]]]:
        """(tool, its edges) that could stand next, in random order."""
        at = len(slots)
        placed = {s: levels[s] for s in range(at) if levels[s] < levels[at]}
        tools = self._tools[:]
        rng.shuffle(tools)
        repeats = at - len(set(slots))
        for tool in tools:
            if controls.repeated is not None:
                missing = controls.repeated - repeats
                # As many of the slots left must repeat as are missing, and no more may.
                if (tool in slots and missing <= 0) or (
                    tool not in slots and missing >= len(levels) - at and at
                ):
                    continue
            if controls.max_response_tokens is not None:
                total = sum(map(self.view_tokens, [*slots, tool]))
                if total > controls.max_response_tokens:
                    continue
            if levels[at] == 0:
                # Below a first level with nothing to give there could be no second.
                if not self._needs[tool] and (levels[-1] == 0 or tool in self._sources):
                    yield tool, []
                continue
            used = {edge.source for edge in edges}
            added = self._fed(tool, slots, placed, used, levels[at] - 1, rng)
            if added is not None:
                yield tool, added

    def _fed(
        self,
        tool: str,
        slots: Sequence[str],
        placed: dict[int, int],
        used: set[int],
        above: int,
        rng: random.Random,
    ) -> list[SlotEdge] | None:
        """Edges that feed what the tool needs, one at least from level `above`."""
        able = [
            (bundle, slot)
            for bundle in self.bundles.get(tool, ())
            for slot in placed
            if slots[slot] == bundle.source
        ]
        # Slots that feed nothing yet first: what nothing needs is a task apart.
        rng.shuffle(able)
        able.sort(key=lambda way: way[1] in used)
        chosen: list[tuple[Bundle, int]] = []
        needed, fed = set(self._needs[tool]), set()
        first = next(((b, s) for b, s in able if placed[s] == above), None)
        if first is None:
            return None
        for bundle, slot in [first, *able]:
            useful = not chosen or bundle.arguments & needed
            if useful and not bundle.arguments & fed:
                taken = {s for b, s in chosen if b.source == bundle.source}
                if slot in taken and _alike(bundle, [b for b, s in chosen if s == slot]):
                    continue
                chosen.append((bundle, slot))
                fed |= bundle.arguments
                needed -= bundle.arguments
        if needed:
            return None
        return [
            SlotEdge(-1, feed.argument, slot, feed.path)
            for bundle, slot in chosen
            for feed in bundle.feeds
        ]

    def _selected(
        self, workflow: Workflow, controls: Controls, rng: random.Random
    ) -> Workflow | None:
        """The workflow with `controls.selected` of its slot pairs told by a selector."""
        pairs = groups_of(workflow)
        rng.shuffle(pairs)
        wanted = controls.selected
        for source, target, group in pairs:
            if not wanted:
                break
            options = [s for s in self.compiled.selectors(group) if _kind(s) in controls.kinds]
            rng.shuffle(options)
            for selector in options:
                edges = [
                    dataclasses.replace(e, selector=selector)
                    if (e.source, e.target) == (source, target) and "[]" in e.path
                    else e
                    for e in workflow.edges
                ]
                tried = Workflow(workflow.slots, tuple(sorted(edges)))
                if self._may_fill(tried):
                    workflow, wanted = tried, wanted - 1
                    break
        workflow = canonical(workflow.slots, workflow.edges)
        return workflow if not wanted and self._fills(workflow) else None


def _kind(selector: str) -> str:
    return selector.partition("(")[0]


def _alike(bundle: Bundle, others: Sequence[Bundle]) -> bool:
    """Does the bundle read the same fields as one of the others? One place is no journey."""
    paths = {feed.path for feed in bundle.feeds}
    return any(paths == {feed.path for feed in other.feeds} for other in others)


def bundles(edges: Sequence[Edge]) -> dict[str, tuple[Bundle, ...]]:
    """Bundles by the tool that they feed.

    Edges from one list of one tool's response belong together, the k-th that reads a field
    with the k-th of every other field, in the order of the arguments' names. What is read
    at the response's root (a search key) goes with every bundle of that source.
    """
    best: dict[tuple[str, str, str], Edge] = {}
    for edge in sorted(edges, key=lambda e: (e.count, [-len(e.path)], e.path)):
        best[edge.target, edge.source, edge.argument] = edge
    by_pair: dict[tuple[str, str], list[Edge]] = collections.defaultdict(list)
    for edge in best.values():
        by_pair[edge.target, edge.source].append(edge)
    found: dict[str, list[Bundle]] = collections.defaultdict(list)
    for (target, source), fed in sorted(by_pair.items()):
        lists: dict[Path, dict[Path, list[Edge]]] = collections.defaultdict(dict)
        for edge in sorted(fed, key=lambda e: e.argument):
            depth = max((i + 1 for i, step in enumerate(edge.path) if step == "[]"), default=0)
            lists[edge.path[:depth]].setdefault(edge.path, []).append(edge)
        root = [edges[0] for edges in lists.pop((), {}).values()]
        made = []
        for fields in lists.values():
            for k in range(max(map(len, fields.values()))):
                made.append([edges[k] for edges in fields.values() if k < len(edges)] + root)
        for group in made or [[edge] for edge in root]:
            feeds = tuple(sorted(Feed(edge.argument, edge.path) for edge in group))
            found[target].append(Bundle(source, feeds))
    return {target: tuple(made) for target, made in found.items()}


def _shape(controls: Controls, rng: random.Random) -> list[int]:
    """Level of each slot, ascending, with the depth and width that are wanted."""
    while True:
        deepest = controls.calls - (controls.width or 1) + 1
        depth = controls.depth or rng.randint(min(2, deepest), deepest)
        sizes = [1] * depth
        limit = controls.width or controls.calls
        left = controls.calls - depth
        if controls.width is not None:
            widest = rng.randrange(depth)
            left -= controls.width - 1
            sizes[widest] = controls.width
        if left < 0 or left > sum(limit - size for size in sizes):
            continue
        while left:
            level = rng.randrange(depth)
            if sizes[level] < limit:
                sizes[level] += 1
                left -= 1
        return [level for level, size in enumerate(sizes) for _ in range(size)]
