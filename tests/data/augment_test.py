"""Augmentation replaces values everywhere at once: every binding still holds."""

from __future__ import annotations

import json
import random
import re

import pytest

from tooltrain.data.augment import augment
from tooltrain.data.pipeline import gold_views
from tooltrain.env.projection import leaf_values
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.queries import NoFrame
from tooltrain.synthesis.statements import states
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
    changed_values = total = 0
    for i, trace in enumerate(booking_generated.splits["test"][:60]):
        views = gold_views(trace, booking_environment)
        changed, _ = augment(trace, views, PIECES, random.Random(i))
        for call, before in zip(changed.calls, trace.calls, strict=True):
            for binding in call.bindings:
                old = value_text(before.arguments[binding.argument])
                new = value_text(call.arguments[binding.argument])
                total += 1
                changed_values += old != new
                if re.fullmatch(r"\d{4}-\d\d-\d\d", old):
                    assert re.fullmatch(r"\d{4}-\d\d-\d\d", new)
    assert changed_values / total > 0.8
