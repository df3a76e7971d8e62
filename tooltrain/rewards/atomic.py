"""How well one call is one gold call: the pair scores of every call with every gold call.

    union     = number of argument names in p or g
    ast(p,g)  = 0 if the names differ, else 0.33 + 0.33 typed/union + 0.34 equal/union
    pair(p,g) = 0.5 (ast + executed(p)) if ast > 0 else 0

All of it is kept as integers (DESIGN.md section 6): 200 union pair is a whole number.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tooltrain.types import EncodedCalls, EncodedGold


class Pairs(NamedTuple):
    """Every call against every gold call. Counts are over argument names; where neither
    has any, union = typed = equal = 1. `right` is about arguments that both have."""

    same_name: Bool[Array, "C S"]
    union: Int[Array, "C S"]
    typed: Int[Array, "C S"]
    equal: Int[Array, "C S"]
    right: Bool[Array, "C S A"]  # gold argument a has its value in the call
    numerator: Int[Array, "C S"]  # 200 union pair


def ratio(numerator: Array, denominator: Array) -> Float[Array, "..."]:
    """numerator / denominator in float32; exactly 1 where they are equal.

    Division on a GPU is good to 2 units in the last place only: n / n may miss 1, and a
    gold trace must not.
    """
    quotient = numerator.astype(jnp.float32) / denominator.astype(jnp.float32)
    return jnp.where(numerator == denominator, jnp.float32(1.0), quotient)


def compare(calls: EncodedCalls, gold: EncodedGold) -> Pairs:
    """The Pairs of one trajectory with its gold."""
    same_name = (
        same_hash(calls.name[:, None], gold.name[None, :])
        & (calls.mask & calls.well_formed)[:, None]
        & gold.mask[None, :]
    )
    # [C, S, gold A, call A]: 0 other name, 1 same name, 2 and same type, 3 and same value
    both = calls.argument_mask[:, None, None, :] & gold.argument_mask[None, :, :, None]
    shared = both & same_hash(
        calls.argument_name[:, None, None, :], gold.argument_name[None, :, :, None]
    )
    # The last bit is not part of the JSON type (calls/canonical.argument_type).
    types, wanted = calls.argument_type >> 1, gold.argument_type >> 1
    typed = types[:, None, None, :] == wanted[None, :, :, None]
    equal = same_hash(calls.argument_value[:, None, None, :], gold.argument_value[None, :, :, None])
    grade = jnp.max(jnp.where(shared, jnp.where(typed, jnp.where(equal, 3, 2), 1), 0), axis=-1)

    num_shared = jnp.sum(grade > 0, axis=-1, dtype=jnp.int32)
    num_typed = jnp.sum(grade > 1, axis=-1, dtype=jnp.int32)
    num_equal = jnp.sum(grade > 2, axis=-1, dtype=jnp.int32)
    union = (
        jnp.sum(calls.argument_mask, axis=-1, dtype=jnp.int32)[:, None]
        + jnp.sum(gold.argument_mask, axis=-1, dtype=jnp.int32)[None, :]
        - num_shared
    )
    bare = (union == 0).astype(jnp.int32)
    union, num_typed, num_equal = union + bare, num_typed + bare, num_equal + bare
    executed = calls.executed.astype(jnp.int32)[:, None]
    numerator = 33 * union + 33 * num_typed + 34 * num_equal + 100 * union * executed
    return Pairs(
        same_name=same_name,
        union=union,
        typed=num_typed,
        equal=num_equal,
        right=grade > 2,
        numerator=jnp.where(same_name, numerator, 0),
    )


def same_hash(a: Int[Array, "... 2"], b: Int[Array, "... 2"]) -> Bool[Array, "..."]:
    """Both 32-bit halves of the 64-bit hashes agree."""
    return (a[..., 0] == b[..., 0]) & (a[..., 1] == b[..., 1])
