"""Host -> device: calls and gold as fixed-shape numpy arrays.

Shapes are bucketed (`bucket`), so that a jitted reward meets few of them; a trainer that
wants one shape only passes `num_calls`, `num_steps` and `num_arguments` as floors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tooltrain.calls.canonical import argument_type, name_hash64, value_hash64
from tooltrain.types import Call, CallRecord, EncodedCalls, EncodedGold, GoldCall


def bucket(size: int, floor: int = 4) -> int:
    """The smallest of 4, 6, 8, 12, 16, 24, 32, 48 ... (2^k and 3 * 2^k) that is at least
    `size` and `floor`: at most a third of an axis is padding."""
    power = 4
    while True:
        for rung in (power, power + power // 2):
            if rung >= size and rung >= floor:
                return rung
        power *= 2


def encode_calls(
    trajectories: Sequence[Sequence[CallRecord]], *, num_calls: int = 4, num_arguments: int = 4
) -> EncodedCalls:
    """Emitted calls of B trajectories -> EncodedCalls [B, C, ...] of numpy arrays.

    C and A are the buckets of the largest sizes met, at least those of `num_calls` and
    `num_arguments`. Nothing is cut off: a trajectory with more calls widens the batch.
    """
    sizes, turns, executed, well_formed, arguments = [], [], [], [], _Arguments()
    for records in trajectories:
        sizes.append(len(records))
        for record in records:
            call = record.call
            known = type(call) is Call
            well_formed.append(known)
            executed.append(known and record.executed)
            turns.append(record.turn)
            if known:
                arguments.add(call.name, call.arguments)
            else:
                arguments.skip()

    # cell: where each call stands in the flattened [B, C]
    cell, shape = _cells(sizes, num_calls)
    names = arguments.scatter(cell, shape, num_arguments)
    return EncodedCalls(
        **names,
        turn=_scatter(turns, cell, shape, np.int32),
        executed=_scatter(executed, cell, shape, np.bool_),
        well_formed=_scatter(well_formed, cell, shape, np.bool_),
        mask=_scatter(np.ones(len(turns), np.bool_), cell, shape, np.bool_),
    )


def encode_gold(
    traces: Sequence[Sequence[GoldCall]], *, num_steps: int = 4, num_arguments: int = 4
) -> EncodedGold:
    """Gold calls of B traces -> EncodedGold [B, S, ...] of numpy arrays.

    Encode a data set once and pick rows with `take_gold`. Raises ValueError where a
    dependency or a binding does not name an earlier gold call, or a binding's argument
    is not one of the call's.
    """
    sizes, arguments = [], _Arguments()
    for calls in traces:
        sizes.append(len(calls))
        for step, call in enumerate(calls):
            _check_references(call, step)
            arguments.add(call.name, call.arguments)
    cell, shape = _cells(sizes, num_steps)
    names = arguments.scatter(cell, shape, num_arguments)
    source = np.full(names["argument_mask"].shape, -1, np.int32)
    depends_on = np.zeros((*shape, shape[1]), np.bool_)
    for row, calls in enumerate(traces):
        for step, call in enumerate(calls):
            depends_on[row, step, list(call.depends_on)] = True
            if call.bindings:
                slots = {name: slot for slot, name in enumerate(call.arguments)}
                for binding in call.bindings:
                    source[row, step, slots[binding.argument]] = binding.source
    mask = _scatter(np.ones(len(cell), np.bool_), cell, shape, np.bool_)
    return EncodedGold(**names, source=source, depends_on=depends_on, mask=mask)


def take_gold(gold: EncodedGold, rows: Sequence[int] | np.ndarray) -> EncodedGold:
    """The gold of `rows` [B]: repeat a row once a generation, with no encoding anew."""
    rows = np.asarray(rows)
    return EncodedGold(*(field[rows] for field in gold))


class _Arguments:
    """Names and arguments of calls, gathered flat and scattered once."""

    def __init__(self) -> None:
        self.names: list[int] = []
        self.counts: list[int] = []
        self.argument_names: list[int] = []
        self.values: list[int] = []
        self.types: list[int] = []

    def add(self, name: str, arguments: dict) -> None:
        self.names.append(name_hash64(name))
        self.counts.append(len(arguments))
        for key, value in arguments.items():
            self.types.append(argument_type(value))
            self.argument_names.append(name_hash64(key))
            self.values.append(value_hash64(value))

    def skip(self) -> None:
        self.names.append(0)
        self.counts.append(0)

    def scatter(self, cell: np.ndarray, shape: tuple[int, int], num_arguments: int) -> dict:
        counts = np.asarray(self.counts, np.int64)
        width = bucket(int(counts.max(initial=0)), num_arguments)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        slot = np.repeat(cell, counts) * width + np.arange(len(starts)) - starts
        wide = (*shape, width)
        return {
            "name": _scatter_hashes(self.names, cell, shape),
            "argument_name": _scatter_hashes(self.argument_names, slot, wide),
            "argument_value": _scatter_hashes(self.values, slot, wide),
            "argument_type": _scatter(self.types, slot, wide, np.int32),
            "argument_mask": _scatter(np.ones(len(slot), np.bool_), slot, wide, np.bool_),
        }


def _cells(sizes: list[int], floor: int) -> tuple[np.ndarray, tuple[int, int]]:
    counts = np.asarray(sizes, np.int64)
    width = bucket(int(counts.max(initial=0)), floor)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.repeat(np.arange(len(sizes)), counts)
    return rows * width + np.arange(len(starts)) - starts, (len(sizes), width)


def _scatter(values, where: np.ndarray, shape: tuple[int, ...], dtype) -> np.ndarray:
    out = np.zeros(int(np.prod(shape)), dtype)
    out[where] = np.asarray(values, dtype)
    return out.reshape(shape)


def _scatter_hashes(values: list[int], where: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """uint64 -> two little-endian uint32 in a last axis: (low, high)."""
    return _scatter(values, where, shape, np.dtype("<u8")).view("<u4").reshape(*shape, 2)


def _check_references(call: GoldCall, step: int) -> None:
    for name, index in [("depends_on", j) for j in call.depends_on] + [
        (f"the binding of {binding.argument!r}", binding.source) for binding in call.bindings
    ]:
        if not 0 <= index < step:
            raise ValueError(
                f"gold call {step} ({call.name}): {name} has {index}, but only earlier gold "
                f"calls (0 to {step - 1}) can be sources; put the calls in order"
            )
    for binding in call.bindings:
        if binding.argument not in call.arguments:
            raise ValueError(
                f"gold call {step} ({call.name}): a binding names the argument "
                f"{binding.argument!r}, which is not one of {sorted(call.arguments)}"
            )
