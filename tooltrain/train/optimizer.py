"""Optimizers: clip, then AdamW, or Muon on the layers' matrices and AdamW on the rest."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int
from optax.contrib import MuonDimensionNumbers, scale_by_muon

from tooltrain.errors import UserError
from tooltrain.policy.lora import MATRICES
from tooltrain.sharding import path_name

OPTIMIZERS = ("adamw", "muon")
DECAYS = ("cosine", "linear", "constant")


def make_schedule(
    peak: float,
    *,
    steps: int,
    warmup_steps: int = 0,
    final_fraction: float = 0.0,
    decay: str = "cosine",
) -> optax.Schedule:
    """Learning rate of step n (from 0): linear warmup to `peak`, then decay.

    n < warmup_steps:  peak (n + 1) / warmup_steps, so the first step already learns
    after:             peak (f + (1 - f) d(x)), x from 0 to 1 over the steps that are left,
                       d = (1 + cos(pi x)) / 2, or 1 - x, or 1; f = final_fraction
    Raises UserError for another decay or a warmup that is longer than the run.
    """
    if decay not in DECAYS:
        raise UserError(f"the learning rate's decay is {decay!r}; allowed: {', '.join(DECAYS)}")
    if not 0 <= warmup_steps <= steps:
        raise UserError(
            f"warmup_steps is {warmup_steps} in a run of {steps} steps; it must be in [0, steps]"
        )

    def schedule(step: Int[Array, ""] | int) -> Float[Array, ""]:
        step = jnp.asarray(step, jnp.float32)
        warm = jnp.minimum((step + 1.0) / max(warmup_steps, 1), 1.0)
        x = jnp.clip((step - warmup_steps) / max(steps - warmup_steps, 1), 0.0, 1.0)
        shape = {"cosine": (1.0 + jnp.cos(jnp.pi * x)) / 2.0, "linear": 1.0 - x, "constant": 1.0}
        return peak * warm * (final_fraction + (1.0 - final_fraction) * shape[decay])

    return schedule


def make_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    b1: float = 0.9,
    b2: float = 0.95,
    weight_decay: float = 0.0,
    clip_norm: float = 1.0,
    muon_learning_rate_ratio: float = 5.0,
) -> optax.GradientTransformation:
    """Clip by global norm (0: off), then the named optimizer. Make it once, outside jit.

    adamw  arXiv 1711.05101; weight decay on matrices only, times the learning rate
    muon   Jordan 2024 (optax.contrib) on matrices, at muon_learning_rate_ratio times
           the schedule, whose value the AdamW on the rest gets. A 0.73M-parameter policy
           was seen to learn best with 0.015 and 0.003: hence 5.

    Raises UserError for another name.
    """
    if name == "adamw":
        update = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=weight_decay, mask=is_matrix)
    elif name == "muon":
        # Not optax.contrib.muon itself: its AdamW is NAdamW, and on every 2-d parameter.
        matrices = optax.chain(
            scale_by_muon(weight_dimension_numbers=_muon_dimensions),
            optax.stateless(_scale_to_shape),
            optax.add_decayed_weights(weight_decay),
            optax.scale_by_learning_rate(lambda step: muon_learning_rate_ratio * schedule(step)),
        )
        rest = optax.adamw(schedule, b1=b1, b2=b2, weight_decay=0.0)
        update = optax.partition({True: matrices, False: rest}, is_matrix)
    else:
        raise UserError(f"the optimizer is {name!r}; allowed: {', '.join(OPTIMIZERS)}")
    if not clip_norm:
        return update
    return optax.chain(optax.clip_by_global_norm(clip_norm), update)


def is_matrix(params: Any) -> Any:
    """True for the layers' matrices, in a tree like `params`; LoRA's pairs are none.

    Only these get weight decay and Muon: embeddings and output heads have one row a token
    (arXiv 2502.16982, section 2.2, keeps them on AdamW), norms are vectors.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: re.fullmatch(MATRICES, path_name(path)) is not None, params
    )


def _muon_dimensions(params: Any) -> Any:
    return jax.tree.map(lambda _: MuonDimensionNumbers(reduction_axis=1, output_axis=2), params)


def _scale_to_shape(updates: Any, params: Any = None) -> Any:
    """Times sqrt(max(1, out / in)), so that one learning rate fits every shape (Jordan 2024)."""
    del params
    return jax.tree.map(lambda m: m * max(1.0, m.shape[-1] / m.shape[-2]) ** 0.5, updates)
