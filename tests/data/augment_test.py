"""Augmentation replaces values everywhere at once: every binding still holds."""

from __future__ import annotations

import dataclasses
import json
import random
import re

import pytest

from tests.hotels import SEARCHED
from tooltrain.data.augment import augment
from tooltrain.data.pipeline import gold_views
from tooltrain.env.projection import leaf_values
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.queries import NoFrame
from tooltrain.synthesis.statements import states
from tooltrain.synthesis.wordings import superlatives
from tooltrain.types import Binding, GoldCall, Trace

PIECES = ["a", "er", "lon", "mi", "sto", "u"]
ID = "eyJ1ZmkiOi0xNTg2ODQ0fQ=="
TRACE = Trace(
    "t",
    "booking",
    "w",
    "",
    ("Search_Attraction_Location", "Search_Attractions"),
    (
        GoldCall("Search_Attraction_Location", {"query": "Ottawa"}),
        GoldCall(
            "Search_Attractions",
            {"id": ID, "sortBy": "trending"},
            (0,),
            (Binding("id", 0, ("destinations", 1, "id"), "where(cityName=Ottawa Valley)"),),
        ),
    ),
    ({}, {}),
)
VIEWS = [
    json.dumps(
        {"destinations": [{"id": "x" * 9}, {"id": ID, "cityName": "Ottawa Valley"}, "+3 more"]}
    ),
    "[]",
]


@pytest.mark.parametrize("seed", range(20))
def test_a_worked_trace_changes_alike_everywhere(seed):
    changed, views = augment(TRACE, VIEWS, PIECES, random.Random(seed))
    shown = json.loads(views[0])["destinations"]
    call = changed.calls[1]
    assert call.arguments["id"] == shown[1]["id"] != ID
    assert len(call.arguments["id"]) == len(ID)
    assert call.arguments["sortBy"] == "trending"
    assert call.bindings[0].selector == f"where(cityName={shown[1]['cityName']})"
    assert states(changed.query, shown[1]["cityName"])
    assert states(changed.query, changed.calls[0].arguments["query"])
    assert shown[2] == "+3 more"
    assert (changed.workflow, changed.tools) == (TRACE.workflow, TRACE.tools)


HOTELS = [
    {"hotel_id": 1916051, "name": "Palace Inn", "price": {"amount": 1980.25}},
    {"hotel_id": 1916052, "name": "Park Lodge", "price": {"amount": 1180.5}},
    {"hotel_id": 1916053, "name": "Harbour View", "price": {"amount": 2040.75}},
]
HOTEL_VIEWS = [
    json.dumps({"data": [{"dest_id": "-126693", "search_type": "city"}]}),
    json.dumps({"data": {"hotels": [*HOTELS, "+7 more"]}}),
    "{}",
]


def _chosen(selector: str, at: int) -> Trace:
    """A trace whose last call is about the hotel at a position, told by a selector."""
    calls = (
        *SEARCHED,
        GoldCall(
            "Get_Hotel_Policies",
            {"hotel_id": str(HOTELS[at]["hotel_id"])},
            (1,),
            (Binding("hotel_id", 1, ("data", "hotels", at, "hotel_id"), selector),),
        ),
    )
    return Trace("t", "booking", "w", "", (), calls, ({}, {}, {}))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("variety", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("kind", "best", "at"), [("argmin", min, 1), ("argmax", max, 2)])
def test_the_element_that_a_superlative_tells_stays_the_extreme(kind, best, at, variety, seed):
    trace = _chosen(f"{kind}(price.amount)", at)
    changed, views = augment(trace, HOTEL_VIEWS, PIECES, random.Random(seed), variety=variety)
    shown = json.loads(views[1])["data"]["hotels"]
    prices = [hotel["price"]["amount"] for hotel in shown[:3]]
    assert prices.index(best(prices)) == at
    assert changed.calls[2].bindings == trace.calls[2].bindings
    assert changed.calls[2].arguments["hotel_id"] == str(shown[at]["hotel_id"])
    assert all(
        new["hotel_id"] != old["hotel_id"] for new, old in zip(shown[:3], HOTELS, strict=True)
    )
    assert any(words in changed.query for words in superlatives("amount", kind == "argmax"))


@pytest.mark.parametrize("seed", range(10))
def test_a_position_in_a_list_is_said_whatever_the_variety(seed):
    trace = _chosen("nth(2)", 1)
    for variety in (0.0, 0.5):
        changed, _ = augment(trace, HOTEL_VIEWS, PIECES, random.Random(seed), variety=variety)
        assert "second" in changed.query


def test_a_choice_that_no_grammar_can_say_is_refused():
    """No plain query stands in for it, which would leave the choice out."""
    trace = dataclasses.replace(_chosen("nth(2)", 1), suite="mine")
    with pytest.raises(NoFrame, match="no phrasings for the suite mine"):
        augment(trace, HOTEL_VIEWS, PIECES, random.Random(0))


def test_the_same_seed_changes_alike():
    one = augment(TRACE, VIEWS, PIECES, random.Random(3))
    assert one == augment(TRACE, VIEWS, PIECES, random.Random(3))
    assert one != augment(TRACE, VIEWS, PIECES, random.Random(4))


def test_real_traces_stay_derivable(booking_generated, booking_environment):
    """Bound values stand in their source's view, free ones in the query or the schema."""
    traces = [t for split in booking_generated.splits.values() for t in split][::5]
    played = 0
    for i, trace in enumerate(traces):
        views = gold_views(trace, booking_environment)
        try:
            changed, shown = augment(trace, views, PIECES, random.Random(i))
        except NoFrame:
            continue
        played += 1
        leaves = [{value_text(leaf) for _, leaf in leaf_values(json.loads(v))} for v in shown]
        for call, before in zip(changed.calls, trace.calls, strict=True):
            bound = {binding.argument: binding for binding in call.bindings}
            assert call.arguments.keys() == before.arguments.keys()
            schema = booking_environment.tools[call.name].properties
            for name, value in call.arguments.items():
                assert type(value) is type(before.arguments[name])
                if name in bound:
                    assert value_text(value) in leaves[bound[name].source], (name, value)
                else:
                    default = schema[name].get("default")
                    assert states(changed.query, value) or value == default, (name, value)
        assert not any(name in changed.query for name in booking_environment.tools)
    assert played > len(traces) // 2 > 50


def test_most_values_change_and_shapes_stay(booking_generated, booking_environment):
    changed_values = total = dates = 0
    for i, trace in enumerate(booking_generated.splits["test"][:60]):
        views = gold_views(trace, booking_environment)
        changed, _ = augment(trace, views, PIECES, random.Random(i))
        for call, before in zip(changed.calls, trace.calls, strict=True):
            bound = {binding.argument for binding in call.bindings}
            for name, value in call.arguments.items():
                old, new = value_text(before.arguments[name]), value_text(value)
                if name in bound:
                    total += 1
                    changed_values += old != new
                if old is not None and re.fullmatch(r"\d{4}-\d\d-\d\d", old):
                    dates += 1
                    assert re.fullmatch(r"\d{4}-\d\d-\d\d", new)
    assert changed_values / total > 0.8
    assert dates > 0
