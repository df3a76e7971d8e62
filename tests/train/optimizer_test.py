import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tooltrain.errors import UserError
from tooltrain.train.optimizer import is_matrix, make_optimizer, make_schedule


def tree(fill: float):
    return {
        "embedding": jnp.full((4, 2), fill),
        "layers": {"query": jnp.full((1, 2, 2), fill), "mlp_norm": jnp.full((1, 2), fill)},
        "final_norm": jnp.full((2,), fill),
    }


def first_update(optimizer, grads, params):
    return optimizer.update(grads, optimizer.init(params), params)[0]


def test_warmup_rises_linearly_and_already_learns_at_step_0():
    schedule = make_schedule(0.4, steps=12, warmup_steps=4)
    np.testing.assert_allclose([schedule(n) for n in range(4)], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_decays_at_hand_worked_points():
    # Warmup 2, steps 10: 8 steps of decay; step 6 is half way, step 10 the end.
    # f = 0.1. cosine at half: 0.1 + 0.9 / 2 = 0.55; linear too; at a quarter (step 4):
    # cosine 0.1 + 0.9 (1 + cos 45 degrees) / 2 = 0.868198, linear 0.1 + 0.9 * 3/4 = 0.775.
    for decay, quarter, half, end in [
        ("cosine", 0.868198, 0.55, 0.1),
        ("linear", 0.775, 0.55, 0.1),
        ("constant", 1.0, 1.0, 1.0),
    ]:
        schedule = make_schedule(2.0, steps=10, warmup_steps=2, final_fraction=0.1, decay=decay)
        got = [float(schedule(n)) / 2.0 for n in (4, 6, 10)]
        np.testing.assert_allclose(got, [quarter, half, end], rtol=1e-5)


def test_a_schedule_that_means_nothing_is_an_error():
    with pytest.raises(UserError, match=r"'step'.*cosine, linear, constant"):
        make_schedule(1.0, steps=10, decay="step")
    with pytest.raises(UserError, match=r"warmup_steps is 11 in a run of 10"):
        make_schedule(1.0, steps=10, warmup_steps=11)


def test_the_first_adamw_step_is_the_learning_rate_against_the_sign():
    # m / (1 - b1) = g and sqrt(v / (1 - b2)) = |g|, so the step is -lr g / (|g| + 1e-8).
    optimizer = make_optimizer("adamw", lambda _: 0.01, clip_norm=0.0)
    updates = first_update(optimizer, tree(-3.0), tree(1.0))
    for update in jax.tree.leaves(updates):
        np.testing.assert_allclose(update, np.full(update.shape, 0.01), rtol=1e-5)


def test_weight_decay_is_on_layer_matrices_only():
    # Parameters of 2, no gradient: matrices get -lr * decay * 2 = -0.01 * 0.5 * 2.
    for name, ratio in (("adamw", 1.0), ("muon", 5.0)):
        optimizer = make_optimizer(name, lambda _: 0.01, weight_decay=0.5)
        updates = first_update(optimizer, tree(0.0), tree(2.0))
        np.testing.assert_allclose(updates["layers"]["query"], np.full((1, 2, 2), -0.01 * ratio))
        for update in (updates["embedding"], updates["layers"]["mlp_norm"]):
            np.testing.assert_array_equal(update, np.zeros(update.shape))


def test_muon_orthogonalizes_matrices_and_leaves_the_rest_to_adamw():
    grads = tree(1.0)
    rng = np.random.default_rng(0)
    # Singular values 4 and 0.4: Muon makes both about 1, times 0.01 x 5.
    left, right = (np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2))
    grads["layers"]["query"] = jnp.asarray(left @ np.diag([4.0, 0.4]) @ right, jnp.float32)[None]
    optimizer = make_optimizer("muon", lambda _: 0.01, muon_learning_rate_ratio=5.0, clip_norm=0)
    updates = first_update(optimizer, grads, tree(1.0))
    singular = np.linalg.svd(updates["layers"]["query"][0], compute_uv=False) / 0.05
    assert np.all((singular > 0.6) & (singular < 1.3)), singular
    for update in (updates["embedding"], updates["layers"]["mlp_norm"], updates["final_norm"]):
        np.testing.assert_allclose(update, np.full(update.shape, -0.01), rtol=1e-5)


def test_lora_pairs_get_adamw_without_decay_from_both():
    pairs = {"layers": {"query": {"a": jnp.ones((1, 2, 1)), "b": jnp.zeros((1, 1, 2))}}}
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(name, lambda _: 0.01, weight_decay=0.5, clip_norm=0.0)
        updates = first_update(optimizer, jax.tree.map(jnp.ones_like, pairs), pairs)
        for update in jax.tree.leaves(updates):
            np.testing.assert_allclose(update, np.full(update.shape, -0.01), rtol=1e-5)


def test_clipping_scales_the_whole_tree_to_the_norm():
    # 16 numbers of 3: norm 12; clipped to 1, each becomes 0.25; AdamW's m = 0.1 * 0.25.
    optimizer = make_optimizer("adamw", lambda _: 0.01, clip_norm=1.0)
    params = tree(1.0)
    assert sum(x.size for x in jax.tree.leaves(params)) == 16
    _, state = optimizer.update(tree(3.0), optimizer.init(params), params)
    moment = optax.tree.get(state, "mu")
    np.testing.assert_allclose(moment["final_norm"], [0.025, 0.025], rtol=1e-5)


def test_matrices_are_told_by_their_place_not_their_rank():
    assert is_matrix(tree(0.0)) == {
        "embedding": False,
        "layers": {"query": True, "mlp_norm": False},
        "final_norm": False,
    }


def test_an_unknown_optimizer_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'lion'.*adamw, muon"):
        make_optimizer("lion", lambda _: 0.1)
