"""Decoding with matrices turned round and joined gives what the plain layout gives."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.policy import kv_cache, out_first
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, head_logits, init_params

WIDE = PolicyConfig(
    vocab_size=61, num_layers=2, d_model=256, num_heads=4, num_kv_heads=2, head_dim=8, d_ff=48
)


def test_a_product_by_rows_of_the_output_is_the_plain_product():
    x = jax.random.normal(jax.random.key(0), (2, 3, 5))
    matrix = jax.random.normal(jax.random.key(1), (7, 5))
    got = jax.jit(out_first.product)(x, matrix)
    np.testing.assert_allclose(got, np.asarray(x) @ np.asarray(matrix).T, rtol=1e-5, atol=1e-6)


def test_it_is_for_wide_float32_policies_on_a_cpu():
    assert out_first.applies(WIDE)
    assert not out_first.applies(dataclasses.replace(WIDE, dtype="bfloat16"))
    assert not out_first.applies(dataclasses.replace(WIDE, d_model=128))


@pytest.mark.parametrize("tied", [True, False])
def test_decoding_a_wide_policy_equals_its_full_forward(tied):
    config = dataclasses.replace(WIDE, tie_embeddings=tied)
    params = init_params(config, jax.random.key(0))
    tokens = jax.random.randint(jax.random.key(1), (3, 9), 0, config.vocab_size)
    positions = jnp.broadcast_to(jnp.arange(9), tokens.shape)
    want = Transformer(config).apply({"params": params}, tokens, positions)
    unstacked = jax.jit(functools.partial(kv_cache.unstack, config))(params)
    assert unstacked["layers"][0]["gate_up"].shape == (2 * config.d_ff, config.d_model)
    assert ("head_rows" in unstacked, "head" in unstacked) == (not tied, False)

    view, recent = kv_cache.init_cache(config, 3, 1), kv_cache.init_cache(config, 3, 9)
    step = jax.jit(functools.partial(kv_cache.extend, config))
    x, recent = step(unstacked, tokens[:, :5], view, recent, jnp.int32(0))
    logits = [head_logits(config, unstacked, x)]
    for t in range(5, 9):
        x, recent = step(unstacked, tokens[:, t : t + 1], view, recent, jnp.int32(t))
        logits.append(head_logits(config, unstacked, x))
    np.testing.assert_allclose(jnp.concatenate(logits, 1), want, atol=2e-5)
