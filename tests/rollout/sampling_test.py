import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.rollout.sampling import (
    GREEDY,
    Sampling,
    draw,
    episode_keys,
    sample,
    truncate,
    warn_if_truncated,
)

PROBS = np.array([0.05, 0.4, 0.0, 0.15, 0.3, 0.1], np.float32)
_sample = functools.partial(jax.jit, static_argnames="sampling")(sample)
_truncate = jax.jit(truncate, static_argnums=(1, 2))


def _keys(rows):
    return episode_keys(jnp.uint32(7), jnp.arange(rows), jnp.zeros(rows, jnp.int32))


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, [0, 1, 3, 4, 5]),
        (2, 1.0, [1, 4]),
        (4, 1.0, [1, 3, 4, 5]),
        (6, 1.0, [0, 1, 3, 4, 5]),
        (0, 0.3, [1]),  # 0.4 alone is enough
        (0, 0.69, [1, 4]),  # 0.4 + 0.3
        (0, 0.71, [1, 3, 4]),  # 0.7 is not
        (2, 0.5, [1]),  # of 0.4 / 0.7 and 0.3 / 0.7
    ],
)
def test_truncation_keeps_the_fewest_most_likely_tokens(top_k, top_p, kept):
    cut = _truncate(jnp.log(PROBS)[None], top_k, top_p)[0]
    assert np.flatnonzero(np.isfinite(cut)).tolist() == kept


def test_truncation_equals_a_sort_on_random_logits():
    logits = np.asarray(jax.random.normal(jax.random.key(0), (20, 301))) * 3
    order = np.argsort(-logits, axis=-1)
    probs = np.asarray(jax.nn.softmax(logits.astype(np.float64), axis=-1))
    for row in range(20):
        before = np.cumsum(probs[row, order[row]]) - probs[row, order[row]]
        want_p = set(order[row][before < 0.9].tolist())
        assert set(np.flatnonzero(np.isfinite(_truncate(logits, 0, 0.9)[row]))) == want_p
        assert set(np.flatnonzero(np.isfinite(_truncate(logits, 50, 1.0)[row]))) == set(
            order[row][:50].tolist()
        )


def test_draws_follow_the_distribution():
    rows = 20_000
    uniforms = jax.random.uniform(jax.random.key(1), (rows, 2))
    ids = jax.jit(draw)(jnp.broadcast_to(jnp.log(PROBS), (rows, 6)), uniforms)
    share = np.bincount(np.asarray(ids), minlength=6) / rows
    # Standard errors are at most sqrt(0.25 / 20,000) = 0.0035.
    np.testing.assert_allclose(share, PROBS, atol=0.014)
    assert share[2] == 0


@pytest.mark.parametrize("corner", [0.0, 1 - 2**-23])
def test_the_corners_of_the_uniforms_draw_tokens_of_positive_probability(corner):
    logits = jnp.log(jnp.array([[0.0, 0.0, 0.5, 0.0, 0.5, 0.0, 0.0]]))
    token = int(draw(logits, jnp.full((1, 2), corner))[0])
    assert token in (2, 4)


def test_greedy_takes_the_most_likely_token_and_reports_its_probability():
    ids, logprobs = _sample(jnp.log(PROBS)[None], _keys(1), jnp.zeros(1, jnp.int32), GREEDY)
    assert ids.tolist() == [1]
    np.testing.assert_allclose(logprobs, np.log([0.4]), rtol=1e-5)


def test_logprobs_are_those_of_the_truncated_tempered_distribution():
    # Top-2 of p^(1/0.5): 0.16 and 0.09, so 0.64 and 0.36.
    rows = 50
    logits = jnp.broadcast_to(jnp.log(PROBS), (rows, 6))
    sampling = Sampling(temperature=0.5, top_k=2)
    ids, logprobs = _sample(logits, _keys(rows), jnp.zeros(rows, jnp.int32), sampling)
    assert set(ids.tolist()) == {1, 4}
    want = np.where(np.asarray(ids) == 1, np.log(0.64), np.log(0.36))
    np.testing.assert_allclose(logprobs, want, rtol=1e-4)


def test_a_draw_depends_on_its_key_and_position_but_not_on_its_row():
    logits = jnp.zeros((8, 97))
    keys, positions = _keys(8), jnp.arange(8)
    ids, _ = _sample(logits, keys, positions, Sampling())
    reversed_ids, _ = _sample(logits, keys[::-1], positions[::-1], Sampling())
    later, _ = _sample(logits, keys, positions + 1, Sampling())
    assert ids.tolist() == reversed_ids.tolist()[::-1]
    assert (ids != later).sum() >= 6
    assert len(set(ids.tolist())) >= 6


@pytest.mark.parametrize("wrong", [{"temperature": -1}, {"top_k": -1}, {"top_p": 0}])
def test_a_distribution_that_does_not_exist_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize("truncated", [{"top_k": 5}, {"top_p": 0.9}])
def test_truncated_sampling_warns_that_it_biases_grpo(truncated):
    with pytest.warns(UserWarning, match="truncated sampling biases GRPO"):
        warn_if_truncated(Sampling(**truncated))


def test_sampling_from_everything_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_truncated(Sampling())
        warn_if_truncated(GREEDY)
