"""The best one-to-one assignment of calls to gold calls, exact, in JAX.

    mu = argmax over partial matchings of (sum of pair, - sum of |i - j|), in that order

Gold calls are added one by one along shortest augmenting paths (Jonker and Volgenant,
"A shortest augmenting path algorithm for dense and sparse linear assignment problems",
Computing 38, 1987; in the form of Crouse, "On implementing 2D rectangular assignment
algorithms", 2016), with one change: every gold call may end a path unmatched, at cost 0.

Costs are pairs of integers compared lexicographically. Such pairs add component by
component and keep their order, so the algorithm runs on them as on numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

_TOP = np.int32(2**30)  # above every path length: those stay within 3 * MAX_WEIGHT
MAX_WEIGHT = 2**28
_MAX_SCALE = MAX_WEIGHT // 200
_LARGEST_UNION = 64  # its prime powers fit the bits of an int32


class _Cost(NamedTuple):
    """An integer pair; `first` decides, `second` breaks its ties."""

    first: Array
    second: Array

    def __add__(self, other: _Cost) -> _Cost:
        return _Cost(self.first + other.first, self.second + other.second)

    def __sub__(self, other: _Cost) -> _Cost:
        return _Cost(self.first - other.first, self.second - other.second)

    def __lt__(self, other: _Cost) -> Array:
        tie = (self.first == other.first) & (self.second < other.second)
        return (self.first < other.first) | tie


def _where(condition: Array, a: _Cost, b: _Cost) -> _Cost:
    return _Cost(jnp.where(condition, a.first, b.first), jnp.where(condition, a.second, b.second))


def _prime_powers(limit: int) -> list[tuple[int, int]]:
    """(prime, power) for every prime power up to `limit`."""
    primes = [p for p in range(2, limit + 1) if all(p % q for q in range(2, p))]
    return [(p, p**k) for p in primes for k in range(1, 7) if p**k <= limit]


_POWERS = _prime_powers(_LARGEST_UNION)
_DIVISORS = np.array(  # bit b of entry u: prime power b divides u; the sign bit: u too large
    [sum(1 << b for b, (_, q) in enumerate(_POWERS) if u % q == 0) for u in range(65)] + [-(2**31)],
    np.int32,
)


def integer_weights(
    numerator: Int[Array, "C S"], union: Int[Array, "C S"], allowed: Bool[Array, "C S"]
) -> Int[Array, "C S"]:
    """pair = numerator / (200 union), in [0, 1] -> integers in its proportion.

    The scale is 200 times the least common multiple of the unions that are allowed, so
    sums of weights compare exactly as sums of the rational pairs do. Where that scale would
    leave 28 bits (unions of, say, 13, 16, 17, 19 and 23 between same-named calls of one
    trajectory) or a union is above 64, pairs are rounded to float32 first: totals are then
    within 1e-6 of the best, and only ties may be broken otherwise.
    """
    index = jnp.where(allowed, jnp.minimum(union, _LARGEST_UNION + 1), 1)
    present = jax.lax.reduce(jnp.asarray(_DIVISORS)[index], np.int32(0), jax.lax.bitwise_or, (0, 1))
    # Products stay below 2^24 wherever they are used, so float32 holds them exactly.
    multiple = jnp.float32(1.0)
    for bit, (prime, _) in enumerate(_POWERS):
        multiple *= jnp.where((present >> bit) & 1, jnp.float32(prime), jnp.float32(1.0))
    exact = (multiple <= _MAX_SCALE) & (present >= 0)
    exact_weight = numerator * jnp.rint(multiple / union).astype(jnp.int32)
    rounded = jnp.rint(numerator.astype(jnp.float32) / union * (2**20)).astype(jnp.int32)
    return jnp.where(allowed, jnp.where(exact, exact_weight, rounded), 0)


class _Search(NamedTuple):
    """A shortest-path tree grown from one new gold call."""

    row: Array  # gold call whose edges are relaxed next
    length: _Cost  # of the path to that row
    distance: _Cost  # [C] shortest known path to each call
    parent: Array  # [C] gold call before it on that path
    closed: Array  # [C] calls whose distance is final
    exit_length: _Cost  # shortest path that ends with some gold call unmatched
    exit_row: Array
    sink: Array  # a free call, or -1 while growing
    done: Array


def assign(weight: Int[Array, "C S"], allowed: Bool[Array, "C S"]) -> Int[Array, "S"]:
    """The call matched to each gold call, -1 for none.

    weight: in [0, MAX_WEIGHT], positive where `allowed`; pairs not allowed are never
    matched. Maximises total weight, then minimises the total of |i - j|; exact.
    """
    num_calls, num_steps = weight.shape
    calls, steps = jnp.arange(num_calls), jnp.arange(num_steps)
    apart = jnp.abs(calls[None, :] - steps[:, None])
    cost = _Cost(jnp.where(allowed.T, -weight.T, _TOP), jnp.where(allowed.T, apart, 0))  # [S, C]

    def add_step(step, carry):
        call_of, u, v = carry

        def pick(values: Array, row: Array) -> Array:
            # values[row] without a gather: those are slow in a batch on a CPU
            chosen = (steps == row).reshape((-1,) + (1,) * (values.ndim - 1))
            return jnp.sum(jnp.where(chosen, values, 0), axis=0, dtype=values.dtype)

        def grow(search: _Search) -> _Search:
            edge = _Cost(pick(cost.first, search.row), pick(cost.second, search.row))
            base = search.length - _Cost(pick(u.first, search.row), pick(u.second, search.row))
            reached = base + edge - v
            usable = (edge.first < _TOP) & ~search.closed
            better = usable & (reached < search.distance)
            distance = _where(better, reached, search.distance)
            parent = jnp.where(better, search.row, search.parent)
            # A path may also stop here, this row giving up its call.
            leave = base < search.exit_length
            exit_length = _where(leave, base, search.exit_length)
            exit_row = jnp.where(leave, search.row, search.exit_row)
            # The nearest open call: least first, then least second, then least index.
            first = jnp.where(search.closed, _TOP, distance.first)
            least_first = jnp.min(first)
            second = jnp.where(first == least_first, distance.second, _TOP)
            least_second = jnp.min(second)
            nearest = jnp.argmax(second == least_second).astype(jnp.int32)
            length = _Cost(least_first, least_second)
            holds = call_of == nearest
            stop = ~(length < exit_length)
            free = ~jnp.any(holds)
            grows = ~(stop | free)
            return _Search(
                row=jnp.argmax(holds).astype(jnp.int32),
                length=_where(stop, exit_length, length),
                distance=distance,
                parent=parent,
                closed=search.closed | (grows & (calls == nearest)),
                exit_length=exit_length,
                exit_row=exit_row,
                sink=jnp.where(~stop & free, nearest, -1),
                done=~grows,
            )

        zero, top = (_Cost(jnp.int32(x), jnp.int32(x)) for x in (0, _TOP))
        tree = jax.lax.while_loop(
            lambda search: ~search.done,
            grow,
            _Search(
                row=jnp.asarray(step, jnp.int32),
                length=zero,
                distance=_Cost(
                    jnp.full(num_calls, _TOP, jnp.int32), jnp.full(num_calls, _TOP, jnp.int32)
                ),
                parent=jnp.full(num_calls, -1, jnp.int32),
                closed=jnp.zeros(num_calls, bool),
                exit_length=top,
                exit_row=jnp.int32(-1),
                sink=jnp.int32(-1),
                done=jnp.asarray(False),
            ),
        )

        # Duals: rows and calls in the tree move by how much nearer than the end they are.
        gain = tree.length - tree.distance  # [C]
        held = tree.closed[None, :] & (call_of[:, None] == calls[None, :])  # [S, C]
        gain_of = _Cost(
            jnp.sum(jnp.where(held, gain.first, 0), axis=1),
            jnp.sum(jnp.where(held, gain.second, 0), axis=1),
        )
        gain_of = _where(steps == step, tree.length, gain_of)
        u = u + gain_of
        v = _where(tree.closed, v - gain, v)

        # Flip the path, from its end back to the new gold call.
        leaves = tree.sink < 0
        end = jnp.where(leaves, pick(call_of, tree.exit_row), tree.sink)
        call_of = jnp.where(leaves & (steps == tree.exit_row), -1, call_of)

        def flip(carry):
            call_of, call = carry
            row = jnp.sum(jnp.where(calls == call, tree.parent, 0), dtype=jnp.int32)
            previous = pick(call_of, row)
            return jnp.where(steps == row, call, call_of), previous

        call_of, _ = jax.lax.while_loop(lambda carry: carry[1] >= 0, flip, (call_of, end))
        return call_of, u, v

    zeros_s, zeros_c = jnp.zeros(num_steps, jnp.int32), jnp.zeros(num_calls, jnp.int32)
    start = (
        jnp.full(num_steps, -1, jnp.int32),
        _Cost(zeros_s, zeros_s),
        _Cost(zeros_c, zeros_c),
    )
    call_of, _, _ = jax.lax.fori_loop(0, num_steps, add_step, start)
    return call_of
