"""Workflows are equal if only the numbering of their slots differs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooltrain.env.cache import Sample, SampleCall
from tooltrain.synthesis.provenance import Link
from tooltrain.synthesis.workflow import SlotEdge, canonical, mined

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
def test_a_cycle_is_an_error(edges):
    edges = [SlotEdge(target, "x", source, ("id",)) for source, target in edges]
    with pytest.raises(ValueError, match="the dependencies are cyclic"):
        canonical(["a", "b", "c"], edges)


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
