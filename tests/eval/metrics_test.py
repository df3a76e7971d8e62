"""Worked by hand on one trace of three gold turns:

turn 0: find(Rome), find(Bari)     turn 1: rent(1, 2) <- both     turn 2: review(v7) <- rent
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain.eval import metrics
from tooltrain.types import (
    Call,
    CallRecord,
    EndReason,
    GoldCall,
    MalformedCall,
    ObservationKind,
    Trace,
)

ROME = Call("find", {"query": "Rome"})
BARI = Call("find", {"query": "Bari"})
RENT = Call("rent", {"pick_up": 1, "drop_off": 2})
REVIEW = Call("review", {"vehicle": "v7"})
WRONG = Call("find", {"query": "Oslo"})
MALFORMED = MalformedCall("bad_json", "not JSON")
TRACE = Trace(
    id="t0",
    suite="cars",
    workflow="find+find>rent>review",
    query="A car from Rome to Bari, and its reviews.",
    tools=("review", "find", "rent"),
    calls=(
        GoldCall("find", {"query": "Rome"}),
        GoldCall("find", {"query": "Bari"}),
        GoldCall("rent", {"pick_up": 1, "drop_off": 2}, depends_on=(0, 1)),
        GoldCall("review", {"vehicle": "v7"}, depends_on=(2,)),
    ),
    responses=({}, {}, {}, {}),
)


def episode(*policy_turns, failed=(), end=EndReason.FINISHED):
    """Metrics of an episode given turn by turn; calls in `failed` were not executed."""
    records = [
        CallRecord(
            call,
            turn,
            ObservationKind.MALFORMED
            if isinstance(call, MalformedCall)
            else ObservationKind.NOT_RECORDED
            if call in failed
            else ObservationKind.OK,
        )
        for turn, calls in enumerate(policy_turns)
        for call in calls
    ]
    return metrics.episode_metrics(TRACE, records, end)


def test_gold_scores_one_in_everything():
    got = episode([ROME, BARI], [RENT], [REVIEW])
    assert got == metrics.EpisodeMetrics(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    "turns",
    [
        ([BARI, ROME], [RENT], [REVIEW]),  # any order within a gold turn
        ([ROME], [BARI], [RENT], [REVIEW]),  # a gold turn over two policy turns
    ],
)
def test_equivalent_plays_score_one_in_everything(turns):
    assert episode(*turns) == metrics.EpisodeMetrics(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def test_values_compare_in_canonical_form():
    got = episode(
        [Call("find", {"query": "rome"}), BARI],
        [Call("rent", {"drop_off": 2.0, "pick_up": 1})],
        [REVIEW],
    )
    assert got.strict_turn_accuracy == 1.0
    assert got.call_accuracy == 1.0


def test_a_number_written_as_text_is_another_value():
    got = episode([ROME, BARI], [Call("rent", {"pick_up": "1", "drop_off": 2})], [REVIEW])
    assert math.isclose(got.strict_turn_accuracy, 1 / 3)
    # find, find and the review are right: 3 of max(4, 4).
    assert math.isclose(got.call_accuracy, 3 / 4)
    assert got.success == 0.0
    assert got.reference_turn_accuracy == 1.0
    assert got.reference_success == 1.0


def test_nothing_called_scores_nothing():
    assert episode([]) == metrics.EpisodeMetrics(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_stopping_early_keeps_the_completed_turns():
    got = episode([ROME, BARI], [RENT])
    assert math.isclose(got.strict_turn_accuracy, 2 / 3)
    assert math.isclose(got.reference_turn_accuracy, 2 / 3)
    assert math.isclose(got.call_accuracy, 3 / 4)
    assert got.success == 0.0


def test_half_a_gold_turn_is_no_turn():
    got = episode([ROME])
    assert got.strict_turn_accuracy == 0.0
    assert got.reference_turn_accuracy == 0.0
    assert math.isclose(got.call_accuracy, 1 / 4)


@pytest.mark.parametrize("bad", [WRONG, ROME, MALFORMED])  # wrong value, repeated, malformed
def test_a_wrong_call_fails_its_whole_policy_turn(bad):
    # Turn 0 is complete; [RENT, bad] completes nothing, and the prefix ends there.
    got = episode([ROME, BARI], [RENT, bad], [REVIEW])
    assert math.isclose(got.strict_turn_accuracy, 1 / 3)
    assert math.isclose(got.call_accuracy, 4 / 5)  # 4 right of max(5 emitted, 4 gold)
    assert got.success == 0.0
    # The released rules go on, since RENT matched something in that turn.
    assert got.reference_turn_accuracy == 1.0


def test_an_extra_call_after_the_last_turn_costs_success_only():
    got = episode([ROME, BARI], [RENT], [REVIEW], [REVIEW])
    assert got.strict_turn_accuracy == 1.0
    assert got.success == 0.0
    assert math.isclose(got.call_accuracy, 4 / 5)
    assert got.reference_turn_accuracy == 1.0
    assert got.reference_success == 0.0


def test_an_extra_call_beside_the_last_right_one_costs_its_turn():
    got = episode([ROME, BARI], [RENT], [REVIEW, REVIEW])
    assert math.isclose(got.strict_turn_accuracy, 2 / 3)


def test_a_call_beside_what_it_depends_on_is_too_early():
    got = episode([ROME, BARI, RENT], [REVIEW])
    assert got.strict_turn_accuracy == 0.0
    assert got.call_accuracy == 1.0  # order is turn accuracy's business
    # Released rules: RENT matches nothing open in turn 0, nor does REVIEW in turn 1.
    assert math.isclose(got.reference_turn_accuracy, 1 / 3)
    assert math.isclose(got.reference_call_accuracy, 2 / 4)


def test_a_call_that_was_not_executed_is_wrong():
    got = episode([ROME, BARI], [RENT], [REVIEW], failed=[RENT])
    assert math.isclose(got.strict_turn_accuracy, 1 / 3)
    assert math.isclose(got.call_accuracy, 3 / 4)


def test_success_needs_the_closing_turn():
    got = episode([ROME, BARI], [RENT], [REVIEW], end=EndReason.MAX_TURNS)
    assert got.strict_turn_accuracy == 1.0
    assert got.success == 0.0
    assert got.reference_success == 0.0


def test_the_reference_reading_ignores_values_and_extra_keys_but_not_missing_keys():
    extra = Call("rent", {"pick_up": 9, "drop_off": 9, "currency": "EUR"})
    assert episode([WRONG, WRONG], [extra], [REVIEW]).reference_turn_accuracy == 1.0
    missing = episode([WRONG, WRONG], [Call("rent", {"pick_up": 9})], [REVIEW])
    assert math.isclose(missing.reference_turn_accuracy, 1 / 3)


def test_the_reference_reading_ends_at_a_turn_that_matches_nothing():
    got = episode([REVIEW], [ROME, BARI], [RENT], [REVIEW])
    assert got.reference_turn_accuracy == 0.0
    assert got.reference_call_accuracy == 0.0


def test_gold_calls_that_are_equal_are_each_played_once():
    twice = Trace(
        "t1",
        "cars",
        "find+find",
        "q",
        ("find",),
        (GoldCall("find", {"query": "Rome"}),) * 2,
        ({}, {}),
    )
    once = [CallRecord(ROME, 0, ObservationKind.OK)]
    assert metrics.strict_turn_accuracy(twice, once) == 0.0
    assert metrics.strict_turn_accuracy(twice, once * 2) == 1.0
    assert metrics.call_accuracy(twice, once * 3) == pytest.approx(2 / 3)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([ROME, BARI, RENT, REVIEW, WRONG, MALFORMED]),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.sampled_from(EndReason),
)
def test_every_metric_is_in_the_unit_interval_and_success_implies_all_others(played, end):
    played = sorted(played, key=lambda item: item[1])
    records = [
        CallRecord(
            call,
            turn,
            ObservationKind.OK
            if executed and isinstance(call, Call)
            else ObservationKind.MALFORMED
            if isinstance(call, MalformedCall)
            else ObservationKind.NOT_RECORDED,
        )
        for call, turn, executed in played
    ]
    got = metrics.episode_metrics(TRACE, records, end)
    values = [getattr(got, name) for name in metrics.METRICS]
    assert all(0.0 <= value <= 1.0 for value in values)
    if got.success:
        assert values == [1.0] * len(values)
