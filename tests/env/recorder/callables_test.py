"""Functions become tools by their signatures."""

from __future__ import annotations

import datetime
import enum
from typing import Literal

import pytest

from tooltrain.env.cache import CacheWriter
from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.recorder.callables import Callables, described
from tooltrain.env.recorder.schema_plan import plan_from_schemas
from tooltrain.errors import UserError


def route(
    start: str,
    via: list[int],
    mode: Literal["car", "foot"],
    miles: float | None = None,
    fast: bool = True,
) -> dict:
    """A route.

    Of roads.
    """
    return {"start": start, "via": via, "mode": mode, "fast": fast, "miles": miles}


def test_a_signature_is_a_schema():
    tool, function = described(route)
    assert (tool.name, tool.description) == ("route", "A route.\n\nOf roads.")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "start": {"type": "string"},
            "via": {"type": "array", "items": {"type": "integer"}},
            "mode": {"enum": ["car", "foot"]},
            "miles": {"type": "number"},
            "fast": {"type": "boolean", "default": True},
        },
        "required": ["start", "via", "mode"],
    }
    arguments = {"start": "a", "via": [1], "mode": "car"}
    assert tool.validate(arguments) == []
    assert Callables([(tool, function)]).call("route", arguments)["fast"] is True


def test_an_exception_is_a_failure_of_the_tool():
    def fails(x: int) -> dict:
        return {"y": 1 / x}

    with pytest.raises(ToolFailure, match="ZeroDivisionError"):
        Callables([described(fails)]).call("fails", {"x": 0})


def test_two_tools_of_one_name_are_one_clear_error():
    with pytest.raises(UserError, match="tools of one name: route"):
        Callables([described(route), described(route)])


def test_what_has_no_name_cannot_be_called():
    def spread(*values: int) -> int:
        return sum(values)

    with pytest.raises(UserError, match="values has no name"):
        described(spread)


class Season(enum.Enum):
    SUMMER = 1


NEW_YEAR, NOTHING = datetime.date(2024, 1, 1), float("nan")


def test_a_default_that_json_cannot_hold_is_not_told(tmp_path):
    def weather(
        day: datetime.date = NEW_YEAR,
        season: Season = Season.SUMMER,
        hours: tuple = (6, 18),
        least: float = NOTHING,
    ) -> dict:
        return {}

    tool, _ = described(weather)
    assert {name: schema.get("default") for name, schema in tool.properties.items()} == {
        "day": None,
        "season": None,
        "hours": [6, 18],
        "least": None,
    }
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        writer.add_tool(tool)


def test_schemas_alone_give_a_plan_where_they_list_values():
    def switch(on: bool, level: Literal[1, 2] = 1) -> dict:
        return {}

    backend = Callables([described(switch), described(route)])
    plan, left_out = plan_from_schemas(backend)
    assert [tool.tool for tool in plan.tools] == ["switch"]
    assert left_out == {"route": "its schema has no values for start, via; give a plan"}
