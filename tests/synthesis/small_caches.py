"""Random small caches and workflows, and all their fillings by brute force."""

from __future__ import annotations

import itertools
import pathlib
import tempfile

from hypothesis import strategies as st

from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.schema import Tool
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.sampler import produced
from tooltrain.synthesis.workflow import SlotEdge, canonical

TOOLS = "abc"
PATHS = (("id",), ("list", "[]", "id"), ("list", "[]", "inner", "[]", "id"))
_VALUES = st.integers(0, 3) | st.sampled_from(["0", "1", "2", "3"])
_inner = st.lists(st.fixed_dictionaries({"id": _VALUES}), max_size=2)
_element = st.fixed_dictionaries({"id": _VALUES}, optional={"inner": _inner})
_responses = st.fixed_dictionaries(
    {}, optional={"id": _VALUES, "list": st.lists(_element, max_size=3)}
)
_arguments = st.fixed_dictionaries({}, optional={"x": _VALUES, "y": _VALUES})


@st.composite
def schemas(draw):
    """Tools with x and y, each a number or a string, maybe required."""
    return [
        Tool(
            name,
            "",
            {
                "properties": {
                    argument: {"type": draw(st.sampled_from(["number", "string"]))}
                    for argument in "xy"
                },
                "required": draw(st.lists(st.sampled_from("xy"), unique=True, max_size=1)),
            },
        )
        for name in TOOLS
    ]


def entries(max_size: int = 5):
    of_tool = st.lists(st.tuples(_arguments, _responses), max_size=max_size)
    return st.fixed_dictionaries(dict.fromkeys(TOOLS, of_tool))


@st.composite
def workflows(draw, max_slots: int = 4):
    slots = draw(st.lists(st.sampled_from(TOOLS), min_size=1, max_size=max_slots))
    edges = [
        SlotEdge(target, argument, draw(st.integers(0, target - 1)), draw(st.sampled_from(PATHS)))
        for target in range(1, len(slots))
        for argument in draw(st.lists(st.sampled_from("xy"), unique=True, max_size=2))
    ]
    return canonical(slots, edges)


def cache_of(tools: list[Tool], recorded: dict) -> Cache:
    """A cache of these entries; the same request is recorded once."""
    with tempfile.TemporaryDirectory() as folder:  # an open file outlives its folder
        path = pathlib.Path(folder) / "small.sqlite"
        with CacheWriter.create(path) as writer:
            for tool in tools:
                writer.add_tool(tool)
            for tool in tools:
                seen = set()
                for arguments, response in recorded[tool.name]:
                    key = tool.canonical(arguments)
                    if key not in seen:
                        seen.add(key)
                        writer.add_entry(tool.name, arguments, response)
        return Cache.open(path)


def brute_force(workflow, cache: Cache) -> tuple[set, set]:
    """(fillings, those in which no recorded call fills two slots)."""
    tools = cache.tools()
    recorded = [
        [
            (tools[tool].coerced(arguments), response)
            for arguments, response in cache.entries(tool)
            if not tools[tool].validate(arguments)
        ]
        for tool in workflow.slots
    ]
    every = set()
    for filling in itertools.product(*(range(len(e)) for e in recorded)):
        chosen = [e[i] for e, i in zip(recorded, filling, strict=True)]
        if all(
            value_text(chosen[edge.target][0].get(edge.argument))
            in produced(chosen[edge.source][1], edge.path)
            for edge in workflow.edges
        ):
            every.add(filling)
    distinct = {f for f in every if len(set(zip(workflow.slots, f, strict=True))) == len(f)}
    return every, distinct
