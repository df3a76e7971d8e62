"""The roofline that benchmarks print, by hand for a policy of two layers."""

from __future__ import annotations

import pytest

from benchmarks import roofline
from tooltrain.policy.config import PolicyConfig

CONFIG = PolicyConfig(
    vocab_size=100, num_layers=2, d_model=8, num_heads=4, num_kv_heads=2, head_dim=4, d_ff=16
)
# A layer: query and output 8 x 16 each, key and value 8 x 8 each, gate, up and down 8 x 16 each.
MATRICES = 2 * (2 * 128 + 2 * 64 + 3 * 128)
CACHED_NUMBERS = 2 * 2 * 2 * 4  # keys and values, layers, heads, head width


def test_matrices_are_counted():
    assert roofline.matrices(CONFIG) == MATRICES


def test_decoding_reads_weights_once_a_step_and_every_row_s_cache():
    rates = {"gigabytes_per_second": 1e-9, "gflop_per_second": 1e9}  # a byte a second
    seconds, bound = roofline.decode(CONFIG, rows=3, steps=5, cached=10, rates=rates)
    assert bound == "bytes"
    assert seconds == pytest.approx(5 * 4 * (MATRICES + 800 + 3 * 10 * CACHED_NUMBERS))


def test_decoding_multiplies_each_row_by_the_weights_and_each_query_by_the_cache():
    rates = {"gigabytes_per_second": 1e9, "gflop_per_second": 1e-9}  # an operation a second
    seconds, bound = roofline.decode(CONFIG, rows=3, steps=5, cached=10, rates=rates)
    assert bound == "operations"
    # 16 query numbers a layer meet 10 keys and 10 values, two operations each.
    assert seconds == pytest.approx(5 * 3 * (2 * (MATRICES + 800) + 2 * 2 * 16 * 20))


def test_a_prefill_attends_to_what_is_cached_and_to_its_own_earlier_tokens():
    operations = roofline.prefill_operations(CONFIG, rows=2, tokens=3, cached=10)
    pairs = (10 + 1) + (10 + 2) + (10 + 3)
    assert operations == 2 * (2 * MATRICES * 3 + 2 * 2 * 2 * 16 * pairs)
