"""Workflows are equal if only the numbering of their slots differs."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.env.cache import Sample, SampleCall
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import Link
from tooltrain.synthesis.workflow import SlotEdge, WorkflowError, canonical, mined, whole

FLIGHT = (
    ("find", "find", "fly"),
    (SlotEdge(2, "from", 0, ("[]", "id")), SlotEdge(2, "to", 1, ("[]", "id"))),
)


@st.composite
def _workflows(draw):
    slots = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5))
    edges = []
    for target in range(1, len(slots)):
        for argument in draw(st.lists(st.sampled_from(["x", "y"]), unique=True, max_size=2)):
            path = draw(st.sampled_from([("id",), ("[]", "id")]))
            edges.append(SlotEdge(target, argument, draw(st.integers(0, target - 1)), path))
    return slots, edges


@given(_workflows(), st.randoms())
def test_the_canonical_form_does_not_depend_on_slot_numbers(workflow, rng):
    slots, edges = workflow
    place = list(range(len(slots)))
    rng.shuffle(place)
    renamed = [""] * len(slots)
    for slot, at in enumerate(place):
        renamed[at] = slots[slot]
    moved = [SlotEdge(place[e.target], e.argument, place[e.source], e.path) for e in edges]
    rng.shuffle(moved)
    one, two = canonical(slots, edges), canonical(renamed, moved)
    assert one == two
    assert one.id == two.id
    assert canonical(one.slots, one.edges) == one


def _moved(slots, edges, rng):
    """The same workflow with other slot numbers."""
    place = list(range(len(slots)))
    rng.shuffle(place)
    renamed = [""] * len(slots)
    for slot, at in enumerate(place):
        renamed[at] = slots[slot]
    edges = [SlotEdge(place[e.target], e.argument, place[e.source], e.path) for e in edges]
    rng.shuffle(edges)
    return renamed, edges


def _smallest_by_trying_all(slots, edges):
    """Slots by level, then tool, then the order with the smallest edges: ids depend on it."""
    levels = [0] * len(slots)
    for _ in slots:
        for e in edges:
            levels[e.target] = max(levels[e.target], levels[e.source] + 1)
    best = None
    for order in itertools.permutations(range(len(slots))):
        kinds = [(levels[s], slots[s]) for s in order]
        if kinds == sorted(kinds):
            place = {s: i for i, s in enumerate(order)}
            named = sorted(
                SlotEdge(place[e.target], e.argument, place[e.source], e.path) for e in edges
            )
            best = named if best is None else min(best, named)
    return best


@given(_workflows())
def test_the_order_of_small_workflows_is_the_one_with_the_smallest_edges(workflow):
    assert list(canonical(*workflow).edges) == _smallest_by_trying_all(*workflow)


def test_ids_stay_what_they_were():
    assert canonical(*FLIGHT).id == "find>find>fly#4641aa"


@st.composite
def _large(draw):
    """Up to 12 calls, most of one or two tools, so that symmetry abounds."""
    slots = draw(st.lists(st.sampled_from("ab"), min_size=7, max_size=12))
    edges = []
    for target in range(1, len(slots)):
        for argument in draw(st.lists(st.sampled_from("xy"), unique=True, max_size=2)):
            edges.append(SlotEdge(target, argument, draw(st.integers(0, target - 1)), ("id",)))
    return slots, edges


@settings(deadline=None)
@given(_large(), st.randoms(use_true_random=False))
def test_large_workflows_with_repeated_tools_have_one_form_too(workflow, rng):
    made = canonical(*workflow)
    assert canonical(*_moved(*workflow, rng)) == made
    assert list(made.levels()) == sorted(made.levels())


def _ring(sizes):
    """Level-0 calls feeding level-1 calls around rings: colours alone cannot tell rings of
    other sizes apart, as every call looks like every other."""
    slots, edges = [], []
    for size in sizes:
        first = len(slots)
        slots += ["find"] * size + ["fly"] * size
        for i in range(size):
            fly = first + size + i
            edges.append(SlotEdge(fly, "from", first + i, ("id",)))
            edges.append(SlotEdge(fly, "to", first + (i + 1) % size, ("id",)))
    return slots, edges


@pytest.mark.parametrize(
    ("slots", "edges"),
    [
        (["find"] * 12, []),
        _ring([6]),
        _ring([3, 3]),
        _ring([2, 2, 2]),
        (
            ["find"] * 8 + ["fly"] * 4,
            [SlotEdge(8 + i // 2, ("from", "to")[i % 2], i, ("[]", "id")) for i in range(8)],
        ),
    ],
)
def test_twelve_symmetric_calls_have_one_form(slots, edges):
    rng = random.Random(0)
    made = {canonical(*_moved(slots, edges, rng)) for _ in range(5)}
    assert len(made) == 1


def test_rings_of_other_sizes_are_other_workflows():
    assert len({canonical(*_ring(sizes)) for sizes in ([6], [3, 3], [2, 2, 2], [2, 4])}) == 4


def test_a_selector_makes_another_workflow_and_shows_in_its_edge():
    slots, edges = FLIGHT
    told = [SlotEdge(2, "from", 0, ("[]", "id"), "argmin(price)"), edges[1]]
    made = canonical(slots, told)
    assert made != canonical(slots, edges)
    assert "selector='argmin(price)'" in repr(made.edges)
    assert "selector" not in repr(canonical(slots, edges).edges)


@given(_workflows())
def test_sources_come_before_their_targets(workflow):
    made = canonical(*workflow)
    assert all(edge.source < edge.target for edge in made.edges)
    assert list(made.levels()) == sorted(made.levels())
    assert sorted(made.slots) == sorted(workflow[0])


def test_other_edges_make_another_workflow():
    slots, (first, second) = FLIGHT
    assert canonical(slots, (first, second)) != canonical(slots, (first,))
    swapped = (SlotEdge(2, "to", 0, ("[]", "id")), SlotEdge(2, "from", 1, ("[]", "id")))
    assert canonical(slots, swapped) == canonical(slots, (first, second))


def test_levels_and_sources_of_the_flight():
    made = canonical(*FLIGHT)
    assert made.levels() == (0, 0, 1)
    assert made.sources(2) == (0, 1)
    assert made.id.startswith("find>find>fly#")


@pytest.mark.parametrize("edges", [[(0, 0)], [(0, 1), (1, 0)], [(0, 1), (1, 2), (2, 0)]])
def test_a_cycle_is_an_error_that_names_workflow_and_edge(edges):
    edges = [SlotEdge(target, "x", source, ("id",)) for source, target in edges]
    with pytest.raises(ValueError, match="the dependencies are cyclic") as error:
        canonical(["a", "b", "c"], edges)
    assert isinstance(error.value, UserError)
    assert "workflow a>b>c" in str(error.value)
    assert "for 'x'" in str(error.value)


def test_the_edge_that_is_named_lies_on_the_cycle():
    edges = [
        SlotEdge(1, "w", 0, ("id",)),
        SlotEdge(2, "x", 1, ("id",)),
        SlotEdge(1, "y", 2, ("id",)),
        SlotEdge(3, "z", 2, ("id",)),
    ]
    with pytest.raises(WorkflowError, match=r"slot 2 \(c\) needs slot 1 \(b\) for 'x'"):
        canonical("abcd", edges)


def test_an_edge_to_nowhere_is_an_error():
    with pytest.raises(ValueError, match="names a slot that is not there"):
        canonical(["a"], [SlotEdge(1, "x", 0, ("id",))])


def test_every_call_with_what_it_needs_is_one_instance():
    calls = tuple(SampleCall(name, {}, {}) for name in ("find", "stay", "talk", "review"))
    links = [Link(1, "id", 0, (0, "id")), Link(3, "hotel", 1, ("id",))]
    counts = mined([Sample("s", 0, "d", "q", calls)], [links], max_calls=3)
    pair = canonical(["find", "stay"], [SlotEdge(1, "id", 0, ("[]", "id"))])
    chain = canonical(
        ["find", "stay", "review"],
        [SlotEdge(1, "id", 0, ("[]", "id")), SlotEdge(2, "hotel", 1, ("id",))],
    )
    assert counts == {pair: 1, chain: 1}
    assert mined([Sample("s", 0, "d", "q", calls)], [links], max_calls=2) == {pair: 1}


def test_a_whole_sample_is_one_workflow():
    calls = tuple(SampleCall(name, {}, {}) for name in ("find", "stay", "talk"))
    samples = [Sample("s", 0, "d", "q", calls), Sample("t", 1, "d", "q", calls[:1])]
    links = [[Link(1, "id", 0, (0, "id"))], []]
    assert whole(samples, links) == {
        canonical(["find", "stay", "talk"], [SlotEdge(1, "id", 0, ("[]", "id"))]): 1,
        canonical(["find"], []): 1,
    }


def test_calls_that_their_schema_forbids_are_no_witness():
    tools = {
        name: Tool(name, "", {"properties": {"id": {"type": "number"}}}) for name in ("a", "b")
    }
    calls = (SampleCall("a", {}, {"id": 1}), SampleCall("b", {"id": "one"}, {}))
    links = [Link(1, "id", 0, ("id",))]
    samples = [Sample("s", 0, "d", "q", calls)]
    assert sum(mined(samples, [links], max_calls=3).values()) == 1
    assert not mined(samples, [links], max_calls=3, tools=tools)
    assert not whole(samples, [links], tools=tools)
