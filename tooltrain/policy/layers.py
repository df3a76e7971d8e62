"""One decoder layer, cut where a KV cache has to come in between.

A layer is `project` (normalise, make queries, keys, values) and `merge` (attended values
back into the residual stream, then the MLP). Training puts plain causal attention between
the two, decoding puts attention over a cache there; the weights and the code are the same.
Matrices are kept two-dimensional (in, out), so that sharding rules, Muon and the Hugging
Face name table see ordinary matrices.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tooltrain.policy.config import PolicyConfig, RopeScaling


def rms_norm(x: Float[Array, "*B D"], scale: Float[Array, " D"], eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * scale, in float32, returned in the dtype of x.

    Source: arXiv 1910.07467, as in Llama.
    """
    x32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(jnp.square(x32), axis=-1, keepdims=True) + eps)
    return (x32 * inverse * jax.lax.broadcast(scale, x.shape[:-1])).astype(x.dtype)


def rope_angles(
    positions: Int[Array, "B T"],
    head_dim: int,
    theta: float,
    scaling: RopeScaling | None = None,
) -> tuple[Float[Array, "B T 1 H"], Float[Array, "B T 1 H"]]:
    """cos and signed sin of position * theta^(-2i/H), each written twice over H.

    The two halves of a head are the two coordinates of a rotation (the Hugging Face
    layout, not the interleaved one of the paper, arXiv 2104.09864). The sine's first half
    is negated, so that a rotation is x * cos + swap_halves(x) * sin.
    """
    exponent = jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim
    frequencies = theta**-exponent
    if scaling is not None:
        frequencies = frequencies * rope_factors(head_dim, theta, scaling)
    angles = positions[..., None].astype(jnp.float32) * frequencies[None, None]
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    cos = jnp.concatenate([cos, cos], axis=-1)
    sin = jnp.concatenate([-sin, sin], axis=-1)
    return cos[:, :, None], sin[:, :, None]


def rope_factors(head_dim: int, theta: float, scaling: RopeScaling) -> np.ndarray:
    """What Llama 3 multiplies each of the H/2 rotary frequencies by, in [1 / factor, 1].

    With turns = original_max_len / wavelength, the factor is 1 from high_freq_factor turns on,
    1 / factor up to low_freq_factor turns, and linear in turns between.
    """
    frequency = theta ** (-np.arange(0, head_dim, 2) / head_dim)
    turns = scaling.original_max_len * frequency / (2 * np.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = np.clip((turns - low) / (high - low), 0, 1)
    return (kept + (1 - kept) / scaling.factor).astype(np.float32)


def rotate(x: Float[Array, "B T N H"], angles: tuple[Array, Array]) -> Float[Array, "B T N H"]:
    """Rotary position embedding of x by `rope_angles`, computed in float32."""
    cos, sin = angles
    x32 = x.astype(jnp.float32)
    first, second = jnp.split(x32, 2, axis=-1)
    swapped = jnp.concatenate([second, first], axis=-1)
    return (x32 * cos + swapped * sin).astype(x.dtype)


def matrix_init(scale: float):
    """Truncated normal of standard deviation scale / sqrt(fan in), for (in, out) matrices."""
    return nn.initializers.variance_scaling(scale**2, "fan_in", "truncated_normal")


class Layer(nn.Module):
    """RMSNorm, grouped-query attention and SwiGLU with residuals.

    Output matrices start smaller by 1 / sqrt(2L), which keeps the residual stream's
    variance independent of depth (GPT-2's rule).
    """

    config: PolicyConfig

    def setup(self):
        c = self.config
        ones = nn.initializers.ones
        # In this order: flax draws parameters by their place in it.
        self.attention_norm = self.param("attention_norm", ones, (c.d_model,))
        self.matrices("query", "key", "value", "output")
        if c.qk_norm:
            self.query_norm = self.param("query_norm", ones, (c.head_dim,))
            self.key_norm = self.param("key_norm", ones, (c.head_dim,))
        self.mlp_norm = self.param("mlp_norm", ones, (c.d_model,))
        self.matrices("gate", "up", "down")

    def widths(self) -> dict[str, tuple[int, int]]:
        """(in, out) of every matrix."""
        c = self.config
        inner, kv = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        return {
            "query": (c.d_model, inner),
            "key": (c.d_model, kv),
            "value": (c.d_model, kv),
            "output": (inner, c.d_model),
            "gate": (c.d_model, c.d_ff),
            "up": (c.d_model, c.d_ff),
            "down": (c.d_ff, c.d_model),
        }

    def matrices(self, *names: str) -> None:
        """Declares these matrices."""
        c = self.config
        init = matrix_init(1.0)
        init_out = matrix_init(1.0 / (2 * c.num_layers) ** 0.5)
        for name in names:
            back = name in ("output", "down")  # into the residual stream
            setattr(self, name, self.param(name, init_out if back else init, self.widths()[name]))

    def times(self, x: Float[Array, "*B I"], *names: str) -> list[Array]:
        """x times each of these matrices."""
        return [x @ getattr(self, name).astype(x.dtype) for name in names]

    def project(
        self, x: Float[Array, "B T D"], angles: tuple[Array, Array]
    ) -> tuple[Float[Array, "B T N H"], Float[Array, "B T K H"], Float[Array, "B T K H"]]:
        """Queries, keys and values of x; queries and keys rotated to their positions."""
        c = self.config
        h = rms_norm(x, self.attention_norm, c.norm_eps)
        q, k, v = (
            y.reshape(*y.shape[:-1], -1, c.head_dim) for y in self.times(h, "query", "key", "value")
        )
        if c.qk_norm:
            q = rms_norm(q, self.query_norm, c.norm_eps)
            k = rms_norm(k, self.key_norm, c.norm_eps)
        return rotate(q, angles), rotate(k, angles), v

    def merge(
        self, x: Float[Array, "B T D"], attended: Float[Array, "B T N H"]
    ) -> Float[Array, "B T D"]:
        """x after attention's output projection and the MLP, both added to the residual."""
        c = self.config
        attended = attended.reshape(*attended.shape[:-2], -1)
        x = x + self.times(attended, "output")[0]
        h = rms_norm(x, self.mlp_norm, c.norm_eps)
        gate, up = self.times(h, "gate", "up")
        return x + self.times(nn.silu(gate) * up, "down")[0]
