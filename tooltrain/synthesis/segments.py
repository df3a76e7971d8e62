"""Weighted choices in rows, and the uniform numbers that make them."""

from __future__ import annotations

import numpy as np

from tooltrain.synthesis import philox


class Segments:
    """Weighted members in rows; `pick` draws one of a row by its weight.

    cumulative: base of the row (its place among the rows that have members) plus the share
    of the row's weight up to each member, so one binary search serves all rows.
    """

    def __init__(self, rows: np.ndarray, members: np.ndarray, weights: np.ndarray, num_rows: int):
        kept = np.flatnonzero(weights > 0)
        kept = kept[np.argsort(rows[kept], kind="stable")]
        rows, weights = rows[kept], weights[kept]
        self.members = members[kept].astype(np.int32)
        totals = np.bincount(rows, weights=weights, minlength=num_rows)
        counts = np.bincount(rows, minlength=num_rows)
        self.base = np.cumsum(counts > 0) - 1
        self.last = np.cumsum(counts) - 1
        shares = np.concatenate([[0.0], np.cumsum(weights / totals[rows])])
        before, after = shares[self.last + 1 - counts], shares[self.last + 1]
        within = (shares[1:] - before[rows]) / (after - before)[rows]
        self.cumulative = self.base[rows] + np.minimum(within, 1.0)

    def pick(self, rows: np.ndarray, u: np.ndarray) -> np.ndarray:
        at = np.searchsorted(self.cumulative, self.base[rows] + u, side="right")
        return self.members[np.minimum(at, self.last[rows])]


class Numbers:
    """Uniform numbers of the indices, one array after another."""

    def __init__(self, key: tuple[int, int], indices: np.ndarray, attempt: int):
        self._args, self._given = (key, indices, attempt), 0
        self._pair = np.empty((len(indices), 2))

    def next(self) -> np.ndarray:
        block, half = divmod(self._given, 2)
        if not half:
            self._pair = philox.uniforms(*self._args, block)
        self._given += 1
        return self._pair[:, half]
