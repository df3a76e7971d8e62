"""The paper's released reward on encoded calls: pure, jitted, for parity and comparison.

The formula is in released.py, the plain version that follows the release to the letter.
This one reads the same numbers from arrays, so it differs where those say less:

* values inside lists compare by their canonical form, and objects never as equal;
* malformed calls count as calls without credit. The release knows only the text: there,
  calls that are not JSON do not exist and unreadable arguments are {}. For parity on
  text, encode `calls.released.released_records`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tooltrain.calls.canonical import ARRAY, BOOLEAN, NULL, NUMBER, OBJECT
from tooltrain.rewards.atomic import pair_arguments, ratio, same_names
from tooltrain.types import EncodedCalls, EncodedGold

_INTEGER, _FLOAT = 2 * NUMBER, 2 * NUMBER + 1  # as encoded: calls/canonical.argument_type


def reference(
    calls: EncodedCalls,
    gold: EncodedGold,
    *,
    w_atomic: float = 0.5,
    w_orchestration: float = 0.5,
    responded: Bool[Array, "C"] | None = None,
    succeeded: Bool[Array, "C"] | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The released score of one trajectory and its components under their released keys,
    each in [0, 1].

    responded, succeeded: which calls got a response and one without an error; needed only
    for `tool_executable_rate` and `tool_calling_success_rate` on text where a response may
    be missing or empty. In this package's environment every well-formed call gets one,
    and those that `executed` succeeded.
    """
    responded = calls.well_formed if responded is None else responded
    succeeded = calls.executed if succeeded is None else succeeded
    same_name = same_names(calls, gold)
    first = same_name & (jnp.cumsum(same_name, axis=1) == 1)  # [C, S]
    known = jnp.any(same_name, axis=1)
    structure, right = _compare_arguments(calls, gold)
    structure = jnp.sum(jnp.where(first, structure, 0.0), axis=1)
    right = jnp.any(first & right, axis=1)
    executed = known & calls.executed
    whole = right & (structure == 1.0)

    num_calls = jnp.sum(calls.mask, dtype=jnp.int32)

    def mean(values: Array) -> Array:
        total = jnp.sum(jnp.where(calls.mask, values.astype(jnp.float32), 0.0))
        return ratio(total, jnp.maximum(num_calls, 1))

    name, values = 0.33 * mean(known), 0.34 * mean(right)
    shape = 0.33 * mean(structure)
    ast = mean(jnp.where(whole, 1.0, 0.33 * known + 0.33 * structure + 0.34 * right))
    semantic = mean(executed)
    atomic = (ast + semantic) / 2
    orchestration = _orchestration(same_name, gold)
    score = w_atomic * atomic + w_orchestration * orchestration
    return score, {
        "R_atomic_validity": atomic,
        "R_atomic_validity_ast": ast,
        "R_atomic_validity_semantic": semantic,
        "R_atomic_validity_rate": mean(whole & executed),
        "R_atomic_validity_name": name,
        "R_atomic_validity_structure": shape,
        "R_atomic_validity_values": values,
        "tool_executable_rate": mean(known & responded),
        "tool_calling_success_rate": mean(known & succeeded),
        "R_outcome_orchestration": orchestration,
        "R_outcome_state": jnp.zeros_like(score),
        "score": score,
    }


def _compare_arguments(
    calls: EncodedCalls, gold: EncodedGold
) -> tuple[Float[Array, "C S"], Bool[Array, "C S"]]:
    """(shared and of a compatible type) / gold arguments, and whether all values are equal."""
    pairs = pair_arguments(calls, gold)
    mine, wanted = pairs.call_type, pairs.gold_type
    compatible = _kind(mine) == _kind(wanted)
    # BFCL takes an integer for a float but not a float for an integer, fails on null, and, as
    # the release calls it, finds objects unequal to themselves.
    never = (wanted == 2 * NULL) | (wanted == 2 * OBJECT + 1) | (wanted == 2 * ARRAY + 1)
    # As bits that must not meet, which XLA still vectorises: 1 integer and float, 2 never.
    refused = jnp.where(never, 2, 0) | jnp.where(wanted == _INTEGER, 1, 0)
    present = 2 | jnp.where(mine == _FLOAT, 1, 0)
    refused, present = jax.lax.optimization_barrier((refused, present))
    typed, equal = pairs.count(compatible, pairs.same_value & ((refused & present) == 0))
    num_mine = jnp.sum(calls.argument_mask, axis=-1, dtype=jnp.int32)[:, None]
    num_gold = jnp.sum(gold.argument_mask, axis=-1, dtype=jnp.int32)[None, :]
    bare = (num_mine == 0).astype(jnp.float32)
    structure = jnp.where(num_gold == 0, bare, ratio(typed, jnp.maximum(num_gold, 1)))
    return structure, (equal == num_gold) & (num_mine == num_gold)


def _kind(code: Array) -> Array:
    """The JSON type, with booleans passing for numbers."""
    return jnp.where(code >> 1 == BOOLEAN, NUMBER, code >> 1)


def _orchestration(same_name: Bool[Array, "C S"], gold: EncodedGold) -> Float[Array, ""]:
    num_calls, num_steps = same_name.shape
    order = jnp.arange(num_calls, dtype=jnp.int32)

    def count(step, position):
        """position [S]: of the call counted for each step so far, num_calls for none."""
        after = jnp.max(jnp.where(gold.depends_on[step], position, -1))
        fits = same_name[:, step] & (order > after)
        found = jnp.min(jnp.where(fits, order, num_calls))
        return position.at[step].set(found)

    position = jax.lax.fori_loop(0, num_steps, count, jnp.full(num_steps, num_calls, jnp.int32))
    counted = jnp.sum((position < num_calls) & gold.mask, dtype=jnp.int32)
    steps = jnp.sum(gold.mask, dtype=jnp.int32)
    return jnp.where(steps == 0, 0.0, ratio(counted, jnp.maximum(steps, 1)))
