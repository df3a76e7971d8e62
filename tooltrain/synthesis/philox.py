"""Philox4x32-10: random words that are a pure function of (key, counter).

Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (SC '11), section 3.3.
Draw i of anything needs no draw before it, so any index can be asked for alone.
"""

from __future__ import annotations

import hashlib

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def key_of(*names: str | int) -> tuple[int, int]:
    """A key of two 32-bit words for a sequence of names: its SHA-256's first 64 bits."""
    digest = hashlib.sha256("\0".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "big"), int.from_bytes(digest[4:8], "big")


def words(key: tuple[int, int], counters: np.ndarray) -> np.ndarray:
    """uint32 [n, 4] of uint32 counters [n, 4] (any integer dtype, values below 2^32)."""
    c0, c1, c2, c3 = (counters[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(_ROUNDS):
        a, b = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (b >> _HALF) ^ c1 ^ np.uint64(k0), (a >> _HALF) ^ c3 ^ np.uint64(k1)
        c1, c3 = b & _LOW, a & _LOW
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniforms(key: tuple[int, int], indices: np.ndarray, attempt: int, block: int) -> np.ndarray:
    """float64 [n, 2] in [0, 1), 53 bits each, for int64 indices [n] >= 0.

    block: which pair of numbers of an index; attempt: which of its independent tries.
    """
    indices = np.asarray(indices, np.uint64)
    counters = np.empty((len(indices), 4), np.uint64)
    counters[:, 0], counters[:, 1] = indices & _LOW, indices >> _HALF
    counters[:, 2], counters[:, 3] = block, attempt
    drawn = words(key, counters).astype(np.uint64)
    high, low = drawn[:, 0::2], drawn[:, 1::2]
    return ((high << np.uint64(21)) ^ (low >> np.uint64(11))).astype(np.float64) * 2.0**-53
