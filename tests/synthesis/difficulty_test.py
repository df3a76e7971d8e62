"""Difficulty counts what makes a trace hard."""

from __future__ import annotations

from tooltrain.env.cache import Edge
from tooltrain.synthesis.difficulty import difficulty, neighbours
from tooltrain.types import Binding, GoldCall

EDGES = [Edge("a", ("id",), "b", "x", 1), Edge("c", ("id",), "a", "x", 1)]


def test_neighbours_feed_or_are_fed():
    assert neighbours("a", EDGES) == {"b", "c"}
    assert neighbours("b", EDGES) == {"a"}


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
