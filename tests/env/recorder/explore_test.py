"""What is asked is a function of plan, seed and earlier responses, and nothing else."""

from __future__ import annotations

import pytest

from tooltrain.env.recorder.explore import Explorer, values_at
from tooltrain.env.recorder.plan import (
    Enumeration,
    Field,
    Plan,
    Range,
    Rows,
    Together,
    ToolPlan,
    Values,
)
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError


def _tool(name: str, required: tuple[str, ...] = (), /, **properties: dict) -> Tool:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return Tool(name, "", parameters)


STRING, NUMBER = {"type": "string"}, {"type": "number"}
SEARCH = _tool("search", ("name",), name=STRING)
NEAR = _tool("near", ("lat", "lon"), lat=NUMBER, lon=NUMBER, radius={"type": "integer"})
TOOLS = {tool.name: tool for tool in (SEARCH, NEAR)}


def _answer(name: str) -> dict:
    return {"found": [{"id": f"{name}{i}", "lat": i, "lon": -i} for i in range(3)]}


def _requests(explorer: Explorer) -> list[tuple[str, str]]:
    asked = []
    for leg in explorer.legs():
        requests = list(explorer.requests(leg))
        asked += [(request.tool, request.key) for request in requests]
        if leg.tool == "search":
            explorer.learn("search", [_answer(r.arguments["name"]) for r in requests])
    return asked


def test_tools_that_read_others_come_after_them_and_keep_elements_together():
    together = Together(("lat", "lon"), "search", ("found", "[]"), (("lat",), ("lon",)))
    plan = Plan(
        (ToolPlan("near", {}, (together,)), ToolPlan("search", {"name": Values(("a", "b"))}))
    )
    asked = _requests(Explorer(TOOLS, plan))
    assert [tool for tool, _ in asked] == ["search"] * 2 + ["near"] * 3
    near = {key for tool, key in asked if tool == "near"}
    assert near == {f'{{"lat":{i},"lon":{-i}}}' for i in range(3)}


def test_the_same_seed_asks_the_same_and_another_asks_other_things():
    def asked(seed: int) -> list[tuple[str, str]]:
        names = Values(tuple(f"n{i}" for i in range(500)))
        plan = Plan((ToolPlan("search", {"name": names}, max_requests=50),), seed)
        return _requests(Explorer(TOOLS, plan))

    assert asked(1) == asked(1)
    assert set(asked(1)) != set(asked(2))
    assert len(set(asked(1))) == 50


def test_a_small_space_is_asked_to_its_last_corner():
    plan = Plan(
        (
            ToolPlan(
                "near",
                {"lat": Range(0, 4), "lon": Range(0, 4), "radius": Range(1, 2)},
                max_requests=1000,
            ),
        )
    )
    asked = _requests(Explorer(TOOLS, plan))
    assert len(set(asked)) == len(asked) == 5 * 5 * 3  # a radius, the other, or none


@pytest.mark.parametrize(("probability", "low", "high"), [(0, 0, 0), (1, 200, 200), (0.5, 60, 140)])
def test_optional_arguments_are_sent_as_often_as_asked(probability, low, high):
    plan = Plan(
        (
            ToolPlan(
                "near",
                {"lat": Range(0, 90), "lon": Range(0, 90), "radius": Range(1, 9)},
                max_requests=200,
                optional_probability=probability,
            ),
        )
    )
    asked = _requests(Explorer(TOOLS, plan))
    assert low <= sum("radius" in key for _, key in asked) <= high


def test_breadth_is_bounded_per_tool_and_per_response():
    plan = Plan(
        (
            ToolPlan("search", {"name": Values(tuple("abcdefgh"))}, max_requests=4),
            ToolPlan("use", {"id": Field("search", ("found", "[]", "id"), per_response=1)}),
        )
    )
    asked = _requests(Explorer(TOOLS | {"use": _tool("use", ("id",), id=STRING)}, plan))
    assert sum(tool == "search" for tool, _ in asked) == 4
    used = [key for tool, key in asked if tool == "use"]
    assert len(used) == 4
    assert all(key.endswith('0"}') for key in used)  # the first element of each response


def test_tools_that_feed_each_other_take_turns_until_nothing_is_new():
    tools = {"step": _tool("step", ("n",), n={"type": "integer"})}
    sources = (Values((1,)), Field("step", ("next", "[]")))
    explorer = Explorer(tools, Plan((ToolPlan("step", {"n": sources}, max_requests=64),)))
    asked = []
    for leg in explorer.legs():
        requests = list(explorer.requests(leg))
        asked += [r.arguments["n"] for r in requests]
        explorer.learn("step", [{"next": [2 * n, 2 * n + 1]} for n in asked])
    assert len(asked) == len(set(asked)) > 30
    assert all(n == 1 or n // 2 in asked for n in asked)  # each came out of a response


def test_rows_of_a_user_stay_rows():
    tool = _tool("stay", ("start", "end"), start=STRING, end=STRING)
    rows = (("2024-01-01", "2024-01-03"), ("2024-02-01", "2024-02-02"))
    plan = Plan((ToolPlan("stay", {}, (Rows(("start", "end"), rows),)),))
    explorer = Explorer({"stay": tool}, plan)
    (leg,) = explorer.legs()
    got = {(r.arguments["start"], r.arguments["end"]) for r in explorer.requests(leg)}
    assert got == set(rows)


def test_requests_against_the_schema_are_left_out_and_counted():
    values = Values(("1", "north", 2.5))
    plan = Plan((ToolPlan("near", {"lat": values, "lon": Values((0,))}),))
    explorer = Explorer(TOOLS, plan)
    (leg,) = explorer.legs()
    assert sorted(r.arguments["lat"] for r in explorer.requests(leg)) == [1, 2.5]
    assert explorer.invalid == {"near": 1}


def test_required_enumerations_need_no_source_and_their_equals_are_one_request():
    tool = _tool("sort", ("by", "up"), by={"enum": ["a", "b"]}, up={"type": "boolean"})
    explorer = Explorer({"sort": tool}, Plan((ToolPlan("sort"),)))
    (leg,) = explorer.legs()
    assert len(list(explorer.requests(leg))) == 4


def test_values_are_found_along_a_path_and_nulls_are_none():
    response = {"a": [{"b": [1, None, 2]}, {"c": 0}, {"b": None}, [], 5], "d": True}
    assert list(values_at(response, ("a", "[]", "b", "[]"))) == [1, 2]
    assert list(values_at(response, ("d",))) == [True]
    assert list(values_at(response, ("d", "e"))) == []


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (ToolPlan("nope"), "no such tool; there are near, search"),
        (ToolPlan("search", {"title": Values(("a",))}), "no argument title; allowed: name"),
        (ToolPlan("search"), "argument name has no values"),
        (ToolPlan("search", {"name": Enumeration()}), "its schema lists none"),
        (ToolPlan("search", {"name": Field("near", ("x",))}), "plan that tool too"),
        (
            ToolPlan("near", {"lat": Range(0, 1)}, (Rows(("lat", "lon"), ((0, 0),)),)),
            "in `arguments` and in `together`",
        ),
    ],
)
def test_a_plan_that_does_not_fit_the_tools_is_one_clear_error(plan, message):
    with pytest.raises(UserError, match=message):
        Explorer(TOOLS, Plan((plan,)))
