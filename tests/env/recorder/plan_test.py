"""Plans: what a user writes is checked when it is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.recorder.plan import Plan, Range, Rows, Together, ToolPlan, Values
from tooltrain.errors import UserError


def test_ranges_hold_what_their_ends_say():
    assert list(Range(1, 4)) == [1, 2, 3, 4]
    assert list(Range(0, 1, 0.1)) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]
    assert list(Range(1, 9, 4)) == [1, 5, 9]
    assert list(Range(1, 8, 4)) == [1, 5]
    assert list(Range("2024-02-27", "2024-03-02", 2)) == ["2024-02-27", "2024-02-29", "2024-03-02"]
    assert list(Range(-0.5, 0.5, 0.5)) == [-0.5, 0.0, 0.5]


@given(st.integers(-1000, 1000), st.integers(0, 300), st.integers(1, 50))
def test_a_range_of_integers_is_pythons_own(low, span, step):
    values = Range(low, low + span, step)
    assert list(values) == list(range(low, low + span + 1, step))
    assert len(values) == len(list(values))


@pytest.mark.parametrize(
    "bad",
    [
        lambda: Range(3, 1),
        lambda: Range(1, 3, 0),
        lambda: Range("2024-01-01", 5),
        lambda: Range("2024-01-01", "2024-13-01"),
        lambda: Range("2024-01-01", "2024-02-01", 0.5),
        lambda: Range(True, 5),
        lambda: Values(()),
        lambda: Values("Paris"),
        lambda: Rows(("a", "b"), ((1,),)),
        lambda: Rows(("a",), ()),
        lambda: Together(("a", "b"), "t", (), (("x",),)),
        lambda: ToolPlan("t", max_requests=0),
        lambda: ToolPlan("t", optional_probability=1.5),
        lambda: Plan((ToolPlan("t"), ToolPlan("t"))),
    ],
)
def test_a_plan_that_cannot_be_meant_is_one_clear_error(bad):
    with pytest.raises(UserError):
        bad()
