"""An explicit KV cache over slots, and the forward pass that extends it.

A slot holds one episode's keys and values at positions 0 .. length - 1. The cache is only
written by `write`; the forward pass, `extend`, reads a *view* (some slots, cut to a prefix)
and keeps what it computes in a small *recent* buffer, which `write` appends later:

    view    lengths = 5      k k k k k . . .      positions 0-4, the rest never attended to
    recent  start = 2        r r n .              two tokens since, one new: positions 5, 6, 7

So the large arrays are constants of a decode loop (nothing to copy, one update a segment,
not one a token), and a slot's position is its own, whatever the others do.

Keys are [slots, K, H, S] and values [slots, K, S, H]: both products of a decoding step then
run along contiguous memory; with keys as [.., S, H] and more than one query head a key head
they took 1.9 to 2.9 times as long on a CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tooltrain.policy import out_first, transformer
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.layers import Layer, rope_angles


class KVCache(NamedTuple):
    """Keys and values of every layer, in the policy's compute dtype; lengths in tokens."""

    keys: tuple[Float[Array, "B K H S"], ...]
    values: tuple[Float[Array, "B K S H"], ...]
    lengths: Int[Array, " B"]


def init_cache(config: PolicyConfig, batch: int, max_len: int) -> KVCache:
    """Empty slots. Size in bytes: 2 * L * batch * max_len * K * H * itemsize."""
    kv, h, dtype = config.num_kv_heads, config.head_dim, config.compute_dtype
    layers = range(config.num_layers)
    return KVCache(
        keys=tuple(jnp.zeros((batch, kv, h, max_len), dtype) for _ in layers),
        values=tuple(jnp.zeros((batch, kv, max_len, h), dtype) for _ in layers),
        lengths=jnp.zeros(batch, jnp.int32),
    )


def read(cache: KVCache, slots: Int[Array, " B"], prefix: int) -> KVCache:
    """A copy of `slots`, cut to their first `prefix` positions (static).

    prefix must be at least the longest of those slots' lengths: what lies beyond it is not
    seen. A slot out of range (a padding row) reads some other slot; its result is for nobody.
    """
    slots = jnp.clip(slots, 0, cache.lengths.shape[0] - 1)
    return KVCache(
        keys=tuple(k[:, :, :, :prefix][slots] for k in cache.keys),
        values=tuple(v[:, :, :prefix][slots] for v in cache.values),
        lengths=cache.lengths[slots],
    )


def write(
    cache: KVCache, slots: Int[Array, " B"], recent: KVCache, counts: Int[Array, " B"]
) -> KVCache:
    """Appends the first counts[b] tokens of recent row b to slot slots[b].

    Rows of a slot out of range and tokens past the end of the cache are dropped.
    """
    size, capacity = cache.lengths.shape[0], cache.values[0].shape[2]
    offset = jnp.arange(recent.values[0].shape[2])[None, :]
    start = cache.lengths[jnp.clip(slots, 0, size - 1)]
    position = jnp.where(offset < counts[:, None], start[:, None] + offset, capacity)
    row = slots[:, None]
    return KVCache(
        keys=tuple(
            k.at[row, :, :, position].set(new.transpose(0, 3, 1, 2), mode="drop")
            for k, new in zip(cache.keys, recent.keys, strict=True)
        ),
        values=tuple(
            v.at[row, :, position].set(new.transpose(0, 2, 1, 3), mode="drop")
            for v, new in zip(cache.values, recent.values, strict=True)
        ),
        lengths=cache.lengths.at[slots].add(counts, mode="drop"),
    )


def copy(
    cache: KVCache,
    sources: Int[Array, " B"],
    targets: Int[Array, " B"],
    lengths: Int[Array, " B"],
    prefix: int,
) -> KVCache:
    """Makes slot targets[b] the first lengths[b] (<= prefix) tokens of slot sources[b].

    Targets out of range (padding rows) are dropped. All sources are read before any target is
    written, so a slot may be both; no slot may be the target of two.
    """
    view = read(cache, sources, prefix)
    return KVCache(
        keys=tuple(
            k.at[targets, :, :, :prefix].set(new, mode="drop")
            for k, new in zip(cache.keys, view.keys, strict=True)
        ),
        values=tuple(
            v.at[targets, :, :prefix].set(new, mode="drop")
            for v, new in zip(cache.values, view.values, strict=True)
        ),
        lengths=cache.lengths.at[targets].set(lengths, mode="drop"),
    )


