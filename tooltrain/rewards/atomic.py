"""How well one call is one gold call: the pair scores of every call with every gold call.

    union     = number of argument names in p or g
    ast(p,g)  = 0 if the names differ, else 0.33 + 0.33 typed/union + 0.34 equal/union
    pair(p,g) = 0.5 (ast + executed(p)) if ast > 0 else 0

All of it is kept as integers (DESIGN.md section 6): 200 union pair is a whole number.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tooltrain.types import EncodedCalls, EncodedGold


class Pairs(NamedTuple):
    """Every call against every gold call. Counts are over argument names; where neither
    has any, union = typed = equal = 1."""

    same_name: Bool[Array, "C S"]
    union: Int[Array, "C S"]
    typed: Int[Array, "C S"]
    equal: Int[Array, "C S"]
    right: Int[Array, "W C S"]  # bit a of word w: gold argument 31 w + a has its value
    numerator: Int[Array, "C S"]  # 200 union pair


_WORD = 31  # bits of an int32 that are not its sign
_FIELD = 10  # bits of a packed count


def ratio(numerator: Array, denominator: Array) -> Float[Array, "..."]:
    """numerator / denominator in float32; exactly 1 where they are equal.

    Division on a GPU is good to 2 units in the last place only: n / n may miss 1, and a
    gold trace must not.
    """
    quotient = numerator.astype(jnp.float32) / denominator.astype(jnp.float32)
    return jnp.where(numerator == denominator, jnp.float32(1.0), quotient)


def same_hash(a: Int[Array, "... 2"], b: Int[Array, "... 2"]) -> Bool[Array, "..."]:
    """Both 32-bit halves of the 64-bit hashes agree."""
    return (a[..., 0] == b[..., 0]) & (a[..., 1] == b[..., 1])


def same_names(calls: EncodedCalls, gold: EncodedGold) -> Bool[Array, "C S"]:
    """Well-formed calls against gold calls of the same tool."""
    present = (calls.mask & calls.well_formed)[:, None] & gold.mask[None, :]
    return same_hash(calls.name[:, None], gold.name[None, :]) & present


class ArgumentPairs(NamedTuple):
    """Every argument of every call against every one of every gold call; `shared` says
    which have the same name, the others hold for pairs that do."""

    shared: Bool[Array, "A M S C"]  # gold argument, call argument, gold call, call
    call_type: Int[Array, "1 M 1 C"]
    gold_type: Int[Array, "A 1 S 1"]
    same_value: Bool[Array, "A M S C"]

    def count(self, *conditions: Bool[Array, "..."]) -> list[Int[Array, "C S"]]:
        """For each condition, how many shared arguments have it; in one pass.

        A sum over both leading axes of numbers that pack the counts is the one form of
        this that XLA vectorises on a CPU: 6 ms for 4,096 trajectories of 12 calls against
        8 where reductions over one axis, or any over booleans, take 35.
        """
        if min(self.shared.shape[:2]) >= 1 << _FIELD or len(conditions) > 3:
            raise ValueError(
                f"got {self.shared.shape[:2]} (gold, call) arguments and {len(conditions)} "
                f"conditions; fewer than {1 << _FIELD} and at most 3 can be counted at once"
            )
        packed = sum(
            jnp.where(condition, np.int32(1 << _FIELD * field), 0)
            for field, condition in enumerate(conditions)
        )
        packed = jnp.sum(jnp.where(self.shared, packed, 0), axis=(0, 1)).T
        return [(packed >> _FIELD * f) & ((1 << _FIELD) - 1) for f in range(len(conditions))]

    def words(self, condition: Bool[Array, "A M S C"]) -> Int[Array, "W C S"]:
        """Which gold arguments have the condition, as bits (see Pairs.right)."""
        bit = jnp.asarray(np.int32(1) << np.arange(len(condition), dtype=np.int32) % _WORD)
        bits = jnp.where(self.shared & condition, bit[:, None, None, None], 0)
        starts = range(0, len(condition), _WORD)
        return jnp.stack([jnp.sum(bits[s : s + _WORD], axis=(0, 1)).T for s in starts])


def pair_arguments(calls: EncodedCalls, gold: EncodedGold) -> ArgumentPairs:
    """Lays the arguments of calls and gold against each other."""
    shared = _meet(calls.argument_name.T, gold.argument_name.T)
    return ArgumentPairs(
        # Padding has the name 0, which no hash is: the gold's mask excludes both sides'.
        shared=shared & gold.argument_mask.T[:, None, :, None],
        call_type=calls.argument_type.T[None, :, None, :],
        gold_type=gold.argument_type.T[:, None, :, None],
        same_value=_meet(calls.argument_value.T, gold.argument_value.T),
    )


def compare(calls: EncodedCalls, gold: EncodedGold) -> Pairs:
    """The Pairs of one trajectory with its gold."""
    same_name = same_names(calls, gold)
    pairs = pair_arguments(calls, gold)
    # The last bit is not part of the JSON type (calls/canonical.argument_type); equal
    # values are of one type.
    typed = pairs.call_type >> 1 == pairs.gold_type >> 1
    equal = typed & pairs.same_value
    num_shared, num_typed, num_equal = pairs.count(jnp.asarray(True), typed, equal)
    num_mine = jnp.sum(calls.argument_mask, axis=-1, dtype=jnp.int32)[:, None]
    num_gold = jnp.sum(gold.argument_mask, axis=-1, dtype=jnp.int32)[None, :]
    union = num_mine + num_gold - num_shared
    bare = (union == 0).astype(jnp.int32)
    union, num_typed, num_equal = union + bare, num_typed + bare, num_equal + bare
    executed = calls.executed.astype(jnp.int32)[:, None]
    numerator = 33 * union + 33 * num_typed + 34 * num_equal + 100 * union * executed
    return Pairs(
        same_name=same_name,
        union=union,
        typed=num_typed,
        equal=num_equal,
        right=pairs.words(equal),
        numerator=jnp.where(same_name, numerator, 0),
    )


def unpack(words: Int[Array, "W S"], num_arguments: int) -> Bool[Array, "S A"]:
    """Pairs.right of one call for each gold call -> one boolean an argument."""
    bits = (words[:, None, :] >> jnp.arange(_WORD)[None, :, None]) & 1  # [W, 31, S]
    return bits.reshape(-1, words.shape[1])[:num_arguments].T == 1


def _meet(mine: Int[Array, "2 M C"], wanted: Int[Array, "2 A S"]) -> Bool[Array, "A M S C"]:
    """Every hash of the calls' arguments against every one of the gold calls'."""
    low, high = (
        half[None, :, None, :] ^ other[:, None, :, None]
        for half, other in zip(mine, wanted, strict=True)
    )
    return (low | high) == 0
