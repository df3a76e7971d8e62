"""Statistics of tokens from hidden states: the logits of a whole batch are never held at once.

At a vocabulary of 151,936 the float32 logits of 4,096 tokens are 2.5 GB, and their gradient is as
large. Here they are made of some positions at a time, forward and again backward: one matrix
product more, and memory that no longer grows with the batch.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from tooltrain.train.objectives import TokenStatistics, token_statistics

# Logits a device holds at once: 256 MB in float32. A batch of fewer takes the plain path, which
# multiplies by the head once less.
MAX_LOGITS = 1 << 26


def head_statistics(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "V D"],
    tokens: Int[Array, "B T"],
    temperature: float = 1.0,
    *,
    devices: int = 1,
) -> TokenStatistics:
    """`token_statistics` of the logits hidden head^T, in chunks when they are many.

    devices: over which the batch's logits are split.
    """
    logits = tokens.size * head.shape[0]
    chunks = -(-logits // (MAX_LOGITS * devices))
    if chunks == 1:
        return token_statistics(_logits(hidden, head.astype(hidden.dtype)), tokens, temperature)
    return chunked_statistics(hidden, head, tokens, temperature, chunks=chunks)


def chunked_statistics(
    hidden: Float[Array, "B T D"],
    head: Float[Array, "V D"],
    tokens: Int[Array, "B T"],
    temperature: float = 1.0,
    *,
    chunks: int,
) -> TokenStatistics:
    """`token_statistics` of the logits hidden head^T, of T / chunks positions at a time.

    Gradients, with p = softmax(logits / temperature), H its entropy, and l, h the gradients of
    the token's log-probability and of H:

        d / d logits_v = (l ([v is the token] - p_v) - h p_v (log p_v + H)) / temperature
    """
    length = tokens.shape[1]
    width = -(-length // chunks)
    padding = ((0, 0), (0, width * chunks - length))
    following = jnp.pad(jnp.roll(tokens, -1, axis=1), padding)
    hidden = jnp.pad(hidden, (*padding, (0, 0)))
    parts = _statistics(_cut(hidden, chunks), head, _cut(following, chunks), temperature)
    # About the next token -> about this token: 0 first.
    return TokenStatistics(
        *(jnp.pad(_join(part)[:, : length - 1], ((0, 0), (1, 0))) for part in parts)
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _statistics(hidden, head, following, temperature):
    return _statistics_forward(hidden, head, following, temperature)[0]


def _statistics_forward(hidden, head, following, temperature):
    cast = head.astype(hidden.dtype)

    def of_part(part):
        hidden, following = part
        logits = _logits(hidden, cast) / temperature
        greatest = jnp.max(logits, axis=-1)
        # Relative to the greatest, so that no digits are lost to its size.
        logits -= greatest[..., None]
        chosen = jnp.take_along_axis(logits, following[..., None], axis=-1)[..., 0]
        weights = jnp.exp(logits)
        total = jnp.sum(weights, axis=-1)
        log_total = jnp.log(total)
        entropy = log_total - jnp.sum(weights * logits, axis=-1) / total
        return (chosen - log_total, entropy, chosen >= 0.0), greatest + log_total

    statistics, log_partition = jax.lax.map(of_part, (hidden, following))
    return statistics, (hidden, head, following, log_partition, statistics[1])


def _statistics_backward(temperature, kept, gradients):
    hidden, head, following, log_partition, entropy = kept
    cast = head.astype(hidden.dtype)

    def of_part(head_gradient, part):
        hidden, following, log_partition, entropy, of_logprob, of_entropy = part
        logprobs = _logits(hidden, cast) / temperature - log_partition[..., None]
        surprise = of_entropy[..., None] * (logprobs + entropy[..., None])
        gradient = -jnp.exp(logprobs) * (of_logprob[..., None] + surprise)
        ids = jax.lax.broadcasted_iota(following.dtype, gradient.shape, gradient.ndim - 1)
        gradient += jnp.where(ids == following[..., None], of_logprob[..., None], 0.0)
        # Products in the dtype of the forward pass, added up in float32.
        gradient = (gradient / temperature).astype(hidden.dtype)
        head_gradient += jnp.einsum(
            "btv,btd->vd", gradient, hidden, preferred_element_type=jnp.float32
        )
        return head_gradient, jnp.matmul(gradient, cast).astype(hidden.dtype)

    parts = (hidden, following, log_partition, entropy, *gradients[:2])
    zeros = jnp.zeros(head.shape, jnp.float32)
    head_gradient, hidden_gradient = jax.lax.scan(of_part, zeros, parts)
    return hidden_gradient, head_gradient.astype(head.dtype), None


_statistics.defvjp(_statistics_forward, _statistics_backward)


def _logits(hidden: Float[Array, "*S D"], head: Float[Array, "V D"]) -> Float[Array, "*S V"]:
    return jnp.matmul(hidden, head.T, preferred_element_type=jnp.float32)


def _cut(x: Array, chunks: int) -> Array:
    """[B, T, ...] -> [chunks, B, T / chunks, ...]"""
    return jnp.swapaxes(x.reshape(x.shape[0], chunks, -1, *x.shape[2:]), 0, 1)


def _join(x: Array) -> Array:
    return jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1)
