"""LoRA: two thin matrices beside each matrix of the layers, which alone are trained.

    W + (alpha / rank) A B,    A [L, in, rank],  B [L, rank, out]

A is drawn, B is 0 at first, so the policy begins as it was. Source: arXiv 2106.09685, section 4.1.
"""

from __future__ import annotations

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
from jaxtyping import Array
from ml_collections import ConfigDict

from tooltrain.errors import UserError
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import flatten, unflatten

# Matrices between hidden states, stacked over layers as [L, in, out], by their path: these get a
# pair.
MATRICES = r"layers/(query|key|value|output|gate|up|down)"


@dataclasses.dataclass(frozen=True)
class Lora:
    """rank: columns of A; alpha / rank: what A B is multiplied by."""

    rank: int
    alpha: float

    def __post_init__(self):
        if self.rank < 1 or self.alpha <= 0:
            raise UserError(
                f"config.lora has rank {self.rank} and alpha {self.alpha}; rank must be 1 or more "
                "(0: off), alpha more than 0"
            )

    def init(self, params: Params, rng: Array) -> Params:
        """A fresh tree for parameters (arrays or shapes): layers/query/a, layers/query/b, ...

        A is normal with variance 1 / in, so that x A is of the size of x.
        """
        matrices = {k: w for k, w in flatten(params).items() if re.fullmatch(MATRICES, k)}
        tree = {}
        for key, (name, w) in zip(
            jax.random.split(rng, len(matrices)), matrices.items(), strict=True
        ):
            *stacked, width, out = w.shape
            a = jax.random.normal(key, (*stacked, width, self.rank)) / math.sqrt(width)
            tree |= {f"{name}/a": a, f"{name}/b": jnp.zeros((*stacked, self.rank, out))}
        return unflatten(tree)

    def shapes(self, params: Params) -> Params:
        """The shapes of `init`'s tree; nothing is computed."""
        return jax.eval_shape(lambda: self.init(params, jax.random.key(0)))

    def merge(self, base: Params, lora: Params) -> Params:
        """The policy's parameters, a tree like `base`: W + (alpha / rank) A B.

        Raises ValueError for a pair whose matrix `base` does not have.
        """
        matrices, pairs = flatten(base), flatten(lora)
        if unknown := sorted({name.rpartition("/")[0] for name in pairs} - matrices.keys()):
            raise ValueError(f"LoRA has pairs for {unknown}, which are no parameters of the policy")
        for name, w in matrices.items():
            if f"{name}/a" in pairs:
                change = pairs[f"{name}/a"] @ pairs[f"{name}/b"]
                matrices[name] = w + (self.alpha / self.rank) * change
        return unflatten(matrices)


def lora_of(config: ConfigDict | dict) -> Lora | None:
    """What config.lora says; None: rank 0 or no such section, all parameters are trained."""
    section = config.get("lora")
    return Lora(section["rank"], section["alpha"]) if section and section["rank"] else None
