"""Calls over the budget say so; those within it are nobody's business."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.budget import Budget


def _message(observation) -> str:
    assert observation.kind == "over_budget"
    return observation.content["error"]["message"]


def test_a_turn_has_its_budget_and_the_episode_another():
    budget = Budget(calls_per_turn=2, calls_per_episode=4)
    assert budget.over(0, 1) is budget.over(0, 2) is None
    assert _message(budget.over(0, 3)) == (
        "a turn may make 2 calls, this one was number 3; make it in the next turn"
    )
    assert budget.over(3, 1) is None
    spent = "the episode's 4 calls are spent; answer with what was found"
    assert _message(budget.over(3, 2)) == _message(budget.over(3, 3)) == spent
    assert _message(budget.over(6, 1)) == spent


SIZES = st.none() | st.integers(1, 6)


@given(SIZES, SIZES, st.lists(st.integers(0, 6), max_size=5))
def test_what_is_allowed_is_the_first_calls_of_a_turn_and_of_the_episode(
    per_turn, per_episode, turns
):
    budget = Budget(per_turn, per_episode)
    earlier = 0
    for calls in turns:
        allowed = [budget.over(earlier, number) is None for number in range(1, calls + 1)]
        left = calls if per_episode is None else max(0, per_episode - earlier)
        want = min(calls, left, calls if per_turn is None else per_turn)
        assert allowed == [True] * want + [False] * (calls - want)
        earlier += calls


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (None, -1)])
def test_a_budget_of_nothing_is_an_error(sizes):
    with pytest.raises(ValueError, match="must be at least 1 or None, got"):
        Budget(*sizes)
