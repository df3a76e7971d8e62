"""A trace is published only if every argument can be worked out."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tooltrain.env.schema import Tool
from tooltrain.synthesis.derive import at_path, underivable
from tooltrain.types import Binding, GoldCall, Trace

TEXT, NUMBER = {"type": "string"}, {"type": "number", "default": 1}
TOOLS = {
    "find": Tool("find", "", {"properties": {"name": TEXT}, "required": ["name"]}),
    "stay": Tool("stay", "", {"properties": {"dest": TEXT, "adults": NUMBER}, "required": []}),
}
RESPONSE = {"list": [{"id": "aaaa", "name": "Rome"}, {"id": "bbbb", "name": "Roma"}]}


def _trace(dest="bbbb", adults=1, path=("list", 1, "id"), selector="where(name=Roma)") -> Trace:
    stay = GoldCall(
        "stay", {"dest": dest, "adults": adults}, (0,), (Binding("dest", 0, path, selector),)
    )
    query = 'Stay in "Rome" ("Roma").'
    calls = (GoldCall("find", {"name": "Rome"}), stay)
    return Trace("t", "s", "w", query, ("find", "stay"), calls, (RESPONSE, {}))


def test_stated_bound_and_default_arguments_are_derivable():
    assert underivable(_trace(), [json.dumps(RESPONSE), "{}"], TOOLS) == []


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (_trace(adults=2), "not stated: stay.adults"),
        (_trace(dest="cccc"), "another value in the response: stay.dest"),
        (_trace(path=("list", 2, "id")), "not in the response: stay.dest"),
        (_trace(path=("list", "id")), "not in the response: stay.dest"),
        (_trace(selector="where(name=Milan)"), "selector not stated: stay"),
        (dataclasses.replace(_trace(), query='Stay in "Roma".'), "not stated: find.name"),
    ],
)
def test_an_argument_from_nowhere_is_named(trace, reason):
    assert underivable(trace, [json.dumps(RESPONSE), "{}"], TOOLS) == [reason]


def test_a_value_that_the_view_hides_is_not_derivable():
    view = json.dumps({"list": [RESPONSE["list"][0], "+1 more"]})
    assert underivable(_trace(), [view, "{}"], TOOLS) == ["not visible: stay.dest"]


def test_a_path_leads_to_its_leaf():
    assert at_path(RESPONSE, ("list", 1, "name")) == "Roma"
    with pytest.raises(LookupError):
        at_path(RESPONSE, ("list", 5))


HOTELS = {"list": [{"id": "aaaa", "price": 9}, {"id": "bbbb", "price": 7}, {"id": "cccc"}]}


def _chosen(selector: str, words: str, shown: int = 2, index: int = 1) -> list[str]:
    binding = Binding("dest", 0, ("list", index, "id"), selector)
    response = {"list": HOTELS["list"][:2]}
    stay = GoldCall("stay", {"dest": response["list"][index]["id"]}, (0,), (binding,))
    calls = (GoldCall("find", {"name": "Rome"}), stay)
    trace = Trace("t", "s", "w", f"{words} in Rome", ("find",), calls, (response, {}))
    view = {"list": [*response["list"][:shown], *(["+1 more"] if shown < 2 else [])]}
    return underivable(trace, [json.dumps(view), "{}"], TOOLS)


@pytest.mark.parametrize(
    ("selector", "words", "faults"),
    [
        ("argmin(price)", "the cheapest", []),
        ("argmin(price)", "the best", ["selector not stated: stay"]),
        ("argmax(price)", "the cheapest", ["selector not stated: stay"]),
        ("nth(2)", "the second result", []),
        ("nth(2)", "the third result", ["selector not stated: stay"]),
        ("argmin(size)", "the one of lowest size", ["selector not visible: stay"]),
    ],
)
def test_a_selector_is_stated_and_its_field_is_shown(selector, words, faults):
    assert _chosen(selector, words) == faults


def test_the_least_of_a_list_that_is_not_shown_whole_is_not_derivable():
    assert "selector not visible: stay" in _chosen("argmin(price)", "the cheapest", shown=1)
