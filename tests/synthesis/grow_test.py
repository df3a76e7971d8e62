"""Grown workflows are what was asked for, and every one can be filled."""

from __future__ import annotations

import collections
import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.synthesis import small_caches
from tooltrain.env.cache import Edge
from tooltrain.env.schema import Tool
from tooltrain.synthesis.compile import Compiled, groups_of
from tooltrain.synthesis.draws import Filler, Sampler
from tooltrain.synthesis.graph import mine_entries, tool_graph
from tooltrain.synthesis.grow import Controls, Grower, bundles
from tooltrain.synthesis.provenance import is_opaque
from tooltrain.synthesis.workflow import WorkflowError


@pytest.fixture(scope="module")
def compiled(booking_environment) -> Compiled:
    return Compiled(booking_environment.cache, booking_environment.projection)


@pytest.fixture(scope="module")
def grower(compiled) -> Grower:
    return Grower(compiled)


@pytest.mark.parametrize(
    "controls",
    [
        Controls(2),
        Controls(4, depth=3),
        Controls(5, width=3),
        Controls(6, depth=3, width=3),
        Controls(5, repeated=2),
        Controls(4, repeated=0),
        pytest.param(Controls(12, depth=4), marks=pytest.mark.slow),
    ],
)
def test_grown_workflows_have_the_wanted_shape_and_fillings(grower, compiled, controls):
    found = grower.grow(controls, seed=0, count=3)
    assert found == grower.grow(controls, seed=0, count=3)
    for workflow in found:
        levels = workflow.levels()
        assert len(workflow.slots) == controls.calls
        assert controls.depth in (None, max(levels) + 1)
        assert controls.width in (None, max(collections.Counter(levels).values()))
        assert controls.repeated in (None, controls.calls - len(set(workflow.slots)))
        filler = Filler(workflow, compiled)
        drawn = filler.draw((0, 0), np.arange(20))
        for row in drawn.tolist():
            for s, t, group in groups_of(workflow):
                assert compiled.bindings(group, row[s], row[t]) is not None


def test_wanted_selectors_tell_the_elements(grower, compiled):
    kinds = ("where", "nth")
    for workflow in grower.grow(Controls(4, selected=1, kinds=kinds), seed=0, count=3):
        assert any(edge.selector.partition("(")[0] in kinds for edge in workflow.edges)
        (row,) = Filler(workflow, compiled).draw((0, 0), np.arange(1)).tolist()
        told = [
            bound.selector.partition("(")[0]
            for s, t, group in groups_of(workflow)
            for bound in compiled.bindings(group, row[s], row[t])
        ]
        assert set(told) & set(kinds)


def test_responses_are_as_small_as_wanted(grower):
    limit = 200
    for workflow in grower.grow(Controls(3, max_response_tokens=limit), seed=0, count=3):
        assert sum(map(grower.view_tokens, workflow.slots)) <= limit


def test_no_id_is_left_for_the_query_to_state(grower, compiled):
    workflows = grower.grow(Controls(4), seed=1, count=5)
    sampler = Sampler(workflows, compiled, seed=0)
    for i in range(200):
        workflow, filling = sampler.filling(i)
        for slot, tool in enumerate(workflow.slots):
            fed = {e.argument for e in workflow.edges if e.target == slot}
            for name, value in compiled.arguments(tool)[filling[slot]].items():
                assert name in fed or not is_opaque(str(value), code=False)


@pytest.mark.parametrize(
    "given_",
    [
        {"calls": 1},
        {"calls": 13},
        {"calls": 4, "depth": 5},
        {"calls": 6, "depth": 2, "width": 2},
        {"calls": 4, "repeated": 4},
        {"calls": 4, "kinds": ("first",)},
    ],
)
def test_controls_that_cannot_be_are_one_clear_error(given_):
    with pytest.raises(WorkflowError, match=r"must be|cannot have"):
        Controls(**given_)


def test_what_cannot_be_grown_is_one_clear_error():
    tools = [Tool(name, "", {"properties": {}}) for name in "abc"]
    cache = small_caches.cache_of(tools, {name: [({}, {})] for name in "abc"})
    with pytest.raises(WorkflowError, match="could be grown from 0 edges"):
        Grower(Compiled(cache)).grow(Controls(2, depth=2), seed=0, count=1)


def test_a_latitude_and_a_longitude_are_one_bundle_and_two_ends_are_two():
    edges = [
        Edge("find", ("[]", "at", name[:3]), "drive", f"{end}_{name}", 5)
        for end in ("from", "to")
        for name in ("latitude", "longitude")
    ]
    edges.append(Edge("find", ("key",), "drive", "key", 5))
    assert [bundle.arguments for bundle in bundles(edges)["drive"]] == [
        {"from_latitude", "from_longitude", "key"},
        {"to_latitude", "to_longitude", "key"},
    ]


def test_the_tool_graph_of_values_alone_has_the_samples_edges(booking_environment):
    cache = booking_environment.cache
    found = {(e.source, e.path, e.target, e.argument) for e in mine_entries(cache)}
    known = [e for e in cache.edges() if e.count >= 10]
    share = sum((e.source, e.path, e.target, e.argument) in found for e in known) / len(known)
    assert share > 0.8  # the rest: echoed ids, dates, values of fewer than three kinds
    assert tool_graph(cache) == cache.edges()


def test_echoes_dates_and_lone_values_are_no_edges():
    tools = [
        Tool(name, "", {"properties": {"id": {"type": "string"}, "day": {"type": "string"}}})
        for name in "ab"
    ]
    ids = [f"id-{i}" for i in range(4)]
    responses = [{"id": i, "day": "2024-01-01", "money": "USD", "next": f"x{i}"} for i in ids]
    echoing = {
        "a": [({"id": i}, r) for i, r in zip(ids, responses, strict=True)],
        "b": [({"id": i, "day": "2024-01-01"}, {}) for i in ids],
    }
    assert mine_entries(small_caches.cache_of(tools, echoing)) == ()
    told = echoing | {"a": [({"id": f"q{i}"}, r) for i, r in enumerate(responses)]}
    assert mine_entries(small_caches.cache_of(tools, told)) == (Edge("a", ("id",), "b", "id", 4),)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(small_caches.schemas(), small_caches.entries(), st.integers(2, 4), st.integers(0, 3))
def test_whatever_grows_on_random_caches_can_be_filled(tools, recorded, calls, seed):
    cache = small_caches.cache_of(tools, recorded)
    grower = Grower(Compiled(cache), mine_entries(cache, min_values=1))
    found = []
    with contextlib.suppress(WorkflowError):  # none can be grown from these few calls
        found = grower.grow(Controls(calls), seed=seed, count=2)
    for workflow in found:
        assert small_caches.brute_force(workflow, cache)[1]
