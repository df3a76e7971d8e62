"""Trace i is a pure function of its index."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.data.pipeline import gold_views
from tooltrain.errors import UserError
from tooltrain.synthesis.derive import leaks, underivable
from tooltrain.synthesis.generate import TEST, TRAIN, Settings, generate, plan, streams
from tooltrain.synthesis.stream import TraceStream, TraceWriter

SETTINGS = Settings(
    "booking", max_calls=3, min_support=60, max_fillings_per_workflow=30, train_traces=500
)


@pytest.fixture(scope="module")
def planned(booking_environment):
    return plan(booking_environment, SETTINGS, progress=False)


@pytest.fixture(scope="module")
def found(planned, booking_environment):
    return streams(planned, booking_environment, SETTINGS)


def test_reading_in_any_order_gives_the_same_traces(found, planned, booking_environment):
    again = streams(planned, booking_environment, SETTINGS)[TRAIN]
    backwards = [again[i] for i in reversed(range(40))]
    assert backwards[::-1] == found[TRAIN][:40]
    assert found[TRAIN][-1] == again[len(again) - 1]
    with pytest.raises(IndexError, match="trace 500 of 500"):
        again[500]


@given(st.integers(0, 499))
@settings(max_examples=60, deadline=None)
def test_every_trace_is_derivable_and_leaks_nothing(found, booking_environment, index):
    trace = found[TRAIN][index]
    views = gold_views(trace, booking_environment)
    assert underivable(trace, views, booking_environment.tools) == []
    assert leaks(trace) == []
    assert {call.name for call in trace.calls} <= set(trace.tools)


def test_an_epoch_uses_every_filling_and_the_next_in_other_words(found, planned):
    drafts = planned.splits[TRAIN]
    epoch = found[TRAIN][: len(drafts)]
    shares = len({repr(t.calls) for t in epoch}) / len({repr(d.calls) for d in drafts})
    assert shares > 0.9  # but for those that no words were found for
    assert len({t.query for t in found[TRAIN]}) == len(found[TRAIN]) == 500


def test_generate_writes_what_the_streams_hold(found, booking_environment):
    written = generate(booking_environment, SETTINGS, progress=False)
    assert written.splits[TRAIN] == list(found[TRAIN])
    assert written.splits[TEST] == list(found[TEST])


def test_another_seed_and_another_variety_write_other_queries(planned, booking_environment):
    def queries(**changed):
        made = dataclasses.replace(SETTINGS, **changed)
        return {t.query for t in streams(planned, booking_environment, made)[TRAIN][:50]}

    assert queries() == queries()
    assert not queries() & queries(seed=1)
    assert all(len(q) < 400 for q in queries(variety=0.0))
    assert not queries() & queries(variety=0.0)


def test_what_cannot_be_said_is_counted_and_then_an_error(planned, booking_environment):
    draft = planned.splits[TRAIN][0]
    mute = dataclasses.replace(SETTINGS, suite="mine")
    write = TraceWriter(booking_environment, mute)
    stream = TraceStream(TRAIN, [draft], mute, write, 5)
    with pytest.raises(
        UserError,
        match="no words for 1 fillings in a row; most often: no phrasings for the suite mine",
    ):
        stream[0]
    assert stream.rejected == {"no phrasings for the suite mine": 3}
    with pytest.raises(UserError, match="has no filling"):
        TraceStream(TRAIN, [], SETTINGS, write, 5)
    assert list(TraceStream(TEST, [], SETTINGS, write, 0)) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"variety": 1.5}, r"variety must be in \[0, 1\], got 1.5"),
        ({"train_traces": -1}, "train_traces is -1, below 0"),
        ({"grown_workflows": 5, "variety": 0.5}, "0 unless variety is 1; got 5 with variety 0.5"),
    ],
)
def test_settings_that_cannot_be_are_one_clear_error(changed, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(SETTINGS, **changed)
