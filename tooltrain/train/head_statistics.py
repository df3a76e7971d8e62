"""Statistics of targets from hidden states: the logits of a whole batch are never held at once.

At a vocabulary of 151,936 the float32 logits of 4,096 tokens are 2.5 GB, and their gradient is as
large. Here they are made of some tokens at a time, forward and again backward: one matrix
product more, and memory that no longer grows with the batch.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tooltrain.train.objectives import TokenStatistics, target_statistics

# Logits a device holds at once: 256 MB in float32. A batch of fewer takes the plain path, which
# multiplies by the head once less.
MAX_LOGITS = 1 << 26


def head_statistics(
    hidden: Float[Array, "B E D"],
    head: Float[Array, "V D"],
    targets: Int[Array, "B E"],
    temperature: float = 1.0,
    *,
    devices: int = 1,
) -> TokenStatistics:
    """`target_statistics` under the logits hidden head^T, in chunks when these are many.

    devices: over which the batch's logits are split.
    """
    logits = targets.size * head.shape[0]
    chunks = max(-(-logits // (MAX_LOGITS * devices)), 1)
    if chunks == 1:
        return target_statistics(_logits(hidden, head.astype(hidden.dtype)), targets, temperature)
    return chunked_statistics(hidden, head, targets, temperature, chunks=chunks)


def chunked_statistics(
    hidden: Float[Array, "B E D"],
    head: Float[Array, "V D"],
    targets: Int[Array, "B E"],
    temperature: float = 1.0,
    *,
    chunks: int,
) -> TokenStatistics:
    """`target_statistics` under the logits hidden head^T, E / chunks of each row at a time.

    Gradients, with p = softmax(logits / temperature), H its entropy, and l, h the gradients of
    the target's log-probability and of H:

        d / d logits_v = (l ([v is the target] - p_v) - h p_v (log p_v + H)) / temperature
    """
    entries = targets.shape[1]
    padding = ((0, 0), (0, -entries % chunks))
    hidden = jnp.pad(hidden, (*padding, (0, 0)))
    targets = jnp.pad(targets, padding)
    parts = _statistics(_cut(hidden, chunks), head, _cut(targets, chunks), temperature)
    return TokenStatistics(*(_join(part)[:, :entries] for part in parts))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _statistics(hidden, head, targets, temperature):
    return _statistics_forward(hidden, head, targets, temperature)[0]


def _statistics_forward(hidden, head, targets, temperature):
    cast = head.astype(hidden.dtype)

    def of_part(part):
        hidden, targets = part
        logits = _logits(hidden, cast) / temperature
        greatest = jnp.max(logits, axis=-1)
        # Relative to the greatest, so that no digits are lost to its size.
        logits -= greatest[..., None]
        chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
        weights = jnp.exp(logits)
        total = jnp.sum(weights, axis=-1)
        log_total = jnp.log(total)
        entropy = log_total - jnp.sum(weights * logits, axis=-1) / total
        return (chosen - log_total, entropy, chosen >= 0.0), greatest + log_total

    statistics, log_partition = jax.lax.map(of_part, (hidden, targets))
    return statistics, (hidden, head, targets, log_partition, statistics[1])


def _statistics_backward(temperature, kept, gradients):
    hidden, head, targets, log_partition, entropy = kept
    cast = head.astype(hidden.dtype)

    def of_part(head_gradient, part):
        hidden, targets, log_partition, entropy, of_logprob, of_entropy = part
        logprobs = _logits(hidden, cast) / temperature - log_partition[..., None]
        surprise = of_entropy[..., None] * (logprobs + entropy[..., None])
        gradient = -jnp.exp(logprobs) * (of_logprob[..., None] + surprise)
        ids = jax.lax.broadcasted_iota(targets.dtype, gradient.shape, gradient.ndim - 1)
        gradient += jnp.where(ids == targets[..., None], of_logprob[..., None], 0.0)
        # Products in the dtype of the forward pass, added up in float32.
        gradient = (gradient / temperature).astype(hidden.dtype)
        head_gradient += jnp.einsum(
            "bev,bed->vd", gradient, hidden, preferred_element_type=jnp.float32
        )
        return head_gradient, jnp.matmul(gradient, cast).astype(hidden.dtype)

    parts = (hidden, targets, log_partition, entropy, *gradients[:2])
    zeros = jnp.zeros(head.shape, jnp.float32)
    head_gradient, hidden_gradient = jax.lax.scan(of_part, zeros, parts)
    return hidden_gradient, head_gradient.astype(head.dtype), None


_statistics.defvjp(_statistics_forward, _statistics_backward)


def _logits(hidden: Float[Array, "*S D"], head: Float[Array, "V D"]) -> Float[Array, "*S V"]:
    return jnp.matmul(hidden, head.T, preferred_element_type=jnp.float32)


def _cut(x: Array, chunks: int) -> Array:
    """[B, E, ...] -> [chunks, B, E / chunks, ...]"""
    return jnp.swapaxes(x.reshape(x.shape[0], chunks, -1, *x.shape[2:]), 0, 1)


def _join(x: Array) -> Array:
    return jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1)
