"""How much of the gold workflow the matched calls carry out, in order and with the right
values passed on.

    orchestration = 1/S sum over gold calls g that are matched and executed of
                    (equal/union)(g) x share of g's dependencies that are met, 1 if none

A dependency is met when it is matched, executed, in a strictly earlier turn, and every
argument of g that is bound to it carries the right value.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tooltrain.rewards.atomic import ratio
from tooltrain.types import EncodedGold


class MatchedCalls(NamedTuple):
    """What the call matched to each gold call has; all False or 0 where none is."""

    matched: Bool[Array, "S"]
    executed: Bool[Array, "S"]
    turn: Int[Array, "S"]
    union: Int[Array, "S"]
    typed: Int[Array, "S"]
    equal: Int[Array, "S"]
    right: Bool[Array, "S A"]
    numerator: Int[Array, "S"]


def met_dependencies(gold: EncodedGold, found: MatchedCalls) -> Bool[Array, "S S"]:
    """[s, j]: gold call s depends on gold call j and that is met."""
    ready = found.matched & found.executed
    earlier = found.turn[None, :] < found.turn[:, None]
    sources = jnp.arange(gold.mask.shape[0], dtype=jnp.int32)
    wrong = gold.argument_mask & ~found.right  # [S, A]
    spoiled = jnp.any(
        wrong[:, None, :] & (gold.source[:, None, :] == sources[None, :, None]), axis=-1
    )
    return gold.depends_on & ready[None, :] & earlier & ~spoiled


def step_scores(gold: EncodedGold, found: MatchedCalls) -> Float[Array, "S"]:
    """Each gold call's part of the orchestration score, in [0, 1]."""
    needed = jnp.sum(gold.depends_on, axis=-1, dtype=jnp.int32)
    met = jnp.sum(met_dependencies(gold, found), axis=-1, dtype=jnp.int32)
    share = ratio(jnp.where(needed == 0, 1, met), jnp.maximum(needed, 1))
    score = ratio(found.equal, jnp.maximum(found.union, 1)) * share
    return jnp.where(found.matched & found.executed & gold.mask, score, 0.0)
