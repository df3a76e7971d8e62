"""Chunks change nothing but memory: values and gradients are those of the whole logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.train import head_statistics, objectives

B, E, D, V = 2, 13, 8, 50


def inputs(dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0), 4)
    hidden = jax.random.normal(keys[0], (B, E, D), dtype)
    head = 0.3 * jax.random.normal(keys[1], (V, D))
    targets = jax.random.randint(keys[2], (B, E), 0, V)
    return hidden, head, targets, jax.random.normal(keys[3], (2, B, E))


def whole(hidden, head, targets, temperature):
    """(log-probabilities, entropies) from all logits."""
    logprobs = jax.nn.log_softmax(hidden @ head.T / temperature)
    chosen = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
    return chosen, -jnp.sum(jnp.exp(logprobs) * logprobs, axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunks", [1, 4, 13])  # 13 targets in 4 chunks: three are padding
def test_chunks_have_the_values_and_gradients_of_the_whole(chunks, temperature):
    hidden, head, targets, weights = inputs()

    def of_chunks(hidden, head):
        found = head_statistics.chunked_statistics(
            hidden, head, targets, temperature, chunks=chunks
        )
        return found.logprobs, found.entropy

    found, gradient = jax.vjp(of_chunks, hidden, head)
    found = (*found, *gradient(tuple(weights)))
    with jax.enable_x64(True):
        doubles = (jnp.asarray(np.asarray(x, np.float64)) for x in (hidden, head))
        want, gradient = jax.vjp(lambda h, w: whole(h, w, targets, temperature), *doubles)
        want = (*want, *gradient(tuple(jnp.asarray(np.asarray(w, np.float64)) for w in weights)))
    for got, wanted in zip(found, want, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


def test_chunks_say_what_the_plain_path_says():
    hidden, head, targets, _ = inputs()
    targets = targets.at[:, ::2].set(jnp.argmax(hidden @ head.T, axis=-1)[:, ::2])
    found = head_statistics.chunked_statistics(hidden, head, targets, chunks=4)
    plain = objectives.target_statistics(hidden @ head.T, targets)
    np.testing.assert_array_equal(found.greedy, plain.greedy)
    assert np.all(plain.greedy[:, ::2])
    for got, wanted in zip(found[:2], plain[:2], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6 * np.abs(hidden @ head.T).max())


def test_few_logits_take_the_plain_path_and_many_do_not(monkeypatch):
    hidden, head, targets, _ = inputs()

    def program(devices):
        return str(
            jax.make_jaxpr(
                lambda h, w: head_statistics.head_statistics(h, w, targets, devices=devices)
            )(hidden, head)
        )

    assert f"f32[{B},{E},{V}]" in program(1)
    monkeypatch.setattr(head_statistics, "MAX_LOGITS", B * E * V // 4)
    assert f"f32[{B},{E},{V}]" not in program(1)
    assert f"f32[{B},{E},{V}]" in program(5)  # each device holds a fifth


def test_bfloat16_sums_in_float32():
    hidden, head, targets, _ = inputs(jnp.bfloat16)
    found = head_statistics.chunked_statistics(hidden, head, targets, chunks=4)
    exact = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (hidden, head))
    logprobs, _ = whole(*exact, targets, 1.0)
    assert found.logprobs.dtype == jnp.float32
    np.testing.assert_allclose(found.logprobs, logprobs, rtol=1e-5)
