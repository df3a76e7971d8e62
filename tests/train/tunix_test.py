"""One GRPO update beside google-tunix's, on the same Qwen3 and the same batch.

Tunix needs versions of its own (google-tunix==0.1.7 in another environment):

    TUNIX_PYTHON=path/to/that/python python -m pytest -m peers tests/train/tunix_test.py
"""

from __future__ import annotations

import os

import pytest

from benchmarks import update_speed

PYTHON = os.environ.get("TUNIX_PYTHON")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="TUNIX_PYTHON names no interpreter with google-tunix"),
]


@pytest.mark.parametrize("aggregation", update_speed.AGGREGATIONS)
def test_loss_kl_clip_fraction_and_gradient_norm_are_tunixs(aggregation):
    values = update_speed.beside_tunix(PYTHON, aggregation=aggregation, repeats=1, updates=1)[
        "values"
    ]
    assert {"loss", "policy_loss", "kl", "entropy", "grad_norm"} <= set(values)
    assert values["clip_fraction"]["tunix"] > 0.1  # or clipping is not compared
    for name, value in values.items():
        if name == "clip_fraction" and aggregation != "token_mean":
            continue  # Tunix's is a mean over tokens whatever the aggregation
        assert value["relative_difference"] < 1e-5, (name, value)