def attend(
    q: Float[Array, "B T N H"],
    view_keys: Float[Array, "B K H S"],
    view_values: Float[Array, "B K S H"],
    lengths: Int[Array, " B"],
    recent_keys: Float[Array, "B K H R"],
    recent_values: Float[Array, "B K R H"],
    start: Int[Array, ""],
) -> Float[Array, "B T N H"]:
    """Query t attends to view positions s < lengths[b] and recent ones r <= start + t.

    One softmax over both, in float32, without joining them in memory; the query heads of a
    key/value head share its rows, nothing is repeated.
    """
    b, t, n, h = q.shape
    kv = view_keys.shape[1]
    group = n // kv
    q = q.reshape(b, t, kv, group, h).transpose(0, 2, 3, 1, 4).reshape(b, kv, group * t, h)
    q = q * (h**-0.5)
    old = jnp.einsum("bkqh,bkhs->bkqs", q, view_keys, preferred_element_type=jnp.float32)
    new = jnp.einsum("bkqh,bkhr->bkqr", q, recent_keys, preferred_element_type=jnp.float32)

    in_view = jnp.arange(old.shape[-1])[None, :] < lengths[:, None]
    query = jnp.tile(jnp.arange(t), group)
    in_recent = jnp.arange(new.shape[-1])[None, :] <= start + query[:, None]
    old = jnp.where(in_view[:, None, None, :], old, -jnp.inf)
    new = jnp.where(in_recent[None, None], new, -jnp.inf)

    top = jnp.maximum(old.max(-1, keepdims=True), new.max(-1, keepdims=True))
    old, new = jnp.exp(old - top), jnp.exp(new - top)
    total = old.sum(-1, keepdims=True) + new.sum(-1, keepdims=True)
    dtype = view_values.dtype
    out = jnp.einsum("bkqs,bksh->bkqh", old.astype(dtype), view_values)
    out = out + jnp.einsum("bkqr,bkrh->bkqh", new.astype(dtype), recent_values)
    out = (out / total).astype(dtype)
    return out.reshape(b, kv, group, t, h).transpose(0, 3, 1, 2, 4).reshape(b, t, n, h)


def unstack(config: PolicyConfig, params: transformer.Params) -> transformer.Params:
    """The same parameters for `extend` alone: layers as a tuple, matrices in the compute dtype.

    Sliced out of stacked arrays inside a decoding loop, weights are copied at every token: with
    10 layers of SmolLM2's shape on two busy cores a token took 1.3 (batch 32) to 2.0 (batch 1)
    times the CPU time. Made once for each version of the parameters, outside the loop; it is
    a second copy of them. Where `out_first.applies`, matrices are joined and turned round too.
    """
    dtype = config.compute_dtype

    def cast(path, p):  # norms stay float32: `rms_norm` multiplies by them in float32
        return p if "norm" in jax.tree_util.keystr(path) else p.astype(dtype)

    params = jax.tree_util.tree_map_with_path(cast, params)
    layers = tuple(
        jax.tree.map(lambda p, i=i: p[i], params["layers"]) for i in range(config.num_layers)
    )
    if not out_first.applies(config):
        return {**params, "layers": layers}
    params["layers"] = tuple(map(out_first.join, layers))
    if "head" in params:
        params["head_rows"] = params.pop("head").T
    return params


def extend(
    config: PolicyConfig,
    params: transformer.Params,
    tokens: Int[Array, "B T"],
    view: KVCache,
    recent: KVCache,
    start: Int[Array, ""],
) -> tuple[Float[Array, "B T D"], KVCache]:
    """Runs T new tokens after each row's view and its first `start` recent tokens.

    Row b's tokens stand at positions view.lengths[b] + start + 0 .. T - 1. Returns the last
    layer's output (give it to `transformer.head_logits`) and recent with the new tokens' keys
    and values at start .. start + T - 1. Padding stands at the end of a row: causality hides
    it from the real tokens before it, and `write` is told how many to keep.
    params: stacked as `Transformer` has them, or unstacked (faster in a loop).
    """
    turned = isinstance(params["layers"], tuple) and out_first.applies(config)
    layer = (out_first.OutFirstLayer if turned else Layer)(config)
    offset = start + jnp.arange(tokens.shape[1])[None, :]
    positions = view.lengths[:, None] + offset
    angles = rope_angles(positions, config.head_dim, config.rope_theta, config.rope_scaling)
    x = params["embedding"][tokens].astype(config.compute_dtype)
    keys, values = [], []
    for i in range(config.num_layers):
        stacked = isinstance(params["layers"], dict)
        one = (
            jax.tree.map(lambda p, i=i: p[i], params["layers"]) if stacked else params["layers"][i]
        )
        weights = {"params": one}
        q, k, v = layer.apply(weights, x, angles, method="project")
        k, v = k.transpose(0, 2, 3, 1), v.transpose(0, 2, 1, 3)
        keys.append(jax.lax.dynamic_update_slice_in_dim(recent.keys[i], k, start, 3))
        values.append(jax.lax.dynamic_update_slice_in_dim(recent.values[i], v, start, 2))
        attended = attend(q, view.keys[i], view.values[i], view.lengths, keys[i], values[i], start)
        x = layer.apply(weights, x, attended, method="merge")
    return x, KVCache(tuple(keys), tuple(values), recent.lengths)
