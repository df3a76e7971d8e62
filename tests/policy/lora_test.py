"""LoRA's pairs: which matrices have them, and what they make of a policy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.policy.conftest import LLAMA3, random_params
from tooltrain.errors import UserError
from tooltrain.policy.lora import Lora, lora_of
from tooltrain.policy.weights import flatten, parameter_shapes

LORA = Lora(rank=2, alpha=4.0)


def test_each_matrix_of_the_layers_has_a_pair_and_nothing_else_has():
    shapes = flatten(LORA.shapes(parameter_shapes(LLAMA3)))
    matrices = {"query", "key", "value", "output", "gate", "up", "down"}
    assert {name.split("/")[1] for name in shapes} == matrices
    for name in matrices:
        stacked, width, out = parameter_shapes(LLAMA3)["layers"][name].shape
        assert shapes[f"layers/{name}/a"].shape == (stacked, width, 2)
        assert shapes[f"layers/{name}/b"].shape == (stacked, 2, out)


def test_at_first_the_policy_is_its_base_exactly():
    base = random_params(LLAMA3)
    merged = LORA.merge(base, LORA.init(base, jax.random.key(1)))
    assert jax.tree.structure(merged) == jax.tree.structure(base)
    jax.tree.map(np.testing.assert_array_equal, merged, base)


def test_a_pair_adds_its_scaled_product():
    up = jnp.stack([jnp.zeros((2, 3)), jnp.ones((2, 3))])
    base = {"embedding": jnp.ones((3, 2)), "layers": {"up": up}}
    # alpha / rank = 2. First layer: 0 + 2 (1, 2)^T (3, 0, 1) + 2 (0, 1)^T (1, 1, 0); second one:
    # 1 + 2 (0, 1)^T (1, 0, 0) + 2 (1, 0)^T (0, 2, 0).
    pair = {
        "a": jnp.array([[[1.0, 0.0], [2.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]]),
        "b": jnp.array([[[3.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]]),
    }
    merged = LORA.merge(base, {"layers": {"up": pair}})
    np.testing.assert_array_equal(
        merged["layers"]["up"], [[[6, 0, 2], [14, 2, 4]], [[1, 5, 1], [3, 1, 1]]]
    )
    np.testing.assert_array_equal(merged["embedding"], base["embedding"])


def test_a_pair_without_its_matrix_is_an_error():
    pair = {"a": jnp.zeros((1, 2, 2)), "b": jnp.zeros((1, 2, 3))}
    with pytest.raises(ValueError, match=r"pairs for \['layers/middle'\]"):
        LORA.merge({"layers": {"up": jnp.zeros((1, 2, 3))}}, {"layers": {"middle": pair}})


def test_rank_0_is_off_and_less_is_an_error():
    assert lora_of({"lora": {"rank": 0, "alpha": 16.0}}) is None
    assert lora_of({}) is None
    assert lora_of({"lora": {"rank": 8, "alpha": 16.0}}) == Lora(8, 16.0)
    with pytest.raises(UserError, match="rank must be 1 or more"):
        lora_of({"lora": {"rank": -1, "alpha": 16.0}})
