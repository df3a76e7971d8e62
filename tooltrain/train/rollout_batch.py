"""Rollouts of any length and number -> rows of one shape, with little computed twice.

The rollouts of a group begin with one prompt, and many go on alike: the same call, the same
response. A row holds such rollouts as a tree, written depth first; each token is there once
and is seen by its descendants alone (arXiv 2511.00413). Two rollouts, which part after a:

    rollouts       p q a r b c      p q a s d        (p q: the prompt; a, b, c, d: sampled)
    tokens         p q a r b s .                     (no logits after a last token are needed)
    visible_to     5 5 5 4 4 5 7                     (padding: past the end of the row)
    positions      0 1 2 3 4 3 0

What is learned from is a list of entries, one a sampled token of a rollout:

    rollout_ids    0 0 0 1 1 .
    targets        a b c a d .
    predictors     1 3 4 1 5 .                       (index in `tokens`)

So logits are computed where something was sampled, and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tooltrain.train.state import row_position
from tooltrain.types import GRPOBatch, Rollout


def pack_rollouts(
    rollouts: Sequence[Rollout],
    advantages: np.ndarray,
    *,
    rows: int,
    row_len: int,
    microbatch_rows: int,
    pad_id: int,
    share_prefixes: bool = True,
) -> GRPOBatch:
    """Rollouts as one GRPOBatch of numpy arrays, T = E = row_len; ref_logprobs are 0 as yet.

    advantages: [rollouts, turns], of the tokens that each rollout sampled in each turn; a
    turn past the last column counts as the last (one column: an advantage a rollout).
    share_prefixes=False: rollouts stand side by side, each with all of its tokens. Rows are
    filled in the order of `state.row_position`; a rollout that sampled nothing is left out.

    Raises ValueError when a rollout is longer than a row, or when they need more rows:
    nothing is cut off.
    """
    sequences = [_sequence(i, r) for i, r in enumerate(rollouts) if r.completion_mask.any()]
    packed = _fill_rows(sequences, row_len, share_prefixes)
    if len(packed) > rows:
        raise ValueError(
            f"{len(rollouts)} rollouts need {len(packed)} rows of {row_len} tokens, got {rows}"
        )
    shape = (rows, row_len)
    batch = GRPOBatch(
        tokens=np.full(shape, pad_id, np.int32),
        positions=np.zeros(shape, np.int32),
        visible_to=np.full(shape, row_len, np.int32),
        predictors=np.zeros(shape, np.int32),
        targets=np.zeros(shape, np.int32),
        completion_mask=np.zeros(shape, np.float32),
        rollout_ids=np.zeros(shape, np.int32),
        old_logprobs=np.zeros(shape, np.float32),
        ref_logprobs=np.zeros(shape, np.float32),
        advantages=np.zeros(shape, np.float32),
    )
    for rank, row in enumerate(packed):
        views = GRPOBatch(*(x[row_position(rank, rows, microbatch_rows)] for x in batch))
        _write_row(views, row.sequences, rollouts, advantages, share_prefixes)
    return batch


def padding_share(batch: GRPOBatch, microbatch_rows: int) -> float:
    """Share of the tokens of a batch that are worked on and hold nothing, in [0, 1]."""
    return padding_of_fills([[fill(batch, microbatch_rows)]])


def fill(batch: GRPOBatch, microbatch_rows: int) -> tuple[int, int]:
    """Tokens of a batch that hold something, and those that are worked on for them."""
    row_len = batch.tokens.shape[1]
    filled = int(np.count_nonzero(batch.completion_mask.any(axis=1)))
    worked_on = -(-filled // microbatch_rows) * microbatch_rows * row_len
    return int(np.count_nonzero(batch.visible_to < row_len)), worked_on


def padding_of_fills(fills: Sequence[Sequence[tuple[int, int]]]) -> float:
    """Padding share of a step's batches, their mean. fills[p][b]: `fill` of process p's rows of
    batch b; all processes work on as many rows of it as the one that has most."""
    shares = []
    for of_batch in zip(*fills, strict=True):
        held = sum(held for held, _ in of_batch)
        worked_on = len(of_batch) * max(worked_on for _, worked_on in of_batch)
        shares.append(1 - held / max(worked_on, 1))
    return sum(shares) / len(shares)


@dataclasses.dataclass(frozen=True)
class _Sequence:
    """What a rollout has to be read as: all tokens before the last sampled one."""

    rollout: int  # index
    tokens: np.ndarray
    sampled: int  # how many tokens it sampled
    order: bytes  # sorts as the tokens do


@dataclasses.dataclass
class _Row:
    tokens: int = 0
    entries: int = 0
    sequences: list[_Sequence] = dataclasses.field(default_factory=list)


def _sequence(index: int, rollout: Rollout) -> _Sequence:
    sampled = np.flatnonzero(rollout.completion_mask)
    tokens = np.asarray(rollout.tokens[: sampled[-1]], np.int32)
    return _Sequence(index, tokens, len(sampled), tokens.astype(">i4").tobytes())


def _fill_rows(sequences: Sequence[_Sequence], row_len: int, share_prefixes: bool) -> list[_Row]:
    """Best fit: the row where a sequence adds least, of those the fullest; else a new row.

    Sequences come in order, so what a row has in common with the next one is what its last
    one has.
    """
    packed: list[_Row] = []
    for sequence in sorted(sequences, key=lambda s: s.order):
        length = len(sequence.tokens)
        if max(length, sequence.sampled) > row_len:
            raise ValueError(f"a rollout of {length} tokens does not fit in a row of {row_len}")
        best = None
        for row in packed:
            if row.entries + sequence.sampled > row_len:
                continue
            shared = _common(row.sequences[-1].tokens, sequence.tokens) if share_prefixes else 0
            tokens = row.tokens + length - shared
            if tokens <= row_len and (best is None or (-shared, -tokens) < best[0]):
                best = (-shared, -tokens), row, tokens
        if best is None:
            packed.append(row := _Row())
            row.tokens = length
        else:
            _, row, row.tokens = best
        row.entries += sequence.sampled
        row.sequences.append(sequence)
    return packed


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    differ = a[:n] != b[:n]
    return int(differ.argmax()) if differ.any() else n


def _write_row(
    row: GRPOBatch,
    sequences: Sequence[_Sequence],
    rollouts: Sequence[Rollout],
    advantages: np.ndarray,
    share_prefixes: bool,
) -> None:
    """Writes sequences, which are in order, into the views of one row."""
    at = entry = 0
    before = path = np.zeros(0, np.int32)  # the last sequence, and where its tokens stand
    for number, sequence in enumerate(sequences):
        shared = _common(before, sequence.tokens) if share_prefixes else 0
        new = np.arange(at, at + len(sequence.tokens) - shared, dtype=np.int32)
        row.tokens[new] = sequence.tokens[shared:]
        row.positions[new] = np.arange(shared, len(sequence.tokens))
        at += len(new)
        before, path = sequence.tokens, np.concatenate([path[:shared], new])
        row.visible_to[path] = at - 1

        rollout = rollouts[sequence.rollout]
        sampled = np.flatnonzero(rollout.completion_mask)
        entries = slice(entry, entry := entry + len(sampled))
        row.predictors[entries] = path[sampled - 1]
        row.targets[entries] = rollout.tokens[sampled]
        row.completion_mask[entries] = 1.0
        row.rollout_ids[entries] = number
        row.old_logprobs[entries] = rollout.logprobs[sampled]
        turn = np.cumsum(np.diff(rollout.completion_mask.astype(np.int8), prepend=0) > 0) - 1
        last = advantages.shape[1] - 1
        row.advantages[entries] = advantages[sequence.rollout, np.minimum(turn[sampled], last)]
