"""The reference reading of an episode of ComplexFuncBench: what the released rules count.

The rules of the evaluator that the paper released (github.com/horizon-rl/
ToolOrchestrationReward, commit 99af0d3: evaluation/evaluators/base_evaluator.py and
bfcl_evaluator.py), which are ComplexFuncBench's own with the comparison of values taken
out. Gold turns open one by one; calls are matched with open gold calls by name, argument
names and status. Its consequences are kept, wanted or not:

* Values are never compared. Argument names beyond gold's are no fault.
* A turn of free look-ups opens together with the next one, so a policy that stops at
  once has completed it. `Search_Hotels` for a named hotel is treated like a look-up.
* Whenever a policy turn matched something, the next gold turn opens, also while calls of
  this one are missing.
* A wrong call beside a right one is no fault; a policy turn without a right one is the end.
* At a stop, left-over look-ups are forgiven, of five tools only (`Location_to_Lat_Long`
  is not among them).
* A call that cannot be read makes the released code fail: the sample earns nothing.

Recorded responses have lost their status; every one of them was a success, so "the same
status" is "executed". Two things do not occur in it: an episode that a limit of ours cuts
short counts as stopped, without forgiveness; and no sample has two equal gold calls.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from tooltrain.eval.complexfuncbench_samples import FREE_TOOLS, BenchmarkSample
from tooltrain.eval.metrics import same_shape
from tooltrain.types import CallRecord, EndReason, GoldCall, MalformedCall

_FORGIVEN = FREE_TOOLS - {"Location_to_Lat_Long"}


@dataclasses.dataclass(frozen=True)
class ReferenceReading:
    """completed_turns and matched_calls as the released evaluator reports them."""

    completed_turns: int
    matched_calls: int
    success: bool


def reference_reading(
    sample: BenchmarkSample, records: Sequence[CallRecord], end: EndReason
) -> ReferenceReading:
    """Applies the released rules to the records of one episode."""
    golds, levels = sample.trace.calls, sample.turns
    num_turns = max(levels) + 1
    opened = 0  # gold turns opened so far; it may pass num_turns, as in the release
    waiting: list[int] = []

    def open_next() -> None:
        nonlocal opened
        waiting.extend(s for s, level in enumerate(levels) if level == opened)
        opened += 1

    def skip_look_ups() -> None:
        if _look_ups_only([golds[s] for s in waiting]):
            open_next()

    def completed() -> int:
        return min((levels[s] for s in waiting), default=num_turns)

    open_next()
    skip_look_ups()
    matched = 0
    for _, of_turn in itertools.groupby(records, key=lambda record: record.turn):
        calls = list(of_turn)
        if not waiting:  # called on after all was done
            return ReferenceReading(num_turns, matched, False)
        if any(isinstance(record.call, MalformedCall) for record in calls):
            return ReferenceReading(0, 0, False)
        found = 0
        for record in calls:
            match = next((s for s in waiting if same_shape(record, golds[s])), None)
            if match is not None:
                waiting.remove(match)
                found += 1
        if not found:
            return ReferenceReading(completed(), matched, False)
        matched += found
        open_next()
        skip_look_ups()
    if end is not EndReason.FINISHED:
        return ReferenceReading(completed(), matched, False)
    waiting = [s for s in waiting if not _forgiven(golds[s])]
    success = opened > num_turns and not waiting
    return ReferenceReading(completed(), matched, success)


def _is_named_hotel(call: GoldCall) -> bool:
    return call.name == "Search_Hotels" and call.arguments.get("search_type") == "hotel"


def _look_ups_only(calls: Sequence[GoldCall]) -> bool:
    """True of no calls, too: the last turn done, the count of turns moves on."""
    return any(map(_is_named_hotel, calls)) or all(call.name in FREE_TOOLS for call in calls)


def _forgiven(call: GoldCall) -> bool:
    return call.name in _FORGIVEN or _is_named_hotel(call)
