"""The report counts what was made, rejected and shared with the benchmark."""

from __future__ import annotations

import pytest

from tooltrain.data.traces import write_jsonl
from tooltrain.synthesis.generate import TEST, TRAIN, Settings
from tooltrain.synthesis.report import report, report_lines, shape
from tooltrain.types import GoldCall


@pytest.fixture(scope="module")
def found(booking_generated, booking_environment):
    return report(booking_generated, booking_environment, Settings("booking"))


def test_counts_are_those_of_the_traces(found, booking_generated):
    for name, traces in booking_generated.splits.items():
        made = found["splits"][name]
        assert made["traces"] == len(traces)
        assert made["workflows"] == len({t.workflow for t in traces})
        assert made["calls_per_trace"] == sum(len(t.calls) for t in traces) / len(traces)
    assert sum(found["rejected"].values()) == sum(booking_generated.rejected.values())


def test_overlap_is_none_with_training_and_all_with_the_benchmark(found):
    assert found["splits"][TEST]["calls_in_train"] == 0
    assert found["splits"][TRAIN]["calls_in_train"] == 1
    assert {made["calls_in_benchmark"] for made in found["splits"].values()} == {1.0}


def test_the_lines_tell_each_split_and_the_rejections(found):
    lines = report_lines(found)
    splits = [*found["splits"]]
    heads = [line.partition(":")[0] for line in lines[: len(splits) + 1]]
    assert heads == [*splits, "rejected"]
    table = lines[len(splits) + 1 :][: len(found["shapes"]) + 1]
    assert [row.split()[0] for row in table[1:]] == [*splits, "ComplexFuncBench"]
    assert [row.partition(" in ")[0] for row in lines[-len(splits) :]] == splits
    (test,) = (line for line in lines if line.startswith("test:"))
    assert test.endswith("0% of its calls are in train, 100% in ComplexFuncBench")


def test_a_cache_without_samples_is_not_compared_with_the_benchmark(found):
    shapes = {name: s for name, s in found["shapes"].items() if name in found["splits"]}
    lines = report_lines(found | {"shapes": shapes})
    (test,) = (line for line in lines if line.startswith("test:"))
    assert test.endswith("0% of its calls are in train")


def test_shapes_stand_beside_the_benchmark_s(found):
    shapes = found["shapes"]
    assert shapes["ComplexFuncBench"]["calls"]["mean"] == 5.07  # 5,070 calls of 1,000 samples
    assert shapes[TRAIN]["calls"]["mean"] == found["splits"][TRAIN]["calls_per_trace"]
    for measured in shapes.values():
        assert 1 <= measured["depth"]["mean"] <= measured["calls"]["mean"]
        assert measured["width"]["max"] <= measured["calls"]["max"]


def test_shapes_are_counted_by_hand():
    calls = (
        *(GoldCall("f", {"a": 1}), GoldCall("f", {"a": 2, "b": 3})),
        GoldCall("g", {"c": 4}, (0, 1)),
    )
    found = shape([("Find it for me", calls), ("Find", calls[:1])])
    assert {name: (v["mean"], v["median"], v["max"]) for name, v in found.items()} == {
        "calls": (2, 2, 3),
        "depth": (1.5, 1.5, 2),
        "width": (1.5, 1.5, 2),
        "tools": (1.5, 1.5, 2),
        "arguments": (2.5, 2.5, 4),
        "query_words": (2.5, 2.5, 4),
    }


def test_overlap_with_any_file_is_reported(booking_generated, booking_environment, tmp_path):
    path = tmp_path / "test.jsonl"
    write_jsonl(path, booking_generated.splits[TEST])
    made = report(booking_generated, booking_environment, Settings("booking"), [str(path)])
    assert made["contamination"][TEST][str(path)]["identical_requests"] == 1
    assert made["contamination"][TRAIN][str(path)]["identical_calls"] == 0
    assert made["contamination"][TRAIN][str(path)]["identical_queries"] == 0
    assert made["contamination"][TEST]["ComplexFuncBench"]["identical_calls"] == 1
