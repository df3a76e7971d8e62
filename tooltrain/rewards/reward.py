"""The rewards, as pure functions of one trajectory; `score_batch` vmaps and jits them.

    atomic        = sum of pair over mu / max(C, S)
    orchestration = mean over gold calls of its step score (orchestration.py)
    reward        = w_atomic atomic + w_orchestration orchestration

in [0, 1] where the weights are at least 0 and sum to 1 (DESIGN.md section 6). A trace with
no gold calls is right when nothing is called: 1 then, 0 otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tooltrain.rewards.assignment import assign, integer_weights
from tooltrain.rewards.atomic import Pairs, compare, ratio, unpack
from tooltrain.rewards.orchestration import MatchedCalls, met_dependencies, step_scores
from tooltrain.types import EncodedCalls, EncodedGold

Terms = dict[str, Array]
RewardFn = Callable[[EncodedCalls, EncodedGold], tuple[Float[Array, ""], Terms]]


def matched(
    calls: EncodedCalls,
    gold: EncodedGold,
    *,
    w_atomic: float = 0.5,
    w_orchestration: float = 0.5,
) -> tuple[Float[Array, ""], Terms]:
    """The graduated reward of one trajectory and what it is made of.

    terms, each in [0, 1] unless said otherwise:
      atomic, orchestration   the two components
      name, structure, values atomic's ast part by part (sums to `ast`): each call's 0.33
                              name, 0.33 typed/union, 0.34 equal/union over max(C, S)
      ast                     mean ast over max(C, S)
      executed                matched calls that were executed, over max(C, S)
      execution_rate          executed calls / C (0 without calls)
      well_formed_rate        well-formed calls / C (0 without calls)
      dependencies_met        met / all gold dependencies (1 without any)
      exact                   1 if the trajectory is equivalent to gold, else 0
      num_calls, num_steps    C and S
      assignment              int32 [S], the call matched to each gold call, -1 for none
    """
    pairs = compare(calls, gold)
    weight = integer_weights(pairs.numerator, pairs.union, pairs.same_name)
    call_of = assign(weight, pairs.same_name)
    found = _gather(calls, pairs, call_of, gold.argument_mask.shape[1])

    num_calls = jnp.sum(calls.mask, dtype=jnp.int32)
    num_steps = jnp.sum(gold.mask, dtype=jnp.int32)
    larger = jnp.maximum(num_calls, num_steps)
    nothing_asked = num_steps == 0
    silent = (nothing_asked & (num_calls == 0)).astype(jnp.float32)

    def share(values: Array, count: Array) -> Array:
        """Sum over matched gold calls / count, exactly 1 where every one has 1."""
        total = jnp.sum(jnp.where(found.matched, values, 0.0))
        return jnp.where(nothing_asked, silent, ratio(total, jnp.maximum(count, 1)))

    union = jnp.maximum(found.union, 1)
    typed, equal = ratio(found.typed, union), ratio(found.equal, union)
    scores = step_scores(gold, found)
    needed = jnp.sum(gold.depends_on, dtype=jnp.int32)
    met = jnp.sum(met_dependencies(gold, found), dtype=jnp.int32)

    atomic = share(ratio(found.numerator, 200 * union), larger)
    orchestration = share(scores, num_steps)
    name = 0.33 * share(found.matched.astype(jnp.float32), larger)
    structure, values = 0.33 * share(typed, larger), 0.34 * share(equal, larger)
    reward = w_atomic * atomic + w_orchestration * orchestration
    perfect = (found.numerator == 200 * union) & (scores == 1.0)
    exact = jnp.all(jnp.where(gold.mask, found.matched & perfect, True))
    some = jnp.maximum(num_calls, 1)
    return reward, {
        "atomic": atomic,
        "orchestration": orchestration,
        "name": name,
        "structure": structure,
        "values": values,
        "ast": name + structure + values,
        "executed": share(found.executed.astype(jnp.float32), larger),
        "execution_rate": ratio(jnp.sum(calls.executed & calls.mask, dtype=jnp.int32), some),
        "well_formed_rate": ratio(jnp.sum(calls.well_formed & calls.mask, dtype=jnp.int32), some),
        "dependencies_met": ratio(jnp.where(needed == 0, 1, met), jnp.maximum(needed, 1)),
        "exact": (exact & (num_calls == num_steps)).astype(jnp.float32),
        "num_calls": num_calls,
        "num_steps": num_steps,
        "assignment": call_of,
    }


def binary(calls: EncodedCalls, gold: EncodedGold) -> tuple[Float[Array, ""], Terms]:
    """1 if the trajectory is equivalent to gold (`matched` is 1), else 0. Terms: matched's."""
    _, terms = matched(calls, gold)
    return terms["exact"], terms


