import numpy as np

from experiments.seeds import interval


def test_an_interval_is_students():
    # Mean 2, sample std 1, n = 3: half width 4.303 / sqrt(3).
    low, high = interval([1.0, 2.0, 3.0])
    np.testing.assert_allclose([low, high], [2 - 2.4843, 2 + 2.4843], atol=1e-3)
    assert interval([1.0]) is None
