"""What can be said of a mean over few seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# 97.5% quantiles of Student's t with 1, 2, ... degrees of freedom.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% interval of the mean of few values, by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    half = _T[min(len(values) - 2, len(_T) - 1)] * np.std(values, ddof=1) / len(values) ** 0.5
    return float(np.mean(values) - half), float(np.mean(values) + half)
