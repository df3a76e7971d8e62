"""A small recorded world: three tools, six places, and traces of two workflows over it."""

from __future__ import annotations

import pytest

from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import Environment, open_environment
from tooltrain.env.schema import Tool
from tooltrain.types import Binding, GoldCall, Trace

PLACES = ("Rome", "Bari", "Oslo", "Lima", "Pisa", "Cork")


def _tool(name: str, **types: str) -> Tool:
    properties = {argument: {"type": kind} for argument, kind in types.items()}
    return Tool(
        name, f"{name} something", {"properties": properties, "required": list(types)}, name
    )


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> Environment:
    path = tmp_path_factory.mktemp("cache") / "cars.sqlite"
    with CacheWriter.create(path) as writer:
        writer.add_tool(_tool("find", query="string"))
        writer.add_tool(_tool("rent", pick_up="number", drop_off="number"))
        writer.add_tool(_tool("review", vehicle="string"))
        for i, place in enumerate(PLACES):
            writer.add_entry("find", {"query": place}, {"name": place, "id": i})
            writer.add_entry("review", {"vehicle": f"v{i}"}, {"stars": i})
            for j in range(len(PLACES)):
                writer.add_entry("rent", {"pick_up": i, "drop_off": j}, {"vehicle": f"v{i}"})
    return open_environment(path, max_tokens=64, max_items=3, max_value_chars=64)


@pytest.fixture(scope="session")
def traces() -> list[Trace]:
    return [_chain(i) if i % 2 else _return_trip(i) for i in range(len(PLACES))]


def _chain(i: int) -> Trace:
    """find > rent > review, from a place back to it."""
    return Trace(
        f"chain-{i}",
        "cars",
        "find>rent>review",
        f'Reviews of a car rented and returned in "{PLACES[i]}".',
        ("review", "find", "rent"),
        (
            GoldCall("find", {"query": PLACES[i]}),
            GoldCall(
                "rent",
                {"pick_up": i, "drop_off": i},
                (0,),
                (Binding("pick_up", 0, ("id",)), Binding("drop_off", 0, ("id",))),
            ),
            GoldCall("review", {"vehicle": f"v{i}"}, (1,), (Binding("vehicle", 1, ("vehicle",)),)),
        ),
        ({"name": PLACES[i], "id": i}, {"vehicle": f"v{i}"}, {"stars": i}),
    )


def _return_trip(i: int) -> Trace:
    """find + find > rent, between two places."""
    j = (i + 1) % len(PLACES)
    return Trace(
        f"trip-{i}",
        "cars",
        "find+find>rent",
        f'A car from "{PLACES[i]}" to "{PLACES[j]}", please.',
        ("rent", "find", "review"),
        (
            GoldCall("find", {"query": PLACES[i]}),
            GoldCall("find", {"query": PLACES[j]}),
            GoldCall(
                "rent",
                {"pick_up": i, "drop_off": j},
                (0, 1),
                (Binding("pick_up", 0, ("id",)), Binding("drop_off", 1, ("id",))),
            ),
        ),
        ({"name": PLACES[i], "id": i}, {"name": PLACES[j], "id": j}, {"vehicle": f"v{i}"}),
    )
