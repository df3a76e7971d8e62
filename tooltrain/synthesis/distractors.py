"""Distractors: tools offered in the prompt that no gold call uses."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable

from tooltrain.env.cache import Edge
from tooltrain.synthesis.difficulty import neighbours


def offered(
    needed: Collection[str],
    tools: Collection[str],
    edges: Iterable[Edge],
    *,
    distractors: int,
    nearness: float,
    rng: random.Random,
) -> tuple[str, ...]:
    """The needed tools and `distractors` others of `tools`, in random order.

    nearness: in [0, 1], the share of distractors that a needed tool feeds or is fed by in
    the tool graph, which are the ones a policy could be tempted by; what one kind lacks the
    other fills up.
    """
    if not 0 <= nearness <= 1 or distractors < 0:
        raise ValueError(
            f"nearness must be in [0, 1] and distractors at least 0, got {nearness}, {distractors}"
        )
    others = sorted(set(tools) - set(needed))
    near = sorted(neighbours(needed, edges).intersection(others))
    far = sorted(set(others) - set(near))
    rng.shuffle(near)
    rng.shuffle(far)
    wanted = round(distractors * nearness)
    wanted = max(wanted, distractors - len(far))
    chosen = near[:wanted]
    chosen += far[: distractors - len(chosen)]
    found = [*sorted(set(needed)), *chosen]
    rng.shuffle(found)
    return tuple(found)
