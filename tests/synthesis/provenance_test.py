"""Where a value came from: worked samples, and the tool graph of the real ones."""

from __future__ import annotations

import pytest

from tooltrain.env.cache import Edge, Sample, SampleCall
from tooltrain.synthesis.provenance import (
    Link,
    ancestors,
    candidates,
    is_specific,
    mine,
    value_text,
)


def _sample(query: str, *calls: SampleCall) -> Sample:
    return Sample("s", 0, "d", query, calls)


def test_a_value_of_an_earlier_response_is_linked_as_text():
    sample = _sample(
        "Stay in Rome",
        SampleCall("find", {"query": "Rome"}, [{"id": 12345, "name": "Rome"}]),
        SampleCall("stay", {"dest": "12345"}, {}),
    )
    links, edges = mine([sample])
    assert links == [[Link(1, "dest", 0, (0, "id"))]]
    assert edges == (Edge("find", ("[]", "id"), "stay", "dest", 1),)


def test_what_the_query_states_is_the_user_s():
    sample = _sample(
        "Stay at place 12345",
        SampleCall("find", {}, {"id": 12345}),
        SampleCall("stay", {"dest": 12345}, {}),
    )
    assert candidates(sample) == []


def test_an_unspecific_value_is_linked_only_by_its_field_s_name():
    sample = _sample(
        "Stay",
        SampleCall("find", {}, {"kind": "a", "other": "a", "day": "2024-01-02"}),
        SampleCall("stay", {"kind": "a", "from": "2024-01-02"}, {}),
    )
    assert candidates(sample) == [[Link(1, "kind", 0, ("kind",))]]


def test_the_path_that_explains_most_calls_is_taken():
    both = SampleCall("find", {}, {"key": "abcde", "id": "abcde"})
    one = SampleCall("find", {}, {"id": "fghij"})
    samples = [
        _sample("", both, SampleCall("stay", {"dest": "abcde"}, {})),
        _sample("", one, SampleCall("stay", {"dest": "fghij"}, {})),
    ]
    links, edges = mine(samples)
    assert [link.path for (link,) in links] == [("id",), ("id",)]
    assert edges == (Edge("find", ("id",), "stay", "dest", 2),)


def test_at_equal_support_the_later_call_s_first_element_is_taken():
    response = {"list": [{"id": "abcde"}, {"id": "abcde"}]}
    sample = _sample(
        "", *[SampleCall("find", {}, response)] * 2, SampleCall("stay", {"dest": "abcde"}, {})
    )
    links, _ = mine([sample])
    assert links == [[Link(2, "dest", 1, ("list", 0, "id"))]]


def test_ancestors_are_all_that_a_call_needs():
    links = [Link(1, "x", 0, ()), Link(3, "x", 1, ()), Link(3, "y", 2, ())]
    assert ancestors(3, links) == {0, 1, 2, 3}
    assert ancestors(2, links) == {2}


@pytest.mark.parametrize(
    ("value", "text"), [(4, "4"), (4.0, "4"), ("4", "4"), (True, None), (None, None), ([1], None)]
)
def test_equal_values_have_one_text(value, text):
    assert value_text(value) == text


def test_dates_times_and_short_values_are_not_specific():
    assert [is_specific(t) for t in ("abc", "abcd", "2024-01-02", "10:30")] == [
        False,
        True,
        False,
        False,
    ]


def test_the_tool_graph_of_the_real_samples(booking_environment):
    edges = booking_environment.cache.edges()
    top = sorted(edges, key=lambda e: -e.count)[:6]
    assert len(edges) == 108
    assert sum(edge.count for edge in edges) == 4982
    assert [(e.count, e.source, e.path, e.target, e.argument) for e in top] == [
        (279, "Search_Flight_Location", ("[]", "id"), "Search_Flights", "fromId"),
        (279, "Search_Flight_Location", ("[]", "id"), "Search_Flights", "toId"),
        (230, "Search_Hotel_Destination", ("[]", "dest_id"), "Search_Hotels", "dest_id"),
        (
            219,
            "Search_Car_Location",
            ("[]", "coordinates", "latitude"),
            "Search_Car_Rentals",
            "drop_off_latitude",
        ),
        (
            219,
            "Search_Car_Location",
            ("[]", "coordinates", "longitude"),
            "Search_Car_Rentals",
            "pick_up_longitude",
        ),
        (
            218,
            "Search_Car_Location",
            ("[]", "coordinates", "longitude"),
            "Search_Car_Rentals",
            "drop_off_longitude",
        ),
    ]
