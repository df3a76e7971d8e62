import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.policy import kv_cache
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, head_logits, init_params

CONFIG = PolicyConfig(
    vocab_size=61, num_layers=2, d_model=24, num_heads=4, num_kv_heads=2, head_dim=8, d_ff=32
)
MAX_LEN = 20


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG, jax.random.key(0))


@pytest.fixture(scope="module")
def full(params):
    """Tokens [3, 16] and the logits of an ordinary forward pass over them."""
    tokens = jax.random.randint(jax.random.key(1), (3, 16), 0, CONFIG.vocab_size)
    positions = jnp.broadcast_to(jnp.arange(16), (3, 16))
    return tokens, jax.jit(Transformer(CONFIG).apply)({"params": params}, tokens, positions)


@functools.partial(jax.jit, static_argnames="prefix")
def _append(params, cache, slots, tokens, counts, prefix=MAX_LEN):
    """Logits of `tokens` after what `slots` hold, and the cache with them appended."""
    view = kv_cache.read(cache, slots, prefix)
    recent = kv_cache.init_cache(CONFIG, *tokens.shape)
    x, recent = kv_cache.extend(CONFIG, params, tokens, view, recent, jnp.int32(0))
    return head_logits(CONFIG, params, x), kv_cache.write(cache, slots, recent, counts)


def test_token_by_token_over_the_cache_equals_the_full_forward_at_every_position(params, full):
    tokens, want = full
    cache = kv_cache.init_cache(CONFIG, 3, MAX_LEN)
    slots, ones = jnp.array([2, 0, 1]), jnp.ones(3, jnp.int32)
    for t in range(tokens.shape[1]):
        logits, cache = _append(params, cache, slots, tokens[:, t : t + 1], ones)
        np.testing.assert_allclose(logits[:, 0], want[:, t], atol=1e-5)
    assert cache.lengths.tolist() == [16, 16, 16]


def test_tokens_in_the_recent_buffer_equal_tokens_in_the_cache(params, full):
    tokens, want = full
    slots = jnp.arange(3)
    _, cache = _append(
        params, kv_cache.init_cache(CONFIG, 3, MAX_LEN), slots, tokens[:, :9], jnp.full(3, 9)
    )
    view = kv_cache.read(cache, slots, 9)
    recent = kv_cache.init_cache(CONFIG, 3, 7)
    extend = jax.jit(functools.partial(kv_cache.extend, CONFIG))
    for t in range(9, 16):
        x, recent = extend(params, tokens[:, t : t + 1], view, recent, jnp.int32(t - 9))
        logits = head_logits(CONFIG, params, x[:, 0])
        np.testing.assert_allclose(logits, want[:, t], atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_unstacked_parameters_give_the_same_numbers(params, full, dtype):
    config = dataclasses.replace(CONFIG, dtype=dtype)
    view, recent = kv_cache.init_cache(config, 3, 1), kv_cache.init_cache(config, 3, 16)
    unstacked = jax.jit(functools.partial(kv_cache.unstack, config))(params)
    assert unstacked["layers"][0]["query"].dtype == config.compute_dtype
    assert unstacked["layers"][0]["query_norm"].dtype == jnp.float32

    @jax.jit
    def logits(params):
        x, kept = kv_cache.extend(config, params, full[0], view, recent, jnp.int32(0))
        return head_logits(config, params, x), kept.keys

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6),
        logits(unstacked),
        logits(params),
    )


def test_padding_is_never_attended_to_and_moves_no_position(params, full):
    tokens, want = full
    cache = kv_cache.init_cache(CONFIG, 4, MAX_LEN)
    # Chunks of 6 with 2, 5 and 6 real tokens; a fourth row is padding altogether.
    slots, counts = jnp.array([3, 1, 0, 4]), jnp.array([2, 5, 6, 6])
    chunk = jnp.full((4, 6), 7).at[:3].set(tokens[:, :6])
    chunk = jnp.where(jnp.arange(6)[None, :] < counts[:, None], chunk, 7)
    logits, cache = _append(params, cache, slots, chunk, counts)
    assert cache.lengths.tolist() == [6, 5, 0, 2]
    for row, count in enumerate((2, 5, 6)):
        np.testing.assert_allclose(logits[row, :count], want[row, :count], atol=1e-5)
    # The next token of each, at its own position, over what the padding left behind.
    following = jnp.stack([tokens[0, 2], tokens[1, 5], tokens[2, 6]])[:, None]
    logits, _ = _append(params, cache, jnp.array([3, 1, 0]), following, jnp.ones(3, jnp.int32))
    for row, t in enumerate((2, 5, 6)):
        np.testing.assert_allclose(logits[row, 0], want[row, t], atol=1e-5)


def test_a_copied_slot_continues_as_its_source_would(params, full):
    tokens, want = full
    cache = kv_cache.init_cache(CONFIG, 3, MAX_LEN)
    _, cache = _append(params, cache, jnp.array([1]), tokens[:1, :12], jnp.array([12]))
    # Of 12 tokens slot 2 takes the first 8; the row for slot 3 is padding.
    copy = jax.jit(kv_cache.copy, static_argnums=4)
    cache = copy(cache, jnp.array([1, 0]), jnp.array([2, 3]), jnp.array([8, 5]), 8)
    assert cache.lengths.tolist() == [0, 12, 8]
    logits, _ = _append(params, cache, jnp.array([2]), tokens[:1, 8:12], jnp.array([4]), prefix=8)
    np.testing.assert_allclose(logits, want[:1, 8:12], atol=1e-5)


def test_a_slot_that_is_source_and_target_gives_what_it_held_before(params, full):
    tokens, want = full
    cache = kv_cache.init_cache(CONFIG, 3, MAX_LEN)
    slots, counts = jnp.array([0, 1]), jnp.array([12, 12])
    _, cache = _append(params, cache, slots, tokens[:2, :12], counts)
    # Slot 1 goes on to slot 2 while it becomes slot 0, whichever row comes first.
    copy = jax.jit(kv_cache.copy, static_argnums=4)
    for rows in (slice(None), slice(None, None, -1)):
        sources, targets = jnp.array([0, 1])[rows], jnp.array([1, 2])[rows]
        moved = copy(cache, sources, targets, jnp.array([8, 8]), 8)
        assert moved.lengths.tolist() == [12, 8, 8]
        for slot, row in ((1, 0), (2, 1)):
            logits, _ = _append(
                params, moved, jnp.array([slot]), tokens[row, None, 8:12], jnp.array([4]), prefix=8
            )
            np.testing.assert_allclose(logits[0], want[row, 8:12], atol=1e-5)


def test_writing_leaves_other_slots_and_earlier_tokens_untouched(params, full):
    tokens, _ = full
    slots = jnp.arange(2)
    _, before = _append(
        params, kv_cache.init_cache(CONFIG, 3, MAX_LEN), slots, tokens[:2, :5], jnp.full(2, 5)
    )
    _, after = _append(params, before, jnp.array([1]), tokens[:1, :4], jnp.array([3]))
    for a, b in zip(before.keys + before.values, after.keys + after.values, strict=True):
        np.testing.assert_array_equal(a[0], b[0])
        np.testing.assert_array_equal(a[2], b[2])
    for a, b in zip(before.keys, after.keys, strict=True):
        np.testing.assert_array_equal(a[1, ..., :5], b[1, ..., :5])
        assert not np.asarray(b[1, ..., 8:]).any()
    for a, b in zip(before.values, after.values, strict=True):
        np.testing.assert_array_equal(a[1, :, :5], b[1, :, :5])
        assert not np.asarray(b[1, :, 8:]).any()
