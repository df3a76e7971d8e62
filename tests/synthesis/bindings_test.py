"""Bindings share an element where they can, and selectors tell it from its siblings."""

from __future__ import annotations

import pytest

from tooltrain.synthesis.bindings import Bound, Feed, Seen, bind, explanations, places

HOTELS = {
    "hotels": [
        {"name": "Inn", "id": 11, "price": {"amount": 90}, "lat": 1.5, "rating": 8},
        {"name": "Palace", "id": 12, "price": {"amount": 400}, "lat": 2.5, "rating": 9},
        {"name": "Inn", "id": 13, "price": {"amount": 60}, "lat": 3.5, "rating": 9},
        {"name": "Lodge", "id": 14, "price": {"amount": 70}, "lat": 4.5, "rating": 7},
    ],
    "key": "abcdef",
}
ID, LAT, KEY = ("hotels", "[]", "id"), ("hotels", "[]", "lat"), ("key",)


def _seen(view=HOTELS) -> Seen:
    return Seen(HOTELS, view)


def _bind(feeds, values, seen=None, **kwargs):
    seen = seen or _seen()
    found = [places(seen, feed.path) for feed in feeds]
    return bind(feeds, values, found, seen, **({"kinds": None, "together": True} | kwargs))


@pytest.mark.parametrize(
    ("at", "wanted"),
    [
        (0, ["first"]),
        (1, ["where(name=Palace)", "argmax(price.amount)", "nth(2)"]),
        (2, ["argmin(price.amount)", "nth(3)"]),
        (3, ["where(name=Lodge)", "argmin(rating)"]),
    ],
)
def test_explanations_are_what_a_person_could_say(at, wanted):
    assert list(explanations(("hotels", at, "id"), _seen())) == wanted


def test_a_tie_is_no_extreme_and_an_id_no_measure():
    found = list(explanations(("hotels", 1, "id"), _seen()))
    assert "argmax(rating)" not in found
    assert not any("id" in selector or "lat" in selector for selector in found)


def test_a_field_that_the_view_does_not_show_explains_nothing():
    view = {
        "hotels": [{"name": h["name"], "id": h["id"]} for h in HOTELS["hotels"][:2]] + ["+2 more"]
    }
    assert list(explanations(("hotels", 1, "id"), _seen(view))) == ["where(name=Palace)", "nth(2)"]
    view = {"hotels": [{"id": 11}, {"id": 12, "price": {"amount": 400}}, "+2 more"]}
    # The other element's price is hidden: that this one is the dearest cannot be checked.
    assert list(explanations(("hotels", 1, "id"), _seen(view))) == ["nth(2)"]


def test_an_element_beyond_an_outer_second_is_not_explained():
    nested = {"groups": [{"items": [{"id": 1}]}, {"items": [{"id": 2}]}]}
    assert list(explanations(("groups", 1, "items", 0, "id"), Seen(nested, nested))) == []


def test_edges_through_one_list_share_its_element():
    feeds = [Feed("id", ID), Feed("lat", LAT), Feed("key", KEY)]
    assert _bind(feeds, ["12", "2.5", "abcdef"]) == (
        Bound("id", ("hotels", 1, "id"), "where(name=Palace)"),
        Bound("lat", ("hotels", 1, "lat"), "where(name=Palace)"),
        Bound("key", ("key",), ""),
    )
    assert _bind(feeds, ["12", "1.5", "abcdef"]) is None
    apart = _bind(feeds, ["12", "1.5", "abcdef"], together=False)
    assert [bound.place for bound in apart] == [("hotels", 1, "id"), ("hotels", 0, "lat"), ("key",)]


def test_only_visible_values_with_allowed_selectors_bind():
    view = {"hotels": [{"id": 11}, {"id": 12}, "+2 more"], "key": "<6 characters>"}
    assert _bind([Feed("id", ID)], ["13"], _seen(view)) is None
    assert _bind([Feed("key", KEY)], ["abcdef"], _seen(view)) is None
    assert _bind([Feed("id", ID)], ["12"], _seen(view), kinds=("first", "where")) is None
    (bound,) = _bind([Feed("id", ID)], ["12"], _seen(view), kinds=("first", "nth"))
    assert bound.selector == "nth(2)"


@pytest.mark.parametrize(
    ("selector", "value", "told"),
    [
        ("first", "11", "first"),
        ("first", "12", None),
        ("where", "14", "where(name=Lodge)"),
        ("where", "13", None),
        ("argmin(price.amount)", "13", "argmin(price.amount)"),
        ("argmin(price.amount)", "11", None),
        ("nth(3)", "13", "nth(3)"),
    ],
)
def test_a_wanted_selector_narrows_what_binds(selector, value, told):
    found = _bind([Feed("id", ID, selector)], [value])
    assert (found and found[0].selector) == told
