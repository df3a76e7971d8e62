"""Fillings: all that brute force finds, and nothing else."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.schema import Tool
from tooltrain.synthesis.provenance import value_text
from tooltrain.synthesis.sampler import Recorded, fillings, produced, produced_at
from tooltrain.synthesis.workflow import SlotEdge, canonical

_VALUES = st.integers(0, 3)
_PATHS = [("id",), ("list", "[]", "id")]
_responses = st.fixed_dictionaries(
    {},
    optional={"id": _VALUES, "list": st.lists(st.fixed_dictionaries({"id": _VALUES}), max_size=3)},
)
_arguments = st.fixed_dictionaries(
    {}, optional={"x": _VALUES | st.text("0123", min_size=1, max_size=1), "y": _VALUES}
)
_entries = st.fixed_dictionaries(
    {tool: st.lists(st.tuples(_arguments, _responses), max_size=5) for tool in "ab"}
)


@st.composite
def _workflows(draw):
    slots = draw(st.lists(st.sampled_from("ab"), min_size=2, max_size=3))
    edges = [
        SlotEdge(target, argument, draw(st.integers(0, target - 1)), draw(st.sampled_from(_PATHS)))
        for target in range(1, len(slots))
        for argument in draw(st.lists(st.sampled_from("xy"), unique=True, max_size=2))
    ]
    return canonical(slots, edges)


def _recorded(path, entries) -> Recorded:
    number = {"type": "number"}
    with CacheWriter.create(path) as writer:
        for name in "ab":
            tool = Tool(name, "", {"properties": {"x": number, "y": number}, "required": []})
            writer.add_tool(tool)
            seen = set()
            for arguments, response in entries[name]:
                if tool.canonical(arguments) not in seen:
                    seen.add(tool.canonical(arguments))
                    writer.add_entry(name, arguments, response)
    return Recorded(Cache.open(path))


def _by_force(workflow, recorded):
    entries = [recorded.entries(tool) for tool in workflow.slots]
    for filling in itertools.product(*(range(len(e)) for e in entries)):
        if len(set(zip(workflow.slots, filling, strict=True))) < len(filling):
            continue
        chosen = [e[i] for e, i in zip(entries, filling, strict=True)]
        if all(
            edge.argument in chosen[edge.target].arguments
            and value_text(chosen[edge.target].arguments[edge.argument])
            in produced(chosen[edge.source].response, edge.path)
            for edge in workflow.edges
        ):
            yield filling


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_workflows(), _entries)
def test_fillings_are_those_of_brute_force_each_once(tmp_path, workflow, entries):
    recorded = _recorded(tmp_path / "c.sqlite", entries)
    found = list(fillings(workflow, recorded))
    assert sorted(found) == sorted(_by_force(workflow, recorded))
    assert len(set(found)) == len(found)
    assert list(fillings(workflow, recorded)) == found


def test_values_at_a_path_come_with_their_places():
    response = {"list": [{"id": 1}, {"id": None}, {"name": 2}, {"id": "1"}]}
    assert produced_at(response, ("list", "[]", "id")) == [
        (("list", 0, "id"), "1"),
        (("list", 3, "id"), "1"),
    ]
    assert produced(response, ("list", "id")) == []


def test_a_category_does_not_identify(tmp_path):
    entries = [({"x": i % 2, "y": i}, {}) for i in range(20)]
    recorded = _recorded(tmp_path / "c.sqlite", {"a": entries, "b": []})
    assert not recorded.identifies("a", "x")
    assert recorded.identifies("a", "y")


def test_a_tool_the_cache_does_not_have_is_an_error(tmp_path):
    recorded = _recorded(tmp_path / "c.sqlite", {"a": [], "b": []})
    with pytest.raises(ValueError, match="names tool 'z', which the cache does not have"):
        recorded.entries("z")
