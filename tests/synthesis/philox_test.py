"""Philox gives the published words, and uniform numbers by index."""

from __future__ import annotations

import numpy as np
import pytest

from tooltrain.synthesis import philox

_ONES = 0xFFFFFFFF


# Known answers of Random123 (Salmon et al. 2011), examples/kat_vectors, philox4x32 10.
@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((_ONES, _ONES), (_ONES,) * 4, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_are_those_published(key, counter, words):
    assert tuple(philox.words(key, np.array([counter], np.uint64))[0]) == words


def test_a_number_depends_on_its_own_index_alone():
    key = philox.key_of("cache", 7)
    every = philox.uniforms(key, np.arange(1000), 3, 1)
    some = np.array([999, 0, 17, 2**40])
    found = philox.uniforms(key, some, 3, 1)
    assert (found[:3] == every[some[:3]]).all()
    assert not (found[3] == every).any()


def test_numbers_are_uniform_and_pairs_unrelated():
    u = philox.uniforms(philox.key_of("a"), np.arange(200_000), 0, 0)
    assert u.min() >= 0
    assert u.max() < 1
    cells = np.histogram2d(u[:, 0], u[:, 1], bins=10, range=[[0, 1], [0, 1]])[0]
    expected = len(u) / 100
    # Chi-square of 99 degrees of freedom: 99 +- 14; six deviations.
    assert ((cells - expected) ** 2 / expected).sum() < 99 + 6 * 14.1


def test_keys_differ_by_every_name_and_by_their_borders():
    keys = {philox.key_of(*names) for names in [("a", 1), ("a", 2), ("b", 1), ("a1",), ("a", "1x")]}
    assert len(keys) == 5
