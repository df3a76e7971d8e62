"""Matrices for decoding on a CPU: kept (out, in), those of one input joined.

XLA's CPU backend multiplies few rows by a matrix faster as matrix @ rows.T, with the matrix kept
(out, in): on one core, float32, MLPs of 576 x 1,536 (SmolLM2-135M's) took 0.63 to 0.8 of the time
with 4 to 64 rows, and the same with 1 and from 256 on (benchmarks/unstacked_decode.py). Its
simplifier turns such a product round again, which the barriers of `product` prevent. Training
keeps (in, out).
"""

from __future__ import annotations

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.layers import Layer

# The matrices that read the same input, in the order of their outputs.
JOINED = (("query", "key", "value"), ("output",), ("gate", "up"), ("down",))

_LEAST_WIDTH = 256  # at 128, the demo's, nothing is gained


def applies(config: PolicyConfig) -> bool:
    """Whether decoding keeps matrices (out, in)."""
    wide = config.d_model >= _LEAST_WIDTH and config.dtype == "float32"
    return wide and jax.default_backend() == "cpu"


def product(x: Float[Array, "*B I"], matrix: Float[Array, "O I"]) -> Float[Array, "*B O"]:
    """x @ matrix.T."""
    rows = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]).T)
    made = jax.lax.optimization_barrier(matrix @ rows)
    return made.T.reshape(*x.shape[:-1], -1)


def join(layer: dict[str, Array]) -> dict[str, Array]:
    """One layer's parameters as `OutFirstLayer` has them."""
    joined = {
        "_".join(names): jnp.concatenate([layer[name].T for name in names]) for names in JOINED
    }
    return {name: p for name, p in layer.items() if "norm" in name} | joined


class OutFirstLayer(Layer):
    """A layer over the parameters of `join`."""

    def matrices(self, *names: str) -> None:
        widths = self.widths()
        for joined in JOINED:
            if joined[0] in names:
                name, outs = "_".join(joined), sum(widths[one][1] for one in joined)
                shape = (outs, widths[joined[0]][0])
                setattr(self, name, self.param(name, nn.initializers.zeros, shape))

    def times(self, x: Float[Array, "*B I"], *names: str) -> list[Array]:
        ends = itertools.accumulate(self.widths()[name][1] for name in names)
        joined = product(x, getattr(self, "_".join(names)))
        return jnp.split(joined, list(ends)[:-1], axis=-1)
