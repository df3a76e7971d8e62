"""Distractors come in the wanted number and nearness; difficulty counts them."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.cache import Edge
from tooltrain.synthesis.difficulty import difficulty, neighbours
from tooltrain.synthesis.distractors import offered
from tooltrain.types import Binding, GoldCall

EDGES = [Edge("a", ("id",), "b", "x", 1), Edge("c", ("id",), "a", "x", 1)]
TOOLS = "abcdefg"


def test_neighbours_feed_or_are_fed():
    assert neighbours("a", EDGES) == {"b", "c"}
    assert neighbours("b", EDGES) == {"a"}


@given(st.integers(0, 8), st.floats(0, 1), st.integers(0, 5))
def test_as_many_as_there_are_and_as_near_as_wanted(count, nearness, seed):
    rng = random.Random(seed)
    found = offered("a", TOOLS, EDGES, distractors=count, nearness=nearness, rng=rng)
    others = set(found) - {"a"}
    assert "a" in found
    assert len(found) == len(set(found))
    assert len(others) == min(count, 6)
    wanted = round(count * nearness)
    assert len(others & {"b", "c"}) == max(min(wanted, 2), min(count, 6) - 4)


@pytest.mark.parametrize(("count", "nearness"), [(-1, 0.5), (2, 1.5)])
def test_what_cannot_be_is_an_error(count, nearness):
    with pytest.raises(ValueError, match="nearness must be in"):
        offered("a", TOOLS, EDGES, distractors=count, nearness=nearness, rng=random.Random(0))


def test_difficulty_of_a_worked_trace():
    calls = (
        GoldCall("c", {"x": 1}),
        GoldCall("a", {"x": 2}, (0,), (Binding("x", 0, ("list", 1, "id"), "argmin(price)"),)),
        GoldCall("a", {"x": 3}, (0,), (Binding("x", 0, ("list", 0, "id"), "first"),)),
    )
    assert difficulty(calls, ['{"id": 12}', "{}", "{}"], "abcde", EDGES) == {
        "calls": 3,
        "depth": 2,
        "width": 2,
        "repeated": 1,
        "bindings": 2,
        "selectors": 1,
        "tools": 5,
        "distractors": 3,
        "nearness": 1 / 3,
        "response_tokens": 9,  # {" id ": space 1 2 }, and one for each {}
    }
