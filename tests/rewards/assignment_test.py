"""The assignment is exact: its total is scipy's, its ties are broken as defined."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from tooltrain.rewards import plain
from tooltrain.rewards.assignment import MAX_WEIGHT, assign, integer_weights

assign_batch = jax.jit(jax.vmap(assign))


def totals(weight, call_of):
    """[B] total weight and total |i - j| of assignments [B, S] under weights [B, C, S]."""
    steps = np.arange(call_of.shape[1])
    rows = np.arange(len(call_of))[:, None]
    taken = np.where(call_of >= 0, weight[rows, call_of, steps], 0).sum(axis=1, dtype=np.int64)
    apart = np.where(call_of >= 0, abs(call_of - steps), 0).sum(axis=1)
    return taken, apart


@pytest.mark.parametrize("shape", [(16, 16), (6, 16), (16, 6), (1, 4), (32, 8)])
@pytest.mark.parametrize("top", [3, MAX_WEIGHT])
def test_the_total_is_scipy_s_and_no_call_is_used_twice(shape, top):
    rng = np.random.default_rng(shape[0] * 100 + shape[1] + top % 97)
    weight = rng.integers(1, top + 1, (64, *shape)).astype(np.int32)
    allowed = rng.random((64, *shape)) < rng.random((64, 1, 1))
    call_of = np.asarray(assign_batch(weight, allowed))
    for row in range(64):
        used = call_of[row][call_of[row] >= 0]
        assert len(set(used.tolist())) == len(used)
        assert all(allowed[row, i, j] for j, i in enumerate(call_of[row]) if i >= 0)
        # |i - j| in the low digits of one float64 number makes scipy lexicographic too
        i, j = np.indices(shape)
        value = np.where(allowed[row], weight[row].astype(np.float64) * 4096 - abs(i - j), 0.0)
        best = value[linear_sum_assignment(value, maximize=True)].sum()
        taken, apart = totals(weight[row : row + 1], call_of[row : row + 1])
        assert taken[0] * 4096 - apart[0] == best


def test_of_equal_totals_the_nearest_is_taken():
    weight = jnp.full((4, 3), 5, jnp.int32)
    everything = jnp.ones((4, 3), bool)
    assert _assign(weight, everything).tolist() == [0, 1, 2]
    # Call 1 cannot be used: gold 1 takes call 2 and gold 2 call 3 (apart 2), as would 0, 3, 2
    without = everything.at[1].set(False)
    _, apart = totals(np.asarray(weight)[None], np.asarray(_assign(weight, without))[None])
    assert apart[0] == 2


def test_nothing_allowed_matches_nothing():
    assert assign(jnp.ones((4, 4), jnp.int32), jnp.zeros((4, 4), bool)).tolist() == [-1] * 4


def test_integer_weights_order_sums_as_the_fractions_do():
    """Pairs with mixed unions tie where their fractions tie, and only there."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        union = rng.integers(1, 17, (4, 4)).astype(np.int32)
        numerator = 100 * rng.integers(1, 2 * union + 1).astype(np.int32)
        allowed = rng.random((4, 4)) < 0.8
        weight = np.asarray(_weights(numerator, union, allowed))
        assert weight.max() <= MAX_WEIGHT
        call_of = np.asarray(_assign(weight, allowed)).tolist()
        exact = {
            (i, j): Fraction(int(numerator[i, j]), 200 * int(union[i, j]))
            for i, j in np.argwhere(allowed).tolist()
        }
        want, got = (_worth(exact, a) for a in (plain.best_assignment(exact, 4), call_of))
        if np.lcm.reduce(union[allowed], initial=1) * 200 <= MAX_WEIGHT:
            assert got == want
        else:
            assert abs(got[0] - want[0]) < 1e-6


def _worth(exact, assignment):
    pairs = [(i, j) for j, i in enumerate(assignment) if i >= 0]
    return sum(exact[pair] for pair in pairs), sum(abs(i - j) for i, j in pairs)


_assign = jax.jit(assign)
_weights = jax.jit(integer_weights)


def test_ties_between_pairs_of_different_unions_are_exact():
    # 1/3 + 2/3 against 1/2 + 1/2: rounded to any binary fraction these would not tie.
    numerator = np.array([[200, 200], [200, 400]], np.int32)
    union = np.array([[3, 2], [2, 3]], np.int32)
    weight = np.asarray(integer_weights(numerator, union, np.ones((2, 2), bool)))
    assert weight[0, 0] + weight[1, 1] == weight[0, 1] + weight[1, 0] == 200 * 6


def test_a_long_list_of_rivals_is_solved():
    rows = 24
    rng = np.random.default_rng(5)
    weight = rng.integers(1, 9, (1, rows, rows)).astype(np.int32)
    call_of = np.asarray(assign_batch(weight, np.ones_like(weight, bool)))
    value = weight[0].astype(float)
    best = value[linear_sum_assignment(value, maximize=True)].sum()
    assert totals(weight, call_of)[0][0] == best
