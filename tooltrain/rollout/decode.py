"""The jitted parts of a rollout: prefill, copy and the decode loop, over slots of a cache.

Every slot has one *pending* token, which is not in the cache yet: the last token of the
prompt, of a tool response, or the last one sampled. Prefill appends tokens before it and
needs no logits; decoding feeds it, samples the next, and so on.

Rows are the slots an operation is about, in any order and number. Shapes come from buckets:
a row of slot index `num_slots` or a token past its row's count is padding, computed and
thrown away.
"""

from __future__ import annotations

import collections
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.kv_cache import KVCache
from tooltrain.policy.transformer import Params, head_logits
from tooltrain.rollout.sampling import Sampling, episode_keys, sample

# How often each function was traced, by name: a steady state adds nothing here.
TRACES: collections.Counter[str] = collections.Counter()


class Sampled(NamedTuple):
    """What a decode segment sampled: row b's first counts[b] tokens, the rest undefined.

    logprobs: nats, float32, under the sampling distribution.
    """

    ids: Int[Array, "B steps"]
    logprobs: Float[Array, "B steps"]
    counts: Int[Array, " B"]


@functools.partial(jax.jit, static_argnames=("config",))
def unstack(params: Params, *, config: PolicyConfig) -> Params:
    """`kv_cache.unstack`: what `prefill` and `decode` are given as params."""
    TRACES["unstack"] += 1
    return kv_cache.unstack(config, params)


@functools.partial(jax.jit, static_argnames=("config", "prefix"), donate_argnames=("cache",))
def prefill(
    params: Params,
    cache: KVCache,
    slots: Int[Array, " B"],
    tokens: Int[Array, "B T"],
    counts: Int[Array, " B"],
    *,
    config: PolicyConfig,
    prefix: int,
) -> KVCache:
    """Appends the first counts[b] of tokens[b] to slot slots[b], attending to what it holds.

    prefix (static): at least the longest of those slots' lengths.
    """
    TRACES["prefill"] += 1
    view = kv_cache.read(cache, slots, prefix)
    recent = kv_cache.init_cache(config, *tokens.shape)
    _, recent = kv_cache.extend(config, params, tokens, view, recent, jnp.int32(0))
    return kv_cache.write(cache, slots, recent, counts)


@functools.partial(jax.jit, static_argnames=("prefix",), donate_argnames=("cache",))
def copy(
    cache: KVCache,
    sources: Int[Array, " B"],
    targets: Int[Array, " B"],
    lengths: Int[Array, " B"],
    *,
    prefix: int,
) -> KVCache:
    """Slot targets[b] becomes the first lengths[b] tokens of slot sources[b]."""
    TRACES["copy"] += 1
    return kv_cache.copy(cache, sources, targets, lengths, prefix)


class _Loop(NamedTuple):
    step: Int[Array, ""]
    tokens: Int[Array, " B"]
    active: Bool[Array, " B"]
    recent: KVCache
    sampled: Sampled


@functools.partial(
    jax.jit,
    static_argnames=("config", "sampling", "eos_id", "prefix", "steps"),
    donate_argnames=("cache",),
)
def decode(
    params: Params,
    cache: KVCache,
    slots: Int[Array, " B"],
    pending: Int[Array, " B"],
    budgets: Int[Array, " B"],
    prompts: Int[Array, " B"],
    generations: Int[Array, " B"],
    seed: Int[Array, ""],
    *,
    config: PolicyConfig,
    sampling: Sampling,
    eos_id: int,
    prefix: int,
    steps: int,
) -> tuple[KVCache, Sampled]:
    """Samples until every row has emitted eos_id or budgets[b] tokens, at most `steps`.

    A row that stopped earlier computes along and is ignored. The fed tokens (the pending
    one and all sampled but the last) are appended to the cache; the last sampled token is
    the row's next pending one. prompts, generations, seed: what the draws depend on.
    """
    TRACES["decode"] += 1
    rows = slots.shape[0]
    view = kv_cache.read(cache, slots, prefix)
    keys = episode_keys(seed, prompts, generations)

    def undecided(loop: _Loop):
        return (loop.step < steps) & jnp.any(loop.active)

    def advance(loop: _Loop) -> _Loop:
        x, recent = kv_cache.extend(
            config, params, loop.tokens[:, None], view, loop.recent, loop.step
        )
        positions = view.lengths + loop.step + 1
        logits = head_logits(config, params, x[:, 0])
        ids, logprobs = sample(logits, keys, positions, sampling)
        put = functools.partial(jax.lax.dynamic_update_slice_in_dim, axis=1)
        sampled = Sampled(
            ids=put(loop.sampled.ids, ids[:, None], loop.step),
            logprobs=put(loop.sampled.logprobs, logprobs[:, None], loop.step),
            counts=loop.sampled.counts + loop.active,
        )
        active = loop.active & (ids != eos_id) & (sampled.counts < budgets)
        return _Loop(loop.step + 1, ids, active, recent, sampled)

    empty = Sampled(
        ids=jnp.zeros((rows, steps), jnp.int32),
        logprobs=jnp.zeros((rows, steps), jnp.float32),
        counts=jnp.zeros(rows, jnp.int32),
    )
    start = _Loop(
        step=jnp.int32(0),
        tokens=pending,
        active=budgets > 0,
        recent=kv_cache.init_cache(config, rows, steps),
        sampled=empty,
    )
    loop = jax.lax.while_loop(undecided, advance, start)
    return kv_cache.write(cache, slots, loop.recent, loop.sampled.counts), loop.sampled
