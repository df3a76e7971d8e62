"""Splits that share no entity: no name, no response id and no call of one in another.

An entity is everything that goes by connected names: a place, the ids that its look-up
returned, the slugs of its attractions. A trace may touch several entities; it is kept if
all of them are in one split. Which split an entity goes to is chosen by hill climbing on
sum_s share_s * log(kept traces in s), so that few traces are lost.
"""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Iterable, Mapping, Sequence

_PASSES = 6  # of the hill climbing over all entities


class Entities:
    """Union-find over names and ids."""

    def __init__(self):
        self._parent: dict[Hashable, Hashable] = {}

    def find(self, item: Hashable) -> Hashable:
        self._parent.setdefault(item, item)
        root = item
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[item] != root:
            self._parent[item], item = root, self._parent[item]
        return root

    def join(self, items: Iterable[Hashable]) -> None:
        items = iter(items)
        first = next(items, None)
        for item in items:
            a, b = self.find(first), self.find(item)
            if a != b:
                self._parent[b] = a


def assign(
    traces: Sequence[frozenset[Hashable]],
    weights: Sequence[float],
    shares: Mapping[str, float],
    *,
    seed: int,
) -> dict[Hashable, str]:
    """Split of each entity; traces holds the entities of each trace.

    weights: how much keeping a trace is worth (so that a workflow with many fillings
    does not decide alone). shares: wanted share of kept traces by split, summing to 1.
    """
    rng = random.Random(seed)
    names = list(shares)
    entities = sorted({e for t in traces for e in t}, key=repr)
    uses: dict[Hashable, list[int]] = {entity: [] for entity in entities}
    for i, trace in enumerate(traces):
        for entity in trace:
            uses[entity].append(i)
    split = {e: rng.choices(names, [shares[n] for n in names])[0] for e in entities}

    def home(i: int) -> str | None:
        homes = {split[e] for e in traces[i]}
        return homes.pop() if len(homes) == 1 else None

    kept = dict.fromkeys(names, 1e-09)
    for i in range(len(traces)):
        if name := home(i):
            kept[name] += weights[i]

    def value(totals: Mapping[str, float]) -> float:
        return sum(shares[name] * math.log(max(totals[name], 1e-9)) for name in names)

    for _ in range(_PASSES):
        rng.shuffle(entities)
        for entity in entities:
            before = split[entity]
            base = dict(kept)
            for i in uses[entity]:
                if name := home(i):
                    base[name] -= weights[i]
            best = (-math.inf, before, base)
            for name in sorted(names, key=lambda n: n != before):  # ties stay
                split[entity] = name
                totals = dict(base)
                for i in uses[entity]:
                    if at := home(i):
                        totals[at] += weights[i]
                if value(totals) > best[0]:
                    best = (value(totals), name, totals)
            split[entity], kept = best[1], best[2]
    return split
