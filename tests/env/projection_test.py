"""Views: valid JSON, within the budget, a function of the tool and the response alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.environment import Environment
from tooltrain.env.projection import Projection, estimate_tokens, generic, leaf_values

PLACES = {
    "status": "ok",
    "data": [
        {"id": f"L{i}", "name": f"Place {i}", "photo": "https://example.org/" * 9, "geo": {"x": i}}
        for i in range(20)
    ],
}
KEEP = {"find": frozenset({("data", "[]", "id")})}


def test_a_worked_view():
    view = Projection(max_tokens=60, max_items=2, max_value_chars=64, keep=KEEP)("find", PLACES)
    assert json.loads(view) == {
        "status": "ok",
        "data": [{"id": "L0", "name": "Place 0"}, {"id": "L1", "name": "Place 1"}, "+18 more"],
    }


def test_fields_that_edges_read_come_first():
    view = Projection(max_tokens=30, max_items=2, max_value_chars=64, keep=KEEP)("find", PLACES)
    assert json.loads(view) == {"data": [{"id": "L0"}, {"id": "L1"}, "+18 more"]}


def test_fewer_items_are_shown_rather_than_a_kept_field_dropped():
    view = Projection(max_tokens=21, max_items=5, max_value_chars=64, keep=KEEP)("find", PLACES)
    assert json.loads(view) == {"data": [{"id": "L0"}, "+19 more"]}


def test_a_long_text_is_shown_by_its_length():
    view = Projection(max_tokens=80, max_items=1, max_value_chars=10)("find", {"text": "x" * 11})
    assert json.loads(view) == {"text": "<11 characters>"}


@pytest.mark.parametrize("size", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_a_size_below_1_is_an_error(size):
    with pytest.raises(ValueError, match="must be at least 1, got"):
        Projection(*size)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-999, 999) | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.sampled_from(["id", "name", "a", "é"]), inner, max_size=4)
    ),
    max_leaves=30,
)
_paths = st.lists(st.sampled_from(["[]", "id", "name", "a"]), max_size=3).map(tuple)


@given(_json, st.integers(16, 80), st.integers(1, 4), st.frozensets(_paths, max_size=3))
def test_a_view_is_valid_json_within_the_budget(response, budget, items, keep):
    projection = Projection(budget, items, 20, {"find": keep})
    text = projection("find", response)
    json.loads(text)
    assert estimate_tokens(text) <= budget
    assert text == projection("find", json.loads(json.dumps(response)))


def test_half_of_a_surrogate_pair_in_a_response_is_shown_as_a_question_mark():
    view = Projection(60, 2, 64)("find", {"text": "a\ud800b", "\udc00": 1})
    assert view == '{"text": "a?b", "?": 1}'


@given(_json, st.frozensets(_paths, max_size=3))
def test_with_budget_enough_only_lists_are_cut(response, keep):
    assert json.loads(Projection(10**6, 100, 100, {"t": keep})("t", response)) == response


@given(_json)
def test_leaf_values_lead_to_the_leaves(response):
    for path, leaf in leaf_values(response):
        at = response
        for step in path:
            at = at[step]
        assert at is leaf
        assert not isinstance(at, dict | list)


def test_list_positions_are_generic():
    assert generic(("data", 0, "rooms", 2, "id")) == ("data", "[]", "rooms", "[]", "id")


def test_booking_views_are_within_the_budget_and_name_the_rest_of_lists(
    booking_environment: Environment,
):
    projection = booking_environment.projection
    seen = cut = 0
    for name in booking_environment.tools:
        for i, (_, response) in enumerate(booking_environment.cache.entries(name)):
            if i % 7:
                continue
            view = projection(name, response)
            shown = json.loads(view)
            seen += 1
            assert projection.count_tokens(view) <= projection.max_tokens
            if isinstance(response, list) and len(response) > projection.max_items:
                cut += 1
                rest = len(response) - len(shown) + 1
                assert shown[-1] == f"+{rest} more"
    assert seen > 500
    assert cut > 30
