"""Causal attention by the Pallas splash kernel, which skips the blocks that the mask empties.

Made for TPUs; elsewhere it runs interpreted, which is slow and exact, so that its numbers can
be checked on any machine. XLA cannot split a Pallas kernel over a mesh by itself: each device
is given its own rows (data, fsdp) and heads (tensor).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

_BLOCKS = (512, 256, 128)  # the kernel wants multiples of 128; larger ones amortise its loads


def splash_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"] | None,
) -> Float[Array, "B T N H"]:
    """softmax(q k^T / sqrt(H)) v over earlier tokens of the same segment (None: all).

    Inside `jax.set_mesh`, B is split over data and fsdp, and heads over tensor, which must
    divide K. Raises ValueError if it does not.
    """
    if segment_ids is None:
        segment_ids = jnp.zeros(q.shape[:2], jnp.int32)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return _on_one_device(q, k, v, segment_ids)
    parts = mesh.shape["tensor"]
    if k.shape[2] % parts:
        raise ValueError(
            f"the policy has {k.shape[2]} key/value heads, which mesh axis tensor={parts} cannot "
            "share; splash attention needs a tensor size that divides them."
        )
    rows = ("data", "fsdp")
    heads = PartitionSpec(rows, None, "tensor", None)
    return jax.shard_map(
        _on_one_device,
        in_specs=(heads, heads, heads, PartitionSpec(rows, None)),
        out_specs=heads,
        check_vma=False,  # the kernel does not say what its result varies over
    )(q, k, v, segment_ids)


def _on_one_device(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
    length, heads, width = q.shape[1:]
    extra = -length % 128
    padded = length + extra
    # (rows, heads, tokens, width); tokens added at the end are a segment of their own.
    q, k, v = (
        jnp.pad(x.transpose(0, 2, 1, 3), ((0, 0), (0, 0), (0, extra), (0, 0))) for x in (q, k, v)
    )
    segment_ids = jnp.pad(segment_ids, ((0, 0), (0, extra)), constant_values=-1)
    block = next(size for size in _BLOCKS if padded % size == 0)
    kernel = splash.make_splash_mha(
        splash.MultiHeadMask([splash.CausalMask((padded, padded))] * heads),
        head_shards=1,
        q_seq_shards=1,
        block_sizes=splash.BlockSizes(
            block_q=block,
            block_kv=block,
            block_q_dkv=block,
            block_kv_dkv=block,
            block_q_dq=block,
            block_kv_dq=block,
        ),
        interpret=jax.default_backend() != "tpu",
    )
    scaled = (q * width**-0.5).astype(q.dtype)
    ids = splash.SegmentIds(segment_ids, segment_ids)
    out = jax.vmap(kernel)(scaled, k, v, ids)
    return out.transpose(0, 2, 1, 3)[:, :length].astype(v.dtype)
