"""Causal attention inside segments, for training and scoring (no cache)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def causal_mask(segment_ids: Int[Array, "B T"]) -> Bool[Array, "B 1 T T"]:
    """mask[b, 0, t, s]: may token t attend to token s? s <= t, of the same segment.

    Padding is segment 0: it attends to padding, so that no row is empty (an empty row's
    softmax is 0/0), and no other segment ever sees it.
    """
    length = segment_ids.shape[1]
    same = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    return same & jnp.tril(jnp.ones((1, 1, length, length), bool))


def causal_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    mask: Bool[Array, "B 1 T T"] | None,
    implementation: str,
) -> Float[Array, "B T N H"]:
    """softmax(q k^T / sqrt(H)) v over earlier tokens. mask None: one segment a row."""
    chosen = None if implementation == "auto" else implementation
    if mask is None:
        return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=chosen)
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=chosen)
