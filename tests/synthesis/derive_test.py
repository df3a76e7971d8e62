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
