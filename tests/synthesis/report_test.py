"""The report counts what was made, rejected and shared with the benchmark."""

from __future__ import annotations

import pytest

from tooltrain.synthesis.generate import TEST, TRAIN, Settings
from tooltrain.synthesis.report import report, report_lines


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
    assert [line.partition(":")[0] for line in lines] == [*found["splits"], "rejected"]
    (test,) = (line for line in lines if line.startswith("test:"))
    assert test.endswith("0% of its calls are in train, 100% in ComplexFuncBench")
