"""A row's members come by their weights, whatever stands in other rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.synthesis.philox import key_of
from tooltrain.synthesis.segments import Numbers, Segments

_MEMBERS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from([0.0, 1e-6, 1.0, 3.0, 1e12])))


@given(_MEMBERS, st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8))
def test_only_members_of_the_row_that_have_weight_are_picked(members, numbers):
    rows = np.array([row for row, _ in members], int)
    weights = np.array([weight for _, weight in members])
    segments = Segments(rows, np.arange(len(rows)), weights, 6)
    for row in sorted({row for row, weight in members if weight > 0}):
        picked = segments.pick(np.full(len(numbers), row), np.array(numbers))
        assert (rows[picked] == row).all()
        assert (weights[picked] > 0).all()


def test_shares_are_those_of_the_weights():
    rows = np.array([1, 0, 1, 1])
    segments = Segments(rows, np.array([7, 8, 9, 10]), np.array([1.0, 5.0, 2.0, 1.0]), 3)
    u = np.array([0.0, 0.24, 0.26, 0.74, 0.76, 0.999])
    assert segments.pick(np.ones(6, int), u).tolist() == [7, 7, 9, 9, 10, 10]
    assert segments.pick(np.zeros(6, int), u).tolist() == [8] * 6


def test_numbers_of_an_index_are_its_own_and_go_on():
    key = key_of("k")
    one, two = Numbers(key, np.array([5, 9]), 0), Numbers(key, np.array([9]), 0)
    first = [one.next() for _ in range(5)]
    second = [two.next() for _ in range(5)]
    assert [float(n[1]) for n in first] == [float(n[0]) for n in second]
    assert len({float(n[0]) for n in first}) == 5
