"""Entities that go together stay together, and shares come out as asked."""

from __future__ import annotations

import collections

from hypothesis import given
from hypothesis import strategies as st

from tooltrain.synthesis.splits import Entities, assign


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_joined_names_are_the_connected_components(pairs):
    entities = Entities()
    for pair in pairs:
        entities.join(pair)
    groups = [{i} for i in range(10)]
    for a, b in pairs:
        one = next(g for g in groups if a in g)
        two = next(g for g in groups if b in g)
        if one is not two:
            groups = [g for g in groups if g not in (one, two)] + [one | two]
    for group in groups:
        assert len({entities.find(i) for i in group}) == 1
    assert len({entities.find(i) for i in range(10)}) == len(groups)


def test_joining_nothing_is_nothing():
    entities = Entities()
    entities.join([])
    assert entities.find("a") == "a"


SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}


def test_traces_of_one_entity_come_out_in_the_wanted_shares():
    traces = [frozenset({i}) for i in range(200)]
    home = assign(traces, [1.0] * 200, SHARES, seed=0)
    counts = collections.Counter(home[i] for i in range(200))
    assert {name: round(n / 200, 1) for name, n in counts.items()} == SHARES


def test_few_traces_between_entities_are_lost():
    # Ten cliques: a random split would cut most pairs, a good one none.
    traces = [frozenset({(c, i), (c, j)}) for c in range(10) for i in range(5) for j in range(i)]
    home = assign(traces, [1.0] * len(traces), SHARES, seed=1)
    kept = sum(len({home[e] for e in trace}) == 1 for trace in traces)
    assert kept / len(traces) > 0.8


def test_the_same_seed_gives_the_same_split():
    traces = [frozenset({i, (i * 7) % 30}) for i in range(30)]
    assert assign(traces, [1.0] * 30, SHARES, seed=3) == assign(traces, [1.0] * 30, SHARES, seed=3)
    assert assign(traces, [1.0] * 30, SHARES, seed=3) != assign(traces, [1.0] * 30, SHARES, seed=4)
