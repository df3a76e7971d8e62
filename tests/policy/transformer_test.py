import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params

LLAMA = PolicyConfig(
    vocab_size=61,
    num_layers=2,
    d_model=24,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    d_ff=32,
    qk_norm=False,
    tie_embeddings=True,
)
QWEN3 = dataclasses.replace(LLAMA, qk_norm=True, tie_embeddings=False)
LENGTH = 12


@functools.partial(jax.jit, static_argnums=0)
def _logits(config, params, tokens, positions, segment_ids=None):
    return Transformer(config).apply({"params": params}, tokens, positions, segment_ids)


@functools.partial(jax.jit, static_argnums=0)
def _value_and_grad(config, params, tokens, positions, segment_ids=None):
    loss = lambda p: jnp.mean(_logits(config, p, tokens, positions, segment_ids) ** 2)  # noqa: E731
    return jax.value_and_grad(loss)(params)


def _inputs(rows):
    tokens = jax.random.randint(jax.random.key(1), (rows, LENGTH), 0, LLAMA.vocab_size)
    return tokens, jnp.broadcast_to(jnp.arange(LENGTH), (rows, LENGTH))


def _max_difference(a, b):
    return max(
        float(jnp.abs(x - y).max())
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.mark.parametrize("config", [LLAMA, QWEN3], ids=["llama", "qwen3"])
def test_no_logit_depends_on_a_later_token(config):
    params = init_params(config, jax.random.key(0))
    # Token t is id t, so that a nudge of embedding row t is a nudge of the token at t; the
    # logits of ids from LENGTH on do not read those rows where the embeddings are tied.
    tokens = positions = jnp.arange(LENGTH)[None]

    def logit_sums(nudge):
        nudged = {**params, "embedding": params["embedding"].at[:LENGTH].add(nudge)}
        return _logits(config, nudged, tokens, positions)[0, :, LENGTH:].sum(-1)

    jacobian = jax.jit(jax.jacrev(logit_sums))(jnp.zeros((LENGTH, config.d_model)))
    influence = np.abs(jacobian).max(-1)  # of token s on the logits at t: [t, s]
    later = np.triu(np.ones((LENGTH, LENGTH), bool), 1)
    assert influence[later].max() == 0
    assert influence[~later].min() > 0


def test_packed_segments_and_padding_do_not_see_each_other():
    params = init_params(QWEN3, jax.random.key(0))
    tokens, _ = _inputs(1)
    # first segment, second segment, padding
    segments = jnp.array([[1, 1, 1, 1, 1, 2, 2, 2, 2, 0, 0, 0]])
    positions = jnp.array([[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 0, 0]])
    packed = _logits(QWEN3, params, tokens, positions, segments)
    for start, end in ((0, 5), (5, 9)):
        alone = _logits(QWEN3, params, tokens[:, start:end], positions[:, start:end])
        assert _max_difference(packed[:, start:end], alone) < 1e-5
    assert np.isfinite(packed).all()


def test_padding_makes_no_gradient_nan():
    params = init_params(QWEN3, jax.random.key(0))
    tokens, positions = _inputs(2)
    segments = jnp.zeros_like(tokens).at[0].set(1)
    gradient = _value_and_grad(QWEN3, params, tokens, positions, segments)[1]
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_a_row_does_not_depend_on_its_batch():
    params = init_params(QWEN3, jax.random.key(0))
    tokens, positions = _inputs(3)
    batched = _logits(QWEN3, params, tokens, positions)
    for row in range(3):
        single = _logits(QWEN3, params, tokens[row : row + 1], positions[:1])
        assert _max_difference(batched[row : row + 1], single) < 1e-5


def test_only_differences_of_positions_matter():
    params = init_params(QWEN3, jax.random.key(0))
    tokens, positions = _inputs(2)
    here = _logits(QWEN3, params, tokens, positions)
    assert _max_difference(here, _logits(QWEN3, params, tokens, positions + 50)) < 1e-4
    assert _max_difference(here, _logits(QWEN3, params, tokens, positions * 3)) > 1e-4


def test_remat_changes_neither_value_nor_gradients():
    params = init_params(LLAMA, jax.random.key(0))
    plain, remat = (
        _value_and_grad(dataclasses.replace(LLAMA, remat=remat), params, *_inputs(2))
        for remat in (False, True)
    )
    assert _max_difference(plain, remat) < 1e-6


def test_logits_and_parameters_are_float32_also_in_bfloat16():
    config = dataclasses.replace(QWEN3, dtype="bfloat16")
    params = init_params(config, jax.random.key(0))
    assert _logits(config, params, *_inputs(1)).dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}


def test_init_is_a_function_of_its_key_and_starts_near_the_uniform_distribution():
    first, again, other = (init_params(LLAMA, jax.random.key(seed)) for seed in (3, 3, 4))
    assert _max_difference(first, again) == 0
    assert _max_difference(first, other) > 0
    nll = -jax.nn.log_softmax(_logits(LLAMA, first, *_inputs(4))).mean()
    assert float(nll) == pytest.approx(np.log(LLAMA.vocab_size), rel=0.02)


def test_parameters_have_the_names_that_the_docstring_gives():
    shapes = jax.tree.map(jnp.shape, init_params(QWEN3, jax.random.key(0)))
    assert shapes == {
        "embedding": (61, 24),
        "final_norm": (24,),
        "head": (24, 61),
        "layers": {
            "attention_norm": (2, 24),
            "query": (2, 24, 32),
            "key": (2, 24, 16),
            "value": (2, 24, 16),
            "output": (2, 32, 24),
            "query_norm": (2, 8),
            "key_norm": (2, 8),
            "mlp_norm": (2, 24),
            "gate": (2, 24, 32),
            "up": (2, 24, 32),
            "down": (2, 32, 24),
        },
    }
