"""The checker tells of any trace file which arguments can be derived, and how."""

from __future__ import annotations

import dataclasses
import json

import pytest

from tooltrain.data.traces import write_jsonl
from tooltrain.env.cache import CacheWriter
from tooltrain.env.environment import open_environment
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError
from tooltrain.synthesis.check import check_file, report_lines, verdicts
from tooltrain.types import Binding, GoldCall, Trace


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
    ("query", "explained"), [("a hotel in Rome", 1), ("the second hotel in Rome", 2)]
)
def test_a_binding_is_explained_by_what_the_query_says_of_its_element(tmp_path, query, explained):
    find, stay = _trace(query, "bbbb").calls
    binding = Binding("hotel", 0, ("hotels", 1, "id"), "nth(2)")
    bound = dataclasses.replace(stay, bindings=(binding,))
    trace = dataclasses.replace(_trace(query, "bbbb"), calls=(find, bound))
    write_jsonl(tmp_path / "t.jsonl", [trace])
    found = check_file(tmp_path / "t.jsonl")
    assert found["arguments"] == {"all": 2, "literal": 2, "normalising": 2, "explained": explained}
    assert found["traces"]["explained"] == explained - 1


def test_each_trace_is_checked_against_its_own_responses(tmp_path):
    text = {"type": "string"}
    with CacheWriter.create(tmp_path / "c.sqlite") as writer:
        for tool, argument in (("find", "name"), ("stay", "hotel")):
            writer.add_tool(Tool(tool, "", {"properties": {argument: text}}))
        writer.add_entry("find", {"name": "Rome"}, LIST)
    traces = []
    for id_ in ("aaaa", "cccc"):
        trace = _trace("the first hotel in Rome", id_)
        own = {"hotels": [{"id": id_}]}
        traces.append(dataclasses.replace(trace, responses=(own, {})))
    with (tmp_path / "t.jsonl").open("w") as file:
        for trace in traces:
            steps = [
                {
                    "ground_truth": {"function": call.name, "arguments": call.arguments},
                    "execution_result": {"execution_result": response},
                }
                for call, response in zip(trace.calls, trace.responses, strict=True)
            ]
            file.write(json.dumps({"query": trace.query, "steps": steps}) + "\n")
    environment = open_environment(str(tmp_path / "c.sqlite"))
    found = check_file(tmp_path / "t.jsonl", environment)
    assert found["traces"]["normalising"] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no trace"),
        ("{nothing", "line 1: neither a trace of"),
        ('{"query": "x"}', "line 1: neither a trace of"),
        ("[]", "line 1: neither a trace of"),
        ("SQLite format 3\0\xff", "cannot read .*x.jsonl: it is no text in UTF-8"),
    ],
)
def test_a_file_without_traces_is_one_clear_error(tmp_path, text, message):
    (tmp_path / "x.jsonl").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        check_file(tmp_path / "x.jsonl")
    with pytest.raises(UserError, match=r"cannot read .*none\.jsonl: No such file"):
        check_file(tmp_path / "none.jsonl")


def test_a_trace_without_responses_needs_a_cache(tmp_path):
    record = {"id": "t", "suite": "s", "workflow": "w", "query": "q", "tools": [], "calls": []}
    record["calls"] = [{"name": "find", "arguments": {}, "depends_on": [], "bindings": []}]
    (tmp_path / "x.jsonl").write_text(json.dumps(record))
    with pytest.raises(UserError, match="holds no responses; give --workdir"):
        check_file(tmp_path / "x.jsonl")
