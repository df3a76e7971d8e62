"""Two published shapes made small, and the real model."""

from __future__ import annotations

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig, RopeScaling
from tooltrain.policy.smollm2 import fetch_smollm2
from tooltrain.policy.transformer import Params
from tooltrain.policy.weights import parameter_shapes

LLAMA3 = PolicyConfig(
    vocab_size=96,
    num_layers=3,
    d_model=64,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    d_ff=96,
    rope_theta=500_000.0,
    rope_scaling=RopeScaling(8.0, 1.0, 4.0, 64),
    norm_eps=1e-5,
    qk_norm=False,
    tie_embeddings=False,
)
QWEN3 = dataclasses.replace(
    LLAMA3, qk_norm=True, tie_embeddings=True, rope_scaling=None, head_dim=32, norm_eps=1e-6
)


def random_params(config: PolicyConfig, seed: int = 0) -> Params:
    """Random parameters, norms too (at 1 they would not be told apart), without compiling.

    Matrices three times as large as at initialisation: logits lie far apart, so that equal
    greedy tokens say something.
    """
    rng = np.random.default_rng(seed)

    def one(shape: jax.ShapeDtypeStruct) -> np.ndarray:
        if shape.shape[-1] != shape.size and shape.ndim > 1 and shape.shape[-2] > config.num_layers:
            return rng.normal(0, 3 / shape.shape[-2] ** 0.5, shape.shape).astype(np.float32)
        return rng.uniform(0.5, 1.5, shape.shape).astype(np.float32)

    return jax.tree.map(one, parameter_shapes(config))


@pytest.fixture(scope="session", params=[LLAMA3, QWEN3], ids=["llama3", "qwen3"])
def model(request):
    """(config, params)"""
    return request.param, random_params(request.param)


@pytest.fixture(scope="session")
def smollm2_gguf() -> pathlib.Path:
    """The real model; 93 MB, downloaded once a checkout."""
    try:
        return fetch_smollm2(pathlib.Path(__file__).resolve().parents[2] / ".cache" / "wheels")
    except UserError as error:
        pytest.skip(str(error))
