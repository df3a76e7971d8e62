import jax
import jax.numpy as jnp
import numpy as np

from tooltrain.policy.config import RopeScaling
from tooltrain.policy.layers import rms_norm, rope_angles, rope_factors, rotate


def test_rms_norm_of_a_worked_vector():
    # mean of squares of (3, 4) is 12.5; 3 / sqrt(12.5) = 0.8485, 4 / sqrt(12.5) = 1.1314
    got = rms_norm(jnp.array([[3.0, 4.0]]), jnp.array([1.0, 2.0]), eps=0.0)
    np.testing.assert_allclose(got, [[0.848528, 2.262742]], rtol=1e-5)


def test_rotation_of_a_worked_vector():
    # H = 4: pairs are (x0, x2) at frequency 1 and (x1, x3) at 10000^(-1/2) = 0.01.
    # Position 2: (1, 0) turns to (cos 2, sin 2); (0, 1) turns to (-sin 0.02, cos 0.02).
    x = jnp.array([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 1, 4)
    got = rotate(x, rope_angles(jnp.array([[2]]), 4, 10_000.0)).ravel()
    want = [np.cos(2), -np.sin(0.02), np.sin(2), np.cos(0.02)]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_rotation_keeps_lengths_and_depends_on_position_differences_only():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def score(at_q, at_k):
        angles = [rope_angles(jnp.array([[p]]), 8, 10_000.0) for p in (at_q, at_k)]
        return float(jnp.sum(rotate(q, angles[0]) * rotate(k, angles[1])))

    np.testing.assert_allclose(score(7, 3), score(104, 100), atol=1e-5)
    np.testing.assert_allclose(score(5, 5), float(jnp.sum(q * k)), atol=1e-5)


def test_llama_3_s_factors_of_worked_frequencies():
    # H = 8, theta 10^4: frequencies 1, 0.1, 0.01, 0.001, so 628 tokens hold 100, 10, 1 and 0.1
    # turns. Kept from 4 turns on, an eighth up to 1 turn, linear between.
    scaling = RopeScaling(8.0, 1.0, 4.0, 628)
    got = rope_factors(8, 10_000.0, scaling)
    np.testing.assert_allclose(got, [1, 1, 1 / 8, 1 / 8], rtol=1e-6)
    # With 1571 tokens the third makes 2.5 turns, half way: (1 + 1/8) / 2.
    got = rope_factors(8, 10_000.0, RopeScaling(8.0, 1.0, 4.0, 1571))
    np.testing.assert_allclose(got, [1, 1, 0.5625, 1 / 8], rtol=1e-3)


def test_scaled_angles_are_the_angles_of_scaled_positions():
    """Where every frequency is divided by 8, position 8p turns as position p did."""
    scaling = RopeScaling(8.0, 1e9, 2e9, 1)
    got = rope_angles(jnp.array([[8, 24]]), 8, 10_000.0, scaling)
    want = rope_angles(jnp.array([[1, 3]]), 8, 10_000.0)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
