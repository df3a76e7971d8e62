"""What a step draws on the host: pure functions of the run's seed and the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def step_seed(seed: int, step: int) -> int:
    """A seed of its own for each step of each run, in [0, 2^31)."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0] >> 1)


def minibatch_groups(
    groups: np.ndarray, passes: int, minibatches: int, seed: int
) -> Sequence[np.ndarray]:
    """Groups of each optimizer step, passes x minibatches of them; some are empty when there are
    few groups. Each pass is shuffled anew; in a pass of one minibatch they stay in order."""
    rng = np.random.default_rng(seed)
    return [
        part
        for _ in range(passes)
        for part in np.array_split(
            groups if minibatches == 1 else rng.permutation(groups), minibatches
        )
    ]
