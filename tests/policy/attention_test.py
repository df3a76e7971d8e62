"""Every implementation gives the numbers of the plain one, in values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain import sharding
from tooltrain.policy.attention import causal_attention, choose

LENGTH = 300  # three blocks, the last one short


def _inputs(rows=2, heads=4, kv_heads=2, width=16, dtype=jnp.float32):
    """q, k, v, a cotangent, and segments with padding at the end of the last row."""
    rng = np.random.default_rng(0)
    shapes = ((rows, LENGTH, n, width) for n in (heads, kv_heads, kv_heads, heads))
    arrays = [jnp.asarray(rng.normal(0, 1, shape), dtype) for shape in shapes]
    segments = np.ones((rows, LENGTH), np.int32)
    segments[:, 140:] = 2
    segments[-1, 290:] = 0
    return *arrays, jnp.asarray(segments)


def _out_and_gradients(implementation, q, k, v, cotangent, segments, visible_to=None):
    def attend(q, k, v):
        return causal_attention(q, k, v, segments, implementation, visible_to)

    @jax.jit
    def both(q, k, v):
        out, back = jax.vjp(attend, q, k, v)
        return out, *back(cotangent)

    return both(q, k, v)


def _tree():
    """q, k, v, a cotangent, and visible_to: tokens 0-139 go on as 140-279, or as 280-299."""
    *arrays, _ = _inputs()
    last = np.repeat([LENGTH - 1, 279, LENGTH - 1], [140, 140, 20])
    return *arrays, jnp.asarray(np.stack([last, last]), jnp.int32)


@pytest.mark.parametrize("implementation", ["auto", "splash"])
def test_branches_of_a_tree_see_what_they_have_in_common_and_not_each_other(implementation):
    *arrays, visible_to = _tree()
    got = _out_and_gradients(implementation, *arrays, None, visible_to)[0]
    for start, end in ((140, 280), (280, LENGTH)):
        keep = np.r_[0:140, start:end]
        want = _out_and_gradients("xla", *(x[:, keep] for x in arrays), None)[0]
        np.testing.assert_allclose(got[:, start:end], want[:, 140:], atol=2e-5)


def test_auto_equals_xla_s_on_trees():
    *arrays, visible_to = _tree()
    got = _out_and_gradients("auto", *arrays, None, visible_to)
    want = _out_and_gradients("xla", *arrays, None, visible_to)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.usefixtures("optimized")
def test_segments_side_by_side_are_trees_without_branches():
    *arrays, segments = _inputs()
    last = np.repeat([139, LENGTH - 1], [140, 160])
    visible_to = jnp.asarray(np.stack([last] * 2), jnp.int32)
    segments = segments.at[-1, 290:].set(2)
    as_tree = _out_and_gradients("auto", *arrays, None, visible_to)
    as_segments = _out_and_gradients("auto", *arrays, segments)
    for a, b in zip(as_tree, as_segments, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("implementation", ["auto", "splash"])
@pytest.mark.parametrize("packed", [False, True], ids=["whole rows", "packed segments"])
def test_an_implementation_equals_xla_s(implementation, packed):
    *arrays, segments = _inputs()
    segments = segments if packed else None
    got = _out_and_gradients(implementation, *arrays, segments)
    want = _out_and_gradients("xla", *arrays, segments)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_splash_on_a_mesh_equals_one_device():
    """Rows over data and fsdp, heads over tensor: eight devices."""
    q, k, v, cotangent, segments = _inputs(rows=4)
    want = _out_and_gradients("xla", q, k, v, cotangent, segments)
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    with jax.set_mesh(mesh):
        got = _out_and_gradients("splash", q, k, v, cotangent, segments)
    assert len(got[0].sharding.device_set) == 8
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_heads_that_the_mesh_cannot_share_are_an_error():
    q, k, v, _, segments = _inputs(kv_heads=1)
    mesh = sharding.make_mesh({"data": 2, "fsdp": 1, "tensor": 4})
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=r"1 key/value heads.*tensor=4"):
        causal_attention(q, k, v, segments, "splash")


@pytest.mark.parametrize(
    ("backend", "dtype", "width", "want"),
    [
        ("cpu", jnp.float32, 64, "blocked"),
        ("tpu", jnp.bfloat16, 128, "splash"),
        ("gpu", jnp.bfloat16, 64, "cudnn"),
        ("gpu", jnp.float32, 64, "xla"),  # cuDNN's kernel has no float32
        ("gpu", jnp.bfloat16, 192, "xla"),
    ],
)
def test_auto_is_what_suits_the_backend(backend, dtype, width, want):
    assert choose("auto", backend, jnp.dtype(dtype), width) == want
    assert choose("xla", backend, jnp.dtype(dtype), width) == "xla"


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="cuDNN's kernel needs a GPU")
@pytest.mark.parametrize("packed", [False, True], ids=["whole rows", "packed segments"])
def test_cudnn_is_as_near_to_float32_as_xla_is(packed):
    *arrays, segments = _inputs(width=64, dtype=jnp.bfloat16)
    segments = segments if packed else None
    real = np.ones((2, LENGTH), bool) if segments is None else np.asarray(segments) > 0
    exact = _out_and_gradients("xla", *(x.astype(jnp.float32) for x in arrays), segments)
    ours = _out_and_gradients("cudnn", *arrays, segments)
    plain = _out_and_gradients("xla", *arrays, segments)
    for a, b, want in zip(ours, plain, exact, strict=True):
        error, usual = (np.abs(np.asarray(x, np.float32) - want)[real].max() for x in (a, b))
        assert error < 2 * usual + 1e-2
