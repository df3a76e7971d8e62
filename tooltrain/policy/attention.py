"""Causal attention inside segments, for training and scoring (no cache)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_CPU_BLOCK = 128  # queries; 64 was as fast at 512 tokens and compiles twice the code
_CPU_MAX_BLOCKS = 16  # longer rows get longer blocks: every block is compiled by itself


def causal_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"] | None,
    implementation: str,
    visible_to: Int[Array, "B T"] | None = None,
) -> Float[Array, "B T N H"]:
    """softmax(q k^T / sqrt(H)) v over the tokens that each token may see.

    These are the earlier ones of the same segment (segment_ids None: each row is one); or,
    if visible_to is given, those s <= t with t <= visible_to[s], which says the same of trees
    (`causal_mask`). implementation: one of `config.ATTENTION_IMPLEMENTATIONS`; all give the
    same numbers but for rounding. Splash knows no trees: "xla" stands in for it there.
    """
    length = q.shape[1]
    chosen = choose(implementation, jax.default_backend(), q.dtype, q.shape[-1])
    if chosen == "splash" and visible_to is not None:
        chosen = "xla"
    if chosen == "splash":
        from tooltrain.policy.splash import splash_attention  # Pallas: half a second to import

        return splash_attention(q, k, v, segment_ids)
    if chosen != "blocked":
        if segment_ids is None and visible_to is None:
            return jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=chosen)
        mask = causal_mask(segment_ids, 0, length, visible_to)
        return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=chosen)

    block = max(_CPU_BLOCK, -(-length // _CPU_MAX_BLOCKS))
    if segment_ids is None and visible_to is None:
        segment_ids = jnp.ones((1, length), jnp.int32)
    attended = []
    for start in range(0, length, block):
        end = min(start + block, length)
        mask = causal_mask(segment_ids, start, end, visible_to)
        attended.append(
            jax.nn.dot_product_attention(q[:, start:end], k[:, :end], v[:, :end], mask=mask)
        )
    return jnp.concatenate(attended, axis=1)


def choose(implementation: str, backend: str, dtype: jnp.dtype, head_dim: int) -> str:
    """What "auto" stands for on a backend; anything else is itself.

    gpu: "cudnn" (flash attention) where it applies, bfloat16 and heads of at most 128 in
    steps of 8, otherwise "xla". tpu: "splash". cpu: "blocked", XLA over blocks of queries
    that see only the keys before their end, which skips almost half of the scores (a training
    step of 4 x 512 tokens took 0.87 to 0.94 of the time).
    """
    if implementation != "auto":
        return implementation
    if backend == "gpu":
        flash = dtype == jnp.bfloat16 and head_dim <= 128 and head_dim % 8 == 0
        return "cudnn" if flash else "xla"
    return {"tpu": "splash", "cpu": "blocked"}.get(backend, "xla")


def causal_mask(
    segment_ids: Int[Array, "B T"] | None,
    start: int,
    end: int,
    visible_to: Int[Array, "B T"] | None = None,
) -> Bool[Array, "B 1 end-start end"]:
    """mask[b, 0, t - start, s]: may token t attend to token s? s <= t, of the same segment.

    Trees: a tree of sequences written depth first has the descendants of token s right behind
    it, up to visible_to[s], and they alone may see it: s <= t <= visible_to[s].
    segment_ids are not asked then. Source: arXiv 2511.00413.

    Padding is segment 0: it attends to padding, so that no row is empty (an empty row's
    softmax is 0/0), and no other segment ever sees it.
    """
    at = jnp.arange(start, end)[None, None, :, None]
    causal = at >= jnp.arange(end)[None, None, None, :]
    if visible_to is not None:
        return causal & (at <= visible_to[:, None, None, :end])
    return causal & (segment_ids[:, None, start:end, None] == segment_ids[:, None, None, :end])
