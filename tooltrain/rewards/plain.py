"""The `matched` reward in plain Python over fractions: slow, short, and exact.

The twin that the jitted reward is tested against (formulas in DESIGN.md section 6). It
compares canonical values, not hashes of them, and adds fractions, not floats.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from tooltrain.calls.canonical import canonical, json_type
from tooltrain.types import Call, CallRecord, GoldCall


class PlainScore(NamedTuple):
    """Exact components; `assignment[j]` is the call matched to gold call j, -1 for none."""

    atomic: Fraction
    orchestration: Fraction
    assignment: tuple[int, ...]

    def reward(self, w_atomic: float = 0.5, w_orchestration: float = 0.5) -> float:
        return float(
            Fraction(w_atomic) * self.atomic + Fraction(w_orchestration) * self.orchestration
        )


class PlainPair(NamedTuple):
    """One call against one gold call of the same name."""

    union: int
    typed: int
    equal: int
    right: frozenset[str]  # gold arguments whose value the call has
    score: Fraction  # pair(p, g)


def matched(records: Sequence[CallRecord], gold: Sequence[GoldCall]) -> PlainScore:
    """The exact components of the `matched` reward of one trajectory."""
    if not gold:
        silent = Fraction(not records)
        return PlainScore(silent, silent, ())
    pairs = {
        (i, j): compare(record, step)
        for i, record in enumerate(records)
        for j, step in enumerate(gold)
        if type(record.call) is Call and record.call.name == step.name
    }
    scores = {key: pair.score for key, pair in pairs.items()}
    assignment = best_assignment(scores, len(gold))
    atomic = sum((scores[i, j] for j, i in enumerate(assignment) if i >= 0), Fraction(0))

    def ready(j: int) -> bool:
        return assignment[j] >= 0 and records[assignment[j]].executed

    orchestration = Fraction(0)
    for j, step in enumerate(gold):
        if not ready(j):
            continue
        i = assignment[j]
        met = sum(
            ready(source)
            and records[assignment[source]].turn < records[i].turn
            and all(
                binding.argument in pairs[i, j].right
                for binding in step.bindings
                if binding.source == source
            )
            for source in set(step.depends_on)
        )
        share = Fraction(met, len(set(step.depends_on))) if step.depends_on else Fraction(1)
        orchestration += Fraction(pairs[i, j].equal, pairs[i, j].union) * share
    return PlainScore(atomic / max(len(records), len(gold)), orchestration / len(gold), assignment)


def compare(record: CallRecord, step: GoldCall) -> PlainPair:
    """union, typed, equal and pair of a well-formed call and a gold call of its name."""
    call, both = record.call, record.call.arguments.keys() & step.arguments.keys()
    union = len(call.arguments.keys() | step.arguments.keys())
    typed = sum(json_type(call.arguments[k]) == json_type(step.arguments[k]) for k in both)
    right = frozenset(
        k for k in both if canonical(call.arguments[k]) == canonical(step.arguments[k])
    )
    counts = (union, typed, len(right)) if union else (1, 1, 1)
    ast = Fraction(33, 100) + Fraction(33 * counts[1] + 34 * counts[2], 100 * counts[0])
    return PlainPair(*counts, right, (ast + record.executed) / 2)


def best_assignment(scores: dict[tuple[int, int], Fraction], num_steps: int) -> tuple[int, ...]:
    """For each gold call j the call i, -1 for none: greatest total score, then least total
    |i - j|; by trying everything. scores: of the pairs (i, j) that may be matched.

    Only gold calls that share a call compete, so each set of rivals is solved alone; time
    is exponential in its size.
    """
    assignment = [-1] * num_steps
    rivals: dict[frozenset[int], list[int]] = {}
    for j in range(num_steps):
        rivals.setdefault(frozenset(i for i, other in scores if other == j), []).append(j)
    groups: list[tuple[set[int], list[int]]] = []
    for calls, steps in rivals.items():
        touching = [group for group in groups if group[0] & calls]
        groups = [group for group in groups if not group[0] & calls]
        merged = set(calls).union(*(group[0] for group in touching))
        groups.append((merged, sorted(steps + [j for group in touching for j in group[1]])))

    for calls, steps in groups:
        order = sorted(calls)

        @functools.cache
        def best(position: int, free: tuple[int, ...], order=order):
            """(total, -distance, pairs) of the calls from `position` on."""
            if position == len(order):
                return Fraction(0), 0, ()
            i = order[position]
            options = [best(position + 1, free)]
            for j in free:
                if (i, j) in scores:
                    total, near, pairs = best(position + 1, tuple(k for k in free if k != j))
                    options.append((total + scores[i, j], near - abs(i - j), ((i, j), *pairs)))
            return max(options, key=lambda option: option[:2])

        for i, j in best(0, tuple(steps))[2]:
            assignment[j] = i
    return tuple(assignment)
