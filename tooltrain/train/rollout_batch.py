"""Rollouts of any length and number -> one of few array shapes, so that steps stay compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tooltrain.types import GRPOBatch, Rollout

MIN_LENGTH = 64


def bucket_length(longest: int, max_len: int) -> int:
    """The least of 64, 96, 128, 192, 256, 384, 512 ... (2^k and 3 * 2^k), or max_len, that
    holds `longest` tokens: at most a third of a longest row is padding."""
    length = MIN_LENGTH
    while length < longest:
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return min(length, max_len)


def bucket_rows(rows: int, full: int, multiple: int) -> int:
    """The least quarter of `full` rows, as a multiple of `multiple`, that holds `rows`.

    Quarters: groups without variance are left out and often number half of a batch, and
    each size is compiled once a length.
    """
    for quarter in (1, 2, 3):
        size = -(-full * quarter // (4 * multiple)) * multiple
        if rows <= size:
            return size
    return full


def pad_rollouts(
    rollouts: Sequence[Rollout], advantages: np.ndarray, *, rows: int, length: int, pad_id: int
) -> GRPOBatch:
    """Rollouts as one GRPOBatch of numpy arrays [rows, length]; ref_logprobs are 0 as yet.

    advantages: [rollouts, turns], of the tokens that each rollout sampled in each turn; a
    turn past the last column counts as the last (one column: an advantage a rollout).

        completion_mask   0 0 0 1 1 0 0 1 1 1 0
        turn                    0 0     1 1 1       (runs of sampled tokens)
        advantages        0 0 0 a a 0 0 b b b 0

    Raises ValueError when a rollout or their number does not fit: nothing is cut off.
    """
    longest = max((len(rollout.tokens) for rollout in rollouts), default=0)
    if len(rollouts) > rows or longest > length:
        raise ValueError(
            f"{len(rollouts)} rollouts of up to {longest} tokens do not fit in [{rows}, {length}]"
        )
    tokens = np.full((rows, length), pad_id, np.int32)
    mask = np.zeros((rows, length), np.float32)
    logprobs = np.zeros((rows, length), np.float32)
    for row, rollout in enumerate(rollouts):
        end = len(rollout.tokens)
        tokens[row, :end] = rollout.tokens
        mask[row, :end] = rollout.completion_mask
        logprobs[row, :end] = rollout.logprobs
    spread = np.zeros_like(logprobs)
    if rollouts:
        starts = np.diff(mask[: len(rollouts)], axis=1, prepend=0.0) > 0
        turn = np.clip(np.cumsum(starts, axis=1) - 1, 0, advantages.shape[1] - 1)
        of_turn = np.take_along_axis(advantages, turn, axis=1)
        spread[: len(rollouts)] = of_turn * mask[: len(rollouts)]
    return GRPOBatch(tokens, mask, logprobs, np.zeros_like(logprobs), spread)
