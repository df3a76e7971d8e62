"""Overlap is counted over different items, and near queries are all found."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.data.traces import write_jsonl
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.contamination import (
    Material,
    _shingles,
    near_identical,
    of_file,
    of_samples,
    of_traces,
    overlap,
)
from tooltrain.types import GoldCall, Trace

TOOLS = {"f": Tool("f", "", {"properties": {"n": {"type": "number", "default": 1}}})}
ROME, PARIS = ("f", {"n": 2}), ("f", {"n": "3", "x": "y"})


def test_shares_are_of_our_different_calls_requests_and_queries():
    ours = Material(
        (
            *(
                "Find a cheap hotel in Rome for me please.",
                "find a CHEAP hotel in rome for me,please",
            ),
            *("Something else altogether, in other words", "And a third one that is new here"),
        ),
        ((ROME, PARIS), (PARIS, ROME), (("f", {"n": 1}),), (("g", {}),)),
    )
    theirs = Material(
        ("Find a cheap hotel in Rome for me please", "Somewhere else"),
        ((("f", {"n": "2.0"}), ("f", {"n": 3, "x": "y"})), (("f", {}),)),
    )
    assert overlap(ours, theirs, TOOLS) == {
        "calls": 4,
        "identical_calls": 3 / 4,  # g is new; numbers, strings and defaults are one call
        "requests": 3,
        "identical_requests": 2 / 3,
        "queries": 3,
        "identical_queries": 1 / 3,
        "near_queries": 1 / 3,
    }
    assert overlap(Material((), ()), theirs, TOOLS)["near_queries"] == 0


_texts = st.lists(st.sampled_from("abcd"), max_size=14).map(" ".join)


@given(st.lists(_texts, max_size=6), st.lists(_texts, max_size=6), st.sampled_from([0.3, 0.7, 1.0]))
@settings(max_examples=300)
def test_no_near_query_is_missed(ours, theirs, near):
    def jaccard(one, two):
        one, two = _shingles(one), _shingles(two)
        return len(one & two) / len(one | two)

    brute = [t for t in ours if any(jaccard(t, other) >= near - 1e-9 for other in theirs)]
    assert near_identical(ours, theirs, near) == brute


def test_any_trace_file_and_any_list_of_queries_can_be_compared(tmp_path):
    trace = Trace("t", "s", "w", "Find it", (), (GoldCall("f", {"n": 2}),), ({},))
    write_jsonl(tmp_path / "ours.jsonl", [trace])
    assert of_file(tmp_path / "ours.jsonl") == of_traces([trace])
    released = {"query": "Find it", "steps": [{"ground_truth": {"function": "f"}}]}
    released["steps"][0]["ground_truth"]["arguments"] = {"n": 2}
    (tmp_path / "released.jsonl").write_text(json.dumps(released))
    assert of_file(tmp_path / "released.jsonl") == of_traces([trace])
    (tmp_path / "queries.txt").write_text("Find it\n\nFind that\n")
    assert of_file(tmp_path / "queries.txt") == Material(("Find it", "Find that"), ())
    with pytest.raises(UserError, match="cannot read"):
        of_file(tmp_path / "none")


def test_three_quarters_of_the_released_calls_are_the_benchmark_s(
    reference_dir, booking_environment
):
    released = of_file(reference_dir / "train_traces.jsonl")
    benchmark = of_samples(booking_environment.cache.samples())
    found = overlap(released, benchmark, booking_environment.tools)
    assert 0.70 < found["identical_calls"] < 0.90
    assert found["near_queries"] == 0
