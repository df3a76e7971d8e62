"""One worked episode for each label, on a trace of three gold turns:

turn 0: find(Rome), find(Bari)     turn 1: rent(1, 2) <- both     turn 2: review(v7) <- rent
"""

import pytest

from tooltrain.eval.metrics import success
from tooltrain.eval.taxonomy import Failure, Outcome, first_failure
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
OK, NOT_RECORDED = ObservationKind.OK, ObservationKind.NOT_RECORDED
FINISHED = EndReason.FINISHED

CASES = {
    "gold": ([[ROME, BARI], [RENT], [REVIEW]], OK, FINISHED, Failure(Outcome.SUCCESS)),
    "a call that cannot be read": (
        [[ROME, BARI], [MalformedCall("bad_json", "")]],
        OK,
        FINISHED,
        Failure(Outcome.MALFORMED, 2),
    ),
    "a call after the last gold call": (
        [[ROME, BARI], [RENT], [REVIEW], [Call("find", {"query": "Oslo"})]],
        OK,
        FINISHED,
        Failure(Outcome.EXTRA_CALL, 4),
    ),
    "a right call repeated": (
        [[ROME, BARI, BARI], [RENT], [REVIEW]],
        OK,
        FINISHED,
        Failure(Outcome.EXTRA_CALL, 2, gold=1),
    ),
    "a gold call in the turn of what it depends on": (
        [[ROME, BARI, RENT], [REVIEW]],
        OK,
        FINISHED,
        Failure(Outcome.WRONG_ORDER, 2, gold=2),
    ),
    "a tool called before its time, with invented values": (
        [[Call("rent", {"pick_up": 8, "drop_off": 9})]],
        NOT_RECORDED,
        FINISHED,
        Failure(Outcome.WRONG_ORDER, 0, gold=2),
    ),
    "a tool that no open gold call has": (
        [[ROME, BARI], [Call("find", {"query": "Oslo"})]],
        OK,
        FINISHED,
        Failure(Outcome.WRONG_TOOL, 2),
    ),
    "a tool that does not exist": (
        [[Call("fly", {})]],
        ObservationKind.UNKNOWN_TOOL,
        FINISHED,
        Failure(Outcome.WRONG_TOOL, 0),
    ),
    "an argument left out": (
        [[ROME, BARI], [Call("rent", {"pick_up": 1})]],
        ObservationKind.INVALID_ARGUMENTS,
        FINISHED,
        Failure(Outcome.MISSING_ARGUMENT, 2, gold=2, argument="drop_off"),
    ),
    "left out goes before added": (
        [[ROME, BARI], [Call("rent", {"pick_up": 1, "age": 30})]],
        ObservationKind.INVALID_ARGUMENTS,
        FINISHED,
        Failure(Outcome.MISSING_ARGUMENT, 2, gold=2, argument="drop_off"),
    ),
    "an argument added": (
        [[ROME, BARI], [Call("rent", {"pick_up": 1, "drop_off": 2, "age": 30})]],
        OK,
        FINISHED,
        Failure(Outcome.EXTRA_ARGUMENT, 2, gold=2, argument="age"),
    ),
    "another entity's value": (
        [[ROME, BARI], [Call("rent", {"pick_up": 1, "drop_off": 3})]],
        OK,
        FINISHED,
        Failure(Outcome.WRONG_VALUE, 2, gold=2, argument="drop_off"),
    ),
    "a value of a type that the tool refuses": (
        [[ROME, BARI], [Call("rent", {"pick_up": 1, "drop_off": None})]],
        ObservationKind.INVALID_ARGUMENTS,
        FINISHED,
        Failure(Outcome.WRONG_VALUE, 2, gold=2, argument="drop_off"),
    ),
    "a value that nobody recorded": (
        [[ROME, Call("find", {"query": "Barri"})]],
        NOT_RECORDED,
        FINISHED,
        Failure(Outcome.NOT_RECORDED, 1, gold=1, argument="query"),
    ),
    "the policy stopped": ([[ROME, BARI]], OK, FINISHED, Failure(Outcome.STOPPED_EARLY)),
    "the policy called nothing": ([[]], OK, FINISHED, Failure(Outcome.STOPPED_EARLY)),
    "a limit ended it": ([[ROME, BARI]], OK, EndReason.CONTEXT_FULL, Failure(Outcome.CUT_OFF)),
    "a limit ended it when all was called": (
        [[ROME, BARI], [RENT], [REVIEW]],
        OK,
        EndReason.MAX_TURNS,
        Failure(Outcome.CUT_OFF),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_failure_is(name):
    played, last_kind, end, want = CASES[name]
    calls = [(call, turn) for turn, calls in enumerate(played) for call in calls]
    records = [
        CallRecord(call, turn, last_kind if i == len(calls) - 1 else OK)
        for i, (call, turn) in enumerate(calls)
    ]
    assert first_failure(TRACE, records, end) == want
    assert (want.outcome is Outcome.SUCCESS) == success(TRACE, records, end)


def test_every_label_has_a_worked_case():
    assert {want.outcome for *_, want in CASES.values()} == set(Outcome)
