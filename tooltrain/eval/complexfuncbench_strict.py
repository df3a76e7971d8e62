"""The strict reading of an episode of ComplexFuncBench: every value must be right.

The procedure is the official one (arXiv 2501.10132, section 4; github.com/THUDM/
ComplexFuncBench): calls of a turn in any order, one-to-one with gold; turns before the
first failure; free look-ups; another request counts if its recorded response is the same.
It leaves nothing to a language model's judgement, and where the official code is lenient
by accident it is not:

* A call is right if it is the gold request (`Tool.canonical`), has the gold values (as
  `metrics.call_key` compares), or was recorded with a response equal to that of a gold
  call of the same tool and not empty. A request that is itself gold stands for that
  call alone. A wrong call beside a right one ends the prefix all the same.
* A gold call of a free tool (`FREE_TOOLS`) may be made at any time, and may be left out
  once a call that needs its result, directly or not, was made right. A look-up that no
  call needs is asked for by the query itself and must be made.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from tooltrain.env.environment import Environment
from tooltrain.eval.complexfuncbench_samples import FREE_TOOLS, BenchmarkSample
from tooltrain.eval.metrics import call_accuracy, call_key, walk
from tooltrain.eval.taxonomy import Failure, first_failure
from tooltrain.types import Call, CallRecord, EndReason, GoldCall, Json, Trace


@dataclasses.dataclass(frozen=True)
class StrictReading:
    """completed_turns: gold turns before the first failure. right_calls of counted_calls:
    calls that are right, of those emitted or those needed, whichever are more; left-out
    look-ups are not counted. gold: for each record the gold call it played right, or None.
    failure: the first one, its indices into records and the sample's gold calls.
    """

    completed_turns: int
    right_calls: int
    counted_calls: int
    success: bool
    gold: tuple[int | None, ...]
    failure: Failure


def strict_reading(
    sample: BenchmarkSample,
    records: Sequence[CallRecord],
    end: EndReason,
    environment: Environment,
) -> StrictReading:
    """Reads the records of one episode. `environment` holds the responses to compare."""
    played = _as_gold(sample, records, environment)
    trace = dataclasses.replace(sample.trace, calls=_ungated(sample.trace.calls))
    found = walk(trace, played)
    failed_turn = None if found.failure is None else records[found.failure].turn
    in_prefix = {
        s
        for s, record in zip(found.gold, records, strict=True)
        if s is not None and (failed_turn is None or record.turn < failed_turn)
    }
    done = in_prefix | _left_out(sample.trace.calls, in_prefix)
    completed = _completed(sample.turns, done)

    # What was rightly left out is not asked for: in the end, and before the first failure.
    right = {s for s in found.gold if s is not None}
    kept = _others(trace, _left_out(sample.trace.calls, right))
    counted = max(len(records), len(kept))
    right_calls = round(call_accuracy(_only(trace, kept), played) * counted)
    kept = _others(trace, _left_out(sample.trace.calls, in_prefix) - right)
    failure = first_failure(_only(trace, kept), played, end)
    if failure.gold is not None:
        failure = dataclasses.replace(failure, gold=kept[failure.gold])
    return StrictReading(
        completed_turns=completed,
        right_calls=right_calls,
        counted_calls=counted,
        success=failure.record is None
        and end is EndReason.FINISHED
        and completed == max(sample.turns) + 1,
        gold=found.gold,
        failure=failure,
    )


def _completed(levels: Sequence[int], done: set[int]) -> int:
    """Turns from the first on of which every call is in `done`."""
    missing = [level for s, level in enumerate(levels) if s not in done]
    return min(missing, default=max(levels) + 1)


def _ungated(calls: Sequence[GoldCall]) -> tuple[GoldCall, ...]:
    """The calls, each waiting for what its look-ups need instead of for them; look-ups
    themselves wait for nothing."""
    sources: list[set[int]] = []
    for call in calls:
        gates: set[int] = set()
        for j in call.depends_on:
            gates |= sources[j] if calls[j].name in FREE_TOOLS else {j}
        sources.append(gates)
    return tuple(
        dataclasses.replace(
            call, depends_on=() if call.name in FREE_TOOLS else tuple(sorted(gates))
        )
        for call, gates in zip(calls, sources, strict=True)
    )


def _left_out(calls: Sequence[GoldCall], right: set[int]) -> set[int]:
    """Free calls not in `right` that a call in `right`, not itself free, needed."""
    needed: set[int] = set()
    for s in range(len(calls) - 1, -1, -1):
        if s in needed or (s in right and calls[s].name not in FREE_TOOLS):
            needed.update(calls[s].depends_on)
    return {s for s in needed - right if calls[s].name in FREE_TOOLS}


def _others(trace: Trace, left_out: set[int]) -> list[int]:
    return [s for s in range(len(trace.calls)) if s not in left_out]


def _only(trace: Trace, kept: Sequence[int]) -> Trace:
    """The trace without the calls that are not `kept`; nothing that is kept waits for them."""
    index = {s: i for i, s in enumerate(kept)}
    calls = tuple(
        dataclasses.replace(
            trace.calls[s], depends_on=tuple(index[j] for j in trace.calls[s].depends_on)
        )
        for s in kept
    )
    return dataclasses.replace(
        trace, calls=calls, responses=tuple(trace.responses[s] for s in kept)
    )


def _as_gold(
    sample: BenchmarkSample, records: Sequence[CallRecord], environment: Environment
) -> list[CallRecord]:
    """The records, calls that are right in other words replaced by the gold call's words."""
    index = {request: s for s, request in enumerate(sample.requests)}
    gold = sample.trace.calls
    taken: collections.Counter[int] = collections.Counter()
    renamed = []
    for record in records:
        if record.executed and isinstance(record.call, Call):
            tool = environment.tools[record.call.name]
            request = (tool.name, tool.canonical(record.call.arguments))
            found = index.get(request)
            if found is None and not any(call_key(g) == call_key(record.call) for g in gold):
                same = _same_response(sample, request, environment)
                found = next((s for s in same if not taken[s]), None)
            if found is not None:
                taken[found] += 1
                call = Call(gold[found].name, gold[found].arguments)
                record = dataclasses.replace(record, call=call)
        renamed.append(record)
    return renamed


def _same_response(
    sample: BenchmarkSample, request: tuple[str, str], environment: Environment
) -> list[int]:
    """Gold calls of the request's tool whose recorded response equals the request's."""
    alike = [s for s, (name, _) in enumerate(sample.requests) if name == request[0]]
    if not alike:
        return []
    response = environment.cache.lookup(*request)[1]
    if _is_empty(response):
        return []
    return [
        s
        for s in alike
        if response == sample.trace.responses[s]
        or response == environment.cache.lookup(*sample.requests[s])[1]
    ]


def _is_empty(response: Json) -> bool:
    """No value at all: nothing was found, which says nothing about the request."""
    if isinstance(response, dict):
        return all(map(_is_empty, response.values()))
    if isinstance(response, list):
        return all(map(_is_empty, response))
    return response is None
