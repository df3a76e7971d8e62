"""Why an episode failed: one label an episode, for its first failure."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

from tooltrain.calls.canonical import canonical
from tooltrain.eval.metrics import call_key, success, walk
from tooltrain.types import (
    Call,
    CallRecord,
    EndReason,
    GoldCall,
    MalformedCall,
    ObservationKind,
    Trace,
)


class Outcome(enum.StrEnum):
    """What became of an episode. Failures stand in the order in which they are tried."""

    SUCCESS = "success"
    MALFORMED = "malformed"  # the call could not be read
    EXTRA_CALL = "extra call"  # nothing was left to call, or a right call was repeated
    WRONG_ORDER = "wrong order"  # called before what it depends on had been answered
    WRONG_TOOL = "wrong tool"  # no open gold call has this tool
    MISSING_ARGUMENT = "missing argument"
    EXTRA_ARGUMENT = "extra argument"
    NOT_RECORDED = "not recorded"  # right tool and argument names, a value nobody recorded
    WRONG_VALUE = "wrong value"  # the same, but it was answered (or the value is invalid)
    STOPPED_EARLY = "stopped early"  # no wrong call; the policy ended with gold calls open
    CUT_OFF = "cut off"  # no wrong call; a limit on turns or tokens ended the episode


@dataclasses.dataclass(frozen=True)
class Failure:
    """The first failure of an episode.

    record: index of the wrong record, None when there is none (success, stopped early, cut
    off). gold: index of the gold call it was most likely meant to be, None when there is
    no such call. argument: the argument at fault, "" when none is.
    """

    outcome: Outcome
    record: int | None = None
    gold: int | None = None
    argument: str = ""


def first_failure(trace: Trace, records: Sequence[CallRecord], end: EndReason) -> Failure:
    """Names the first failure of an episode; SUCCESS iff `metrics.success`.

    The first wrong record of `metrics.walk` decides, else how the episode ended. Gold
    calls are open unless an earlier record played them, and ready when all that they
    depend on was played in an earlier policy turn. Precedence, the first that holds:

    1. malformed          the call could not be read
    2. extra call         no gold call is open, or the call equals one already played
    3. wrong order        it equals an open gold call that is not ready
    4. wrong tool         no open gold call has its tool name
    5. wrong order        open gold calls have its tool name, but none of them is ready
    6. missing argument, extra argument, then a wrong value, against the ready gold call of
       that tool with most equal arguments (the first of those); among wrong values, "not
       recorded" if the environment had no answer, else "wrong value"
    """
    found = walk(trace, records)
    if found.failure is None:
        if success(trace, records, end):
            return Failure(Outcome.SUCCESS)
        early = end is EndReason.FINISHED
        return Failure(Outcome.STOPPED_EARLY if early else Outcome.CUT_OFF)

    at = found.failure
    record = records[at]
    if isinstance(record.call, MalformedCall):
        return Failure(Outcome.MALFORMED, at)
    played_in = {s: records[i].turn for i, s in enumerate(found.gold[:at]) if s is not None}
    still_open = [s for s in range(len(trace.calls)) if s not in played_in]
    key = call_key(record.call)
    is_open_call = any(call_key(trace.calls[s]) == key for s in still_open)
    if not is_open_call:
        repeated = next((s for s in played_in if call_key(trace.calls[s]) == key), None)
        if repeated is not None or not still_open:
            return Failure(Outcome.EXTRA_CALL, at, repeated)

    def ready(gold: GoldCall) -> bool:
        return all(played_in.get(j, record.turn) < record.turn for j in gold.depends_on)

    same_tool = [s for s in still_open if trace.calls[s].name == record.call.name]
    if not same_tool:
        return Failure(Outcome.WRONG_TOOL, at)
    ready_ones = [s for s in same_tool if ready(trace.calls[s])]
    early_ones = [s for s in same_tool if call_key(trace.calls[s]) == key and s not in ready_ones]
    if early_ones or not ready_ones:
        return Failure(Outcome.WRONG_ORDER, at, (early_ones or same_tool)[0])
    closest = max(ready_ones, key=lambda s: (_num_equal(record.call, trace.calls[s]), -s))
    outcome, argument = _argument_fault(record, trace.calls[closest])
    return Failure(outcome, at, closest, argument)


def _num_equal(call: Call, gold: GoldCall) -> int:
    return sum(
        name in call.arguments and canonical(call.arguments[name]) == canonical(value)
        for name, value in gold.arguments.items()
    )


def _argument_fault(record: CallRecord, gold: GoldCall) -> tuple[Outcome, str]:
    """The first argument at fault, missing ones before extra ones before wrong values."""
    arguments = record.call.arguments
    missing = [name for name in gold.arguments if name not in arguments]
    if missing:
        return Outcome.MISSING_ARGUMENT, missing[0]
    extra = [name for name in arguments if name not in gold.arguments]
    if extra:
        return Outcome.EXTRA_ARGUMENT, extra[0]
    unrecorded = record.kind is ObservationKind.NOT_RECORDED
    wrong = [n for n, v in gold.arguments.items() if canonical(arguments[n]) != canonical(v)]
    # All values right and still no answer: the environment refused a gold call.
    return (
        Outcome.NOT_RECORDED if unrecorded else Outcome.WRONG_VALUE,
        wrong[0] if wrong else "",
    )