def atomic_only(calls: EncodedCalls, gold: EncodedGold) -> tuple[Float[Array, ""], Terms]:
    """`matched`'s atomic component alone. Terms: matched's."""
    _, terms = matched(calls, gold)
    return terms["atomic"], terms


def orchestration_only(calls: EncodedCalls, gold: EncodedGold) -> tuple[Float[Array, ""], Terms]:
    """`matched`'s orchestration component alone. Terms: matched's."""
    _, terms = matched(calls, gold)
    return terms["orchestration"], terms


def rewards_to_go(
    reward_fn: RewardFn, num_turns: int, calls: EncodedCalls, gold: EncodedGold
) -> tuple[Float[Array, ""], tuple[Float[Array, "N"], Terms]]:
    """(reward, (w, terms)) of one trajectory: w_n is what it earned from turn n on.

        w_n = r(all calls) - r(calls of the turns before n),  n = 0 ... num_turns - 1

    in [-1, 1] for a reward in [0, 1]. w_0 is the reward, less what silence earns (0 where
    anything was asked for). w_n - w_(n+1) is what turn n added: negative for a call too many.
    """
    total, terms = reward_fn(calls, gold)

    def before(turn: Array) -> Float[Array, ""]:
        return reward_fn(calls._replace(mask=calls.mask & (calls.turn < turn)), gold)[0]

    return total, (total - jax.vmap(before)(jnp.arange(num_turns)), terms)


def score_batch(
    reward_fn: RewardFn, calls: EncodedCalls, gold: EncodedGold
) -> tuple[Float[Array, "B"], Terms]:
    """`reward_fn` of every trajectory of a batch: reward [B], terms [B, ...].

    Compiled once for each (reward_fn, shapes): make a `functools.partial` with other
    weights once and keep it. Arrays whose rows are sharded over a mesh are scored where
    they lie and the results stay there; devices exchange nothing.
    """
    sharding = None if isinstance(calls.mask, jax.core.Tracer) else _row_sharding(calls.mask)
    return _score_rows(reward_fn, sharding, calls, gold)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score_rows(reward_fn, sharding, calls, gold):
    score = jax.vmap(reward_fn)
    if sharding is not None:
        # Without this the loops of all devices would agree on every step whether to go on.
        rows = jax.P(sharding.spec[0])
        score = jax.shard_map(
            score, mesh=sharding.mesh, in_specs=rows, out_specs=rows, check_vma=False
        )
    return score(calls, gold)


def _row_sharding(rows: Array) -> jax.NamedSharding | None:
    """The sharding of an array whose first axis is split over a mesh, else None."""
    sharding = getattr(rows, "sharding", None)
    if isinstance(sharding, jax.NamedSharding) and sharding.spec and sharding.spec[0] is not None:
        return sharding
    return None


def _gather(calls: EncodedCalls, pairs: Pairs, call_of: Array, num_arguments: int) -> MatchedCalls:
    """Rows of `calls` and `pairs` in the order of the gold calls they are matched to."""
    chosen = jnp.arange(calls.mask.shape[0])[:, None] == call_of[None, :]  # [C, S]

    def pick(values: Array) -> Array:
        return jnp.sum(jnp.where(chosen, values, 0), axis=0, dtype=jnp.int32)

    return MatchedCalls(
        matched=call_of >= 0,
        executed=jnp.any(chosen & calls.executed[:, None], axis=0),
        turn=pick(calls.turn[:, None]),
        union=pick(pairs.union),
        typed=pick(pairs.typed),
        equal=pick(pairs.equal),
        right=unpack(jnp.stack([pick(word) for word in pairs.right]), num_arguments),
        numerator=pick(pairs.numerator),
    )
