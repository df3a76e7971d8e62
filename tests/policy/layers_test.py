import jax
import jax.numpy as jnp
import numpy as np

from tooltrain.policy.layers import rms_norm, rope_angles, rotate


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
