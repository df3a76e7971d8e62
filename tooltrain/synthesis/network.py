"""A workflow over a compiled cache as a network of slots and relations, and its fillings.

A filling gives every slot an entry of its tool such that every relation holds. Relations
that lie on a cycle are joined into one table of all the ways to fill their slots; what is
left is a forest of slots and factors (relations and tables), on which

    ways(slot, e) = prod over factors below of sum over compatible (e, children) of
                    prod over children c of ways(c, entry of c)

counts exactly, from the leaves up, in time linear in the arrays.

    workflow     a ─▶ b ─▶ c,  a ─▶ c,  c ─▶ d          (a, b, c lie on a cycle)
    factors      table(a, b, c) ── c ── relation(c, d)
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tooltrain.synthesis.compile import CSR, Compiled, Relation, groups_of
from tooltrain.synthesis.workflow import Workflow, WorkflowError

MAX_ROWS = 2_000_000  # of a table of slots on cycles
# Primes below 2^31: a count is put together from its remainders (Chinese remainder theorem).
_PRIMES = (
    2147483647, 2147483629, 2147483587, 2147483579, 2147483563, 2147483549, 2147483543,
    2147483497, 2147483489, 2147483477, 2147483423, 2147483399, 2147483353, 2147483323,
    2147483269, 2147483249, 2147483237, 2147483179, 2147483171, 2147483137,
)  # fmt: skip
_PRIME_BITS = 30.9


class NoFilling(WorkflowError):
    """Proof that the recorded calls cannot fill a workflow; names the edge to blame."""


class TooManyRows(ValueError):
    """A table of slots on cycles would exceed MAX_ROWS."""


@dataclasses.dataclass(frozen=True)
class Link:
    """A relation between two slots."""

    source: int
    target: int
    relation: Relation

    @property
    def slots(self) -> tuple[int, int]:
        return self.source, self.target


@dataclasses.dataclass(frozen=True)
class Table:
    """All ways to fill slots that lie on cycles together.

    rows: int32 [R, len(slots)], sorted; sizes: entries of each slot's tool.
    """

    slots: tuple[int, ...]
    rows: np.ndarray
    sizes: tuple[int, ...]

    def column(self, slot: int) -> np.ndarray:
        return self.rows[:, self.slots.index(slot)]


Factor = Link | Table


@dataclasses.dataclass(frozen=True)
class Step:
    """A factor as seen from the slot above it."""

    factor: Factor
    parent: int
    children: tuple[int, ...]


class Network:
    """Slots 0..n-1 with live domains, and the forest of factors.

    domains: per slot a bool array over its tool's entries; made arc consistent, so that
    what is False is in no filling. Raises NoFilling where that is proof enough; what asks
    for `factors` may raise it too, or TooManyRows where slots on a cycle have too many
    joint ways.
    """

    def __init__(
        self,
        domains: Sequence[np.ndarray],
        links: Sequence[Link],
        blame: Callable[[Link | int], str],
        max_rows: int = MAX_ROWS,
    ):
        self.links = tuple(links)
        self.domains = [domain.copy() for domain in domains]
        self._blame = blame
        self._prune()
        self._max_rows = max_rows

    @functools.cached_property
    def factors(self) -> list[Factor]:
        """Links that are bridges, and a table for each set of links on common cycles."""
        found: list[Factor] = []
        for block in _blocks(len(self.domains), self.apart):
            slots = sorted({s for link in block for s in link.slots})
            found += block if len(block) == 1 else [self.join(block, slots, self._max_rows)]
        return found

    @property
    def apart(self) -> list[Link]:
        """Links between two slots; one from a slot to itself is in the slot's domain."""
        return [link for link in self.links if link.source != link.target]

    # --- arc consistency ------------------------------------------------------------

    def _prune(self) -> None:
        """Removes entries without a partner over some link until every one has partners."""
        for slot, domain in enumerate(self.domains):
            if not domain.any():
                raise NoFilling(self._blame(slot))
        changed = True
        while changed:
            changed = False
            for link in self.links:
                before = self.domains[link.source].sum() + self.domains[link.target].sum()
                for end in link.slots:
                    parent, child = end, link.source + link.target - end
                    if parent == child:  # two slots merged into one: it must feed itself
                        every = np.arange(len(self.domains[end]))
                        self.domains[end] &= link.relation.holds(every, every)
                    else:
                        ways = up(Step(link, parent, (child,)), {child: self.domains[child]})
                        self.domains[parent] &= ways > 0
                    if not self.domains[end].any():
                        raise NoFilling(self._blame(link))
                after = self.domains[link.source].sum() + self.domains[link.target].sum()
                changed |= bool(after < before)

    # --- tables ---------------------------------------------------------------------

    def join(self, links: Sequence[Link], slots: Sequence[int], max_rows: int) -> Table:
        """All ways to fill `slots` such that `links` hold. Raises TooManyRows past
        `max_rows`, NoFilling with the link that no way survived."""
        start = min(slots, key=lambda s: self.domains[s].sum())
        placed = [start]
        rows = np.flatnonzero(self.domains[start]).astype(np.int32)[:, None]
        while len(placed) < len(slots):
            near = [k for k in links if (k.source in placed) != (k.target in placed)]
            if near:
                link = min(near, key=lambda k: self._spread(k, k.source in placed))
                new = link.target if link.source in placed else link.source
                parent = link.source + link.target - new
                rows = self._extended(rows, placed.index(parent), link, new, max_rows)
            else:  # a part that nothing connects
                link, new = None, min(s for s in slots if s not in placed)
                domain = np.flatnonzero(self.domains[new]).astype(np.int32)
                if len(rows) * len(domain) > max_rows:
                    raise TooManyRows(f"{len(rows)} x {len(domain)} rows")
                rows = np.hstack(
                    [np.repeat(rows, len(domain), 0), np.tile(domain, len(rows))[:, None]]
                )
            placed.append(new)
            others = [k for k in links if new in k.slots and k is not link]
            rows = self._kept(rows, placed, [k for k in others if set(k.slots) <= set(placed)])
        order = [placed.index(slot) for slot in slots]
        rows = rows[:, order]
        sizes = tuple(len(self.domains[slot]) for slot in slots)
        return Table(tuple(slots), rows[np.lexsort(rows.T[::-1])], sizes)

    def _spread(self, link: Link, forward: bool) -> float:
        """Mean partners of an entry over a link, the fewer the sooner it is joined."""
        r = link.relation
        pairs = (np.diff(r.sources.indptr) * np.diff(r.targets.indptr)).sum()
        return pairs / max(1, self.domains[link.source if forward else link.target].sum())

    def _extended(
        self, rows: np.ndarray, column: int, link: Link, new: int, max_rows: int
    ) -> np.ndarray:
        r = link.relation
        if new == link.target:
            at, keys = _expand(r.keys, rows[:, column], max_rows)
            again, entries = _expand(r.targets, keys, max_rows)
            at = at[again]
        else:
            keys = r.key_of_target[rows[:, column]]
            fed = np.flatnonzero(keys >= 0)
            again, entries = _expand(r.sources, keys[fed], max_rows)
            at = fed[again]
        live = self.domains[new][entries]
        return np.hstack([rows[at[live]], entries[live][:, None]])

    def _kept(self, rows: np.ndarray, placed: list[int], links: Sequence[Link]) -> np.ndarray:
        for link in links:
            source, target = placed.index(link.source), placed.index(link.target)
            rows = rows[link.relation.holds(rows[:, source], rows[:, target])]
            if not len(rows):
                raise NoFilling(self._blame(link))
        return rows

    # --- the forest -----------------------------------------------------------------

    @functools.cached_property
    def forest(self) -> tuple[list[int], list[Step]]:
        """Roots, and steps from the roots down."""
        at: dict[int, list[Factor]] = collections.defaultdict(list)
        for factor in self.factors:
            for slot in factor.slots:
                at[slot].append(factor)
        seen: set[int] = set()
        roots, steps = [], []
        for root in range(len(self.domains)):
            if root in seen:
                continue
            roots.append(root)
            seen.add(root)
            frontier, used = collections.deque([root]), set()
            while frontier:
                slot = frontier.popleft()
                for factor in at[slot]:
                    if id(factor) in used:
                        continue
                    used.add(id(factor))
                    children = tuple(s for s in factor.slots if s != slot)
                    steps.append(Step(factor, slot, children))
                    seen.update(children)
                    frontier.extend(children)
        return roots, steps

    def ways(self, modulus: int = 0) -> list[np.ndarray]:
        """Per slot, for each entry the number of ways to fill what hangs below it: float64,
        or int64 remainders where a modulus is given."""
        ways = [d.astype(np.int64 if modulus else np.float64) for d in self.domains]
        for step in reversed(self.forest[1]):
            below = up(step, {c: ways[c] for c in step.children}, modulus)
            ways[step.parent] = ways[step.parent] * below
            if modulus:
                ways[step.parent] %= modulus
        return ways

    @functools.cached_property
    def count(self) -> int:
        """Exact number of fillings, where two slots may hold the same recorded call; 0 where
        tables on cycles leave each other nothing, which arc consistency does not see."""
        ways = self.ways()
        totals = [ways[root].sum() for root in self.forest[0]]
        if not all(totals):
            return 0
        bits = sum(float(np.log2(of_root)) for of_root in totals)
        total, modulus = 0, 1
        for prime in _PRIMES[: 2 + int(bits // _PRIME_BITS)]:
            rest = 1
            remainders = self.ways(prime)
            for root in self.forest[0]:
                rest = rest * (int(remainders[root].sum()) % prime) % prime
            total += modulus * ((rest - total) * pow(modulus, -1, prime) % prime)
            modulus *= prime
        return total


def network_of(workflow: Workflow, compiled: Compiled, max_rows: int = MAX_ROWS) -> Network:
    """The network of a workflow. Raises WorkflowError for a bad workflow, and NoFilling."""
    compiled.prepare([workflow])
    links = [Link(s, t, compiled.relation(g)) for s, t, g in groups_of(workflow)]
    domains = [
        compiled.admitted(tool, frozenset(e.argument for e in workflow.edges if e.target == slot))
        for slot, tool in enumerate(workflow.slots)
    ]
    return Network(domains, links, functools.partial(_blame, workflow), max_rows)


def _blame(workflow: Workflow, at: Link | int) -> str:
    if isinstance(at, int):
        return (
            f"workflow {workflow.id} cannot be filled: no valid call of {workflow.slots[at]} "
            f"(slot {at}) is recorded, or each has an id that a query cannot state and no edge "
            "feeds; record more, add an edge, or leave the tool out"
        )
    edges = [e for e in workflow.edges if (e.source, e.target) == (at.source, at.target)]
    named = " and ".join(workflow.describe(e) for e in edges)
    pairs = len(at.relation.targets)
    why = (
        "no recorded response holds what a recorded call takes"
        if not pairs
        else f"none of its {pairs:,} values fits the calls that the other edges leave"
    )
    return (
        f"workflow {workflow.id} cannot be filled because of the edge {named}: {why}; record "
        "more calls of either tool, or remove the edge"
    )


def up(step: Step, ways: Mapping[int, np.ndarray], modulus: int = 0) -> np.ndarray:
    """Message to the slot above a factor: for each of its entries the sum, over what is
    compatible, of the product of the children's `ways`."""
    factor = step.factor
    if isinstance(factor, Table):
        column = factor.slots.index(step.parent)
        weights = row_weights(factor, step.children, ways, modulus)
        return sums(factor.rows[:, column], weights, factor.sizes[column], modulus)
    r, child = factor.relation, ways[step.children[0]]
    if step.parent == factor.source:
        by_key = row_sums(r.targets, child, modulus)
        return row_sums(r.keys, by_key, modulus)
    by_key = row_sums(r.sources, child, modulus)
    found = np.zeros(len(r.key_of_target), by_key.dtype)
    fed = r.key_of_target >= 0
    found[fed] = by_key[r.key_of_target[fed]]
    return found


def row_weights(
    table: Table, children: Sequence[int], ways: Mapping[int, np.ndarray], modulus: int = 0
) -> np.ndarray:
    """Per row of a table the product of the children's ways."""
    weights = np.ones(len(table.rows), np.int64 if modulus else np.float64)
    for child in children:
        weights = weights * ways[child][table.column(child)]
        if modulus:
            weights %= modulus
    return weights


def row_sums(csr: CSR, values: np.ndarray, modulus: int = 0) -> np.ndarray:
    """Per row of `csr` the sum of the values of its members."""
    return sums(csr.rows, values[csr.indices], len(csr), modulus)


def sums(rows: np.ndarray, values: np.ndarray, num_rows: int, modulus: int) -> np.ndarray:
    # Sums of remainders are exact in float64: 2^22 of them stay below 2^53.
    found = np.bincount(rows, weights=values, minlength=num_rows)
    return found.astype(np.int64) % modulus if modulus else found


def _expand(csr: CSR, rows: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(index into `rows`, member) of every member of every row asked for."""
    lengths = csr.indptr[rows + 1] - csr.indptr[rows]
    total = int(lengths.sum())
    if total > limit:
        raise TooManyRows(f"{total} rows")
    at = np.repeat(np.arange(len(rows)), lengths)
    within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return at, csr.indices[csr.indptr[rows][at] + within]


def _blocks(num_slots: int, links: Sequence[Link]) -> list[list[Link]]:
    """Links by biconnected component: those on a common cycle together, a bridge alone.

    Hopcroft & Tarjan 1973, "Efficient algorithms for graph manipulation".
    """
    near: list[list[Link]] = [[k for k in links if slot in k.slots] for slot in range(num_slots)]
    depth: dict[int, int] = {}
    blocks: list[list[Link]] = []
    stack: list[Link] = []

    def visit(slot: int, came: Link | None) -> int:
        depth[slot] = low = len(depth)
        for link in near[slot]:
            other = link.source + link.target - slot
            if link is came:
                continue
            if other not in depth:
                stack.append(link)
                reach = visit(other, link)
                low = min(low, reach)
                if reach >= depth[slot]:  # nothing below reaches above this slot
                    cut = next(i for i, k in enumerate(stack) if k is link)
                    blocks.append(stack[cut:])
                    del stack[cut:]
            elif depth[other] < depth[slot]:
                stack.append(link)
                low = min(low, depth[other])
        return low

    for slot in range(num_slots):
        if slot not in depth:
            visit(slot, None)
    return blocks
