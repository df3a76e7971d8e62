"""The checker tells of any trace file which arguments can be derived, and how."""

from __future__ import annotations

import json

import pytest

from tooltrain.data.traces import write_jsonl
from tooltrain.errors import UserError
from tooltrain.synthesis.check import check_file, report_lines, verdicts
from tooltrain.types import GoldCall, Trace


def test_of_the_released_traces_a_literal_check_passes_23_and_normalising_27(reference_dir):
    found = check_file(reference_dir / "train_traces.jsonl")
    assert found["traces"] == {"all": 101, "literal": 23, "normalising": 27, "explained": 26}
    # Dates and times alone would add two; the writer left rental dates out altogether.
    assert sum(found["gained"].values()) == 4
    assert found["underivable_arguments"]["Search_Car_Rentals.pick_up_date"] == 32
    assert sum(found["reasons"].values()) == sum(found["underivable_arguments"].values())
    lines = report_lines(found)
    assert lines[0].startswith("101 traces; derivable: 23 by a literal check (22.8%), 27 by")


def test_every_published_trace_is_derivable(booking_generated, booking_environment, tmp_path):
    traces = [t for split in booking_generated.splits.values() for t in split]
    write_jsonl(tmp_path / "traces.jsonl", traces)
    for environment in (booking_environment, None):
        found = check_file(tmp_path / "traces.jsonl", environment)
        every = len(traces)
        assert found["traces"]["all"] == every > 100
        assert found["traces"]["normalising"] == found["traces"]["explained"] == every
        assert found["reasons"] == found["underivable_arguments"] == {}


LIST = {"hotels": [{"id": "aaaa", "price": 90, "name": "A"}, {"id": "bbbb", "price": 70}]}


def _trace(query: str, chosen: str) -> Trace:
    calls = (GoldCall("find", {"name": "Rome"}), GoldCall("stay", {"hotel": chosen}, (0,)))
    return Trace("t", "s", "w", query, ("find", "stay"), calls, (LIST, {}))


@pytest.mark.parametrize(
    ("query", "chosen", "explained"),
    [
        ("the first hotel in Rome", "aaaa", True),
        ("a hotel in Rome", "bbbb", False),
        ("the second hotel in Rome", "bbbb", True),
        ("the cheapest hotel in Rome", "bbbb", True),
        ("the most expensive hotel in Rome", "bbbb", False),
    ],
)
def test_a_choice_is_explained_by_what_the_query_says(query, chosen, explained):
    _, stay = verdicts(_trace(query, chosen), None, has_bindings=False)
    assert (stay.way, stay.explained) == ("bound to an earlier response", explained)


def test_a_value_from_nowhere_is_named_with_its_reason():
    verdict = verdicts(_trace("a hotel", "cccc"), None, has_bindings=False)
    assert [(v.tool, v.argument, v.reason) for v in verdict] == [
        ("find", "name", "not stated"),
        ("stay", "hotel", "not stated"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no trace"),
        ("{nothing", "line 1: neither a trace of"),
        ('{"query": "x"}', "line 1: neither a trace of"),
        ("[]", "line 1: neither a trace of"),
    ],
)
def test_a_file_without_traces_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        check_file(tmp_path / "x.jsonl")
    with pytest.raises(UserError, match="No such file"):
        check_file(tmp_path / "none.jsonl")


def test_a_trace_without_responses_needs_a_cache(tmp_path):
    record = {"id": "t", "suite": "s", "workflow": "w", "query": "q", "tools": [], "calls": []}
    record["calls"] = [{"name": "find", "arguments": {}, "depends_on": [], "bindings": []}]
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    with pytest.raises(UserError, match="holds no responses; give --workdir"):
        check_file(tmp_path / "x.jsonl")
