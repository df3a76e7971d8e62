"""The least seconds that a rollout's work can take on a machine of given `machine.rates`.

Bytes: every weight once a step, and the keys and values of every row. Operations: two a weight of
a matrix and token, four a head width and pair of tokens in attention. Each is divided by its rate,
and the longer of the two is the roofline. Norms, rotations, sampling and the activations' own
traffic are left out, so nothing reaches it quite.
"""

from __future__ import annotations

from tooltrain.policy.config import PolicyConfig

Rates = dict[str, object]


def matrices(config: PolicyConfig) -> int:
    """Weights of the layers' matrices."""
    heads = 2 * config.num_heads + 2 * config.num_kv_heads
    per_layer = config.d_model * (config.head_dim * heads + 3 * config.d_ff)
    return config.num_layers * per_layer


def prefill_operations(config: PolicyConfig, rows: int, tokens: int, cached: int = 0) -> float:
    """Of `tokens` a row after `cached` ones; no logits, as prefill in a rollout makes none."""
    pairs = tokens * (tokens + 1) / 2 + tokens * cached
    scores = 4 * config.num_layers * config.num_heads * config.head_dim * pairs
    return rows * (2 * matrices(config) * tokens + scores)


def prefill(config: PolicyConfig, rows: int, tokens: int, rates: Rates, cached: int = 0) -> float:
    """Seconds."""
    size = _size(config)
    read = size * (matrices(config) + rows * cached * _cached_numbers(config))
    return _longer(read, prefill_operations(config, rows, tokens, cached), rates)[0]


def decode(
    config: PolicyConfig, rows: int, steps: int, cached: float, rates: Rates
) -> tuple[float, str]:
    """Seconds of `steps` steps at a mean length of `cached` tokens, and what they are bound by."""
    head = config.vocab_size * config.d_model
    weights = matrices(config) + head
    numbers = rows * cached * _cached_numbers(config)
    group = config.num_heads / config.num_kv_heads
    operations = 2 * rows * weights + 2 * numbers * group
    seconds, bound = _longer(_size(config) * (weights + numbers), operations, rates)
    return steps * seconds, bound


def _cached_numbers(config: PolicyConfig) -> int:
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim


def _size(config: PolicyConfig) -> int:
    return 4 if config.dtype == "float32" else 2


def _longer(read: float, operations: float, rates: Rates) -> tuple[float, str]:
    by_bytes = read / rates["gigabytes_per_second"] / 1e9
    by_operations = operations / rates["gflop_per_second"] / 1e9
    return max((by_bytes, "bytes"), (by_operations, "operations"))
