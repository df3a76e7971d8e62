"""What an episode is worth to its user: turn accuracy, call accuracy and success.

Two readings of the same records stand side by side:

strict     every argument value of every call must be right.
reference  as the paper's released evaluator counts: names, argument keys and executed
           status; values are never compared (arXiv 2603.24709, released code at 5c4ea42,
           `bfcl_evaluator.py` and `base_evaluator.py`, without its six free tools, which
           belong to ComplexFuncBench alone).

A gold turn is a dependency level of the trace (`types.turns`): the calls that could be
issued together. All numbers are in [0, 1], 1 is best.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Sequence

from tooltrain.calls.canonical import canonical
from tooltrain.types import Call, CallRecord, EndReason, GoldCall, MalformedCall, Trace, turns

CallKey = tuple[str, frozenset[tuple[str, str]]]


def call_key(call: Call | GoldCall) -> CallKey:
    """Two calls are equal iff their keys are: name, argument names, canonical values."""
    return call.name, frozenset((name, canonical(v)) for name, v in call.arguments.items())


@dataclasses.dataclass(frozen=True)
class Walk:
    """One episode read call by call, strictly.

    gold: for each record the index of the gold call that it played right, or None.
    failure: index of the first record that is wrong, or None. completed_turns: gold turns
    completed before it.
    """

    gold: tuple[int | None, ...]
    failure: int | None
    completed_turns: int


def walk(trace: Trace, records: Sequence[CallRecord]) -> Walk:
    """Reads `records` in order against the gold calls of `trace`.

    A record is right iff it was executed, equals (`call_key`) a gold call that no earlier
    record played, and every dependency of that gold call was played in a strictly earlier
    policy turn. Gold calls of one turn may come in any order and over several policy
    turns. Anything else (a wrong, extra, repeated, malformed or too early call) is wrong.
    The first wrong record ends the prefix, and its whole policy turn with it: right calls
    beside it complete nothing. `gold` goes on past it, for call-by-call display.

    Gold turns are completed in order: turn k counts only if turns 0 to k - 1 do.
    """
    gold_keys = [call_key(gold) for gold in trace.calls]
    played_in: dict[int, int] = {}  # gold index -> policy turn
    verdicts: list[int | None] = []
    for record in records:
        found = None
        if record.executed and isinstance(record.call, Call):
            key = call_key(record.call)
            found = next(
                (
                    s
                    for s, gold in enumerate(trace.calls)
                    if s not in played_in
                    and gold_keys[s] == key
                    and all(played_in.get(j, record.turn) < record.turn for j in gold.depends_on)
                ),
                None,
            )
        if found is not None:
            played_in[found] = record.turn
        verdicts.append(found)

    failure = next((i for i, found in enumerate(verdicts) if found is None), None)
    failed_turn = None if failure is None else records[failure].turn
    levels = turns(trace.calls)
    level_sizes = collections.Counter(levels)
    in_prefix = collections.Counter(
        levels[s] for s, turn in played_in.items() if failed_turn is None or turn < failed_turn
    )
    completed = 0
    while completed < len(level_sizes) and in_prefix[completed] == level_sizes[completed]:
        completed += 1
    return Walk(tuple(verdicts), failure, completed)


def strict_turn_accuracy(trace: Trace, records: Sequence[CallRecord]) -> float:
    """Gold turns completed before the first wrong call / gold turns (`walk`)."""
    return walk(trace, records).completed_turns / _num_turns(trace)


def success(trace: Trace, records: Sequence[CallRecord], end: EndReason) -> bool:
    """All gold turns completed, no wrong call at all, and the policy said that it is done.

    An extra call after the last gold turn costs success, not turn accuracy.
    """
    found = walk(trace, records)
    complete = found.completed_turns == _num_turns(trace)
    return complete and found.failure is None and end is EndReason.FINISHED


def call_accuracy(trace: Trace, records: Sequence[CallRecord]) -> float:
    """Right calls / max(C, S): one-to-one with gold, anywhere in the episode.

    right = sum over distinct calls k of min(executed emitted calls equal to k, gold calls
    equal to k). Order is not asked for here: turn accuracy does that.
    """
    emitted = collections.Counter(
        call_key(r.call) for r in records if r.executed and isinstance(r.call, Call)
    )
    gold = collections.Counter(call_key(call) for call in trace.calls)
    return (emitted & gold).total() / max(len(records), len(trace.calls))


@dataclasses.dataclass(frozen=True)
class ReferenceCount:
    """What the released evaluator counts: turns before the first one left open, matched
    calls, and whether nothing was left open."""

    completed_turns: int
    matched_calls: int
    complete: bool


def reference_count(trace: Trace, records: Sequence[CallRecord]) -> ReferenceCount:
    """The released evaluator's rules, applied to the records of an episode.

    Gold calls become open turn by turn: at first those of gold turn 0; whenever a policy
    turn matched at least one open call, those of the next gold turn join. A record matches
    the first open call of its name all of whose argument keys it has, if it was executed.
    A policy turn that matches nothing, or comes when nothing is open, ends the reading;
    a wrong call beside a right one does not. Completed turns: the least gold turn with a
    call still open, or all of them.
    """
    levels = turns(trace.calls)
    still_open = [s for s, level in enumerate(levels) if level == 0]
    matched_calls = 0
    overrun = False
    policy_turns = itertools.groupby(records, key=lambda record: record.turn)
    for joining_level, (_, turn_records) in enumerate(policy_turns, start=1):
        if not still_open:
            overrun = True
            break
        before = len(still_open)
        for record in turn_records:
            match = next((s for s in still_open if same_shape(record, trace.calls[s])), None)
            if match is not None:
                still_open.remove(match)
        if len(still_open) == before:
            break
        matched_calls += before - len(still_open)
        still_open += [s for s, level in enumerate(levels) if level == joining_level]
    completed = min((levels[s] for s in still_open), default=_num_turns(trace))
    return ReferenceCount(completed, matched_calls, not still_open and not overrun)


def same_shape(record: CallRecord, gold: GoldCall) -> bool:
    """Executed, of gold's name, with gold's argument names at least; values are not compared."""
    if not record.executed or isinstance(record.call, MalformedCall):
        return False
    return record.call.name == gold.name and gold.arguments.keys() <= record.call.arguments.keys()


def _num_turns(trace: Trace) -> int:
    return max(turns(trace.calls)) + 1


@dataclasses.dataclass(frozen=True)
class EpisodeMetrics:
    """All numbers of one episode, each in [0, 1]."""

    strict_turn_accuracy: float
    reference_turn_accuracy: float
    success: float
    reference_success: float
    call_accuracy: float
    reference_call_accuracy: float


METRICS = tuple(field.name for field in dataclasses.fields(EpisodeMetrics))


def episode_metrics(trace: Trace, records: Sequence[CallRecord], end: EndReason) -> EpisodeMetrics:
    """Scores one episode. reference_call_accuracy is matched calls / S, as released."""
    reference = reference_count(trace, records)
    return EpisodeMetrics(
        strict_turn_accuracy=strict_turn_accuracy(trace, records),
        reference_turn_accuracy=reference.completed_turns / _num_turns(trace),
        success=float(success(trace, records, end)),
        reference_success=float(reference.complete and end is EndReason.FINISHED),
        call_accuracy=call_accuracy(trace, records),
        reference_call_accuracy=reference.matched_calls / len(trace.calls),
    )
