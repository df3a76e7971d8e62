"""The processes of one run: each on its own machine, with its own devices, data and environments.

They compute every step together, over one mesh, and hold the same parameters; what they say
to each other beside that goes through here. With one process all of it does nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from tooltrain import sharding
from tooltrain.errors import UserError
from tooltrain.types import Json

T = TypeVar("T")

_LEAST_BYTES = 1024  # of what `gather` sends


def count() -> int:
    return jax.process_count()


def index() -> int:
    """This process, in [0, count)."""
    return jax.process_index()


def is_first() -> bool:
    """Whether this is the process that writes what the run has to say."""
    return index() == 0


def share(number: int, field: str) -> int:
    """This process's part of a number that all of them share.

    Raises UserError, naming the config field, when they cannot share it evenly.
    """
    if number % count():
        raise UserError(
            f"{field} is {number}, which {count()} processes cannot share evenly; make it a "
            f"multiple of {count()}"
        )
    return number // count()


def mine(number: int) -> range:
    """This process's consecutive part of `number` things, as even as they allow."""
    return range(number * index() // count(), number * (index() + 1) // count())


def gather(value: Json) -> list[Json]:
    """What every process gives, in their order. All of them have to ask.

    A JSON value comes back as JSON has it: tuples are lists, keys are strings.
    """
    if count() == 1:
        return [json.loads(json.dumps(value))]
    from jax.experimental import multihost_utils

    encoded = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(encoded)]))).ravel()
    # Each length compiles a program: few lengths, most messages of one.
    padded = np.zeros(max(_LEAST_BYTES, 1 << (int(sizes.max()) - 1).bit_length()), np.uint8)
    padded[: len(encoded)] = encoded
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(count(), -1)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def own(gathered: Sequence[T]) -> T:
    """What this process once gave to `gather`.

    Raises UserError when other processes gave it: each has its own part of the data.
    """
    check_count(len(gathered))
    return gathered[index()]


def check_count(saved_by: int) -> None:
    """Raises UserError when a checkpoint was saved by more or fewer processes than there are."""
    if saved_by != count():
        raise UserError(
            f"this checkpoint is of {saved_by} processes, which had a part of the data each, "
            f"and there are {count()} now: resume it with {saved_by}, or start anew"
        )


def mean(values: Mapping[str, float]) -> dict[str, float]:
    """Means over the processes of numbers that each has of as many episodes as the others."""
    found = gather(dict(values))
    return {name: float(np.mean([one[name] for one in found])) for name in values}


def first_does(work: Callable[[], Any]) -> None:
    """Runs `work` in the first process while the others wait; its UserError is everyone's."""
    error = None
    if is_first():
        try:
            work()
        except UserError as raised:
            error = str(raised)
    error = gather(error)[0]
    if error is not None:
        raise UserError(error)


@contextlib.contextmanager
def first_holds(held: contextlib.AbstractContextManager) -> Iterator[None]:
    """`held` is entered by the first process, as `first_does`, and left by it at the end."""
    with contextlib.ExitStack() as stack:
        first_does(lambda: stack.enter_context(held))
        yield


@contextlib.contextmanager
def alone(*, always: bool = False) -> Iterator[None]:
    """What is computed inside is this process's own: on its first device, not on the mesh of all.

    With one process nothing changes, unless `always`: for what a thread computes beside a
    program of all devices. Two programs of several devices, started by two threads, may each
    wait for the other.
    """
    if count() == 1 and not always:
        yield
        return
    sizes = dict.fromkeys(sharding.AXES, 1)
    with jax.set_mesh(sharding.make_mesh(sizes, [_first_device()])):
        yield


def own_copy(mesh: Mesh, params: Any, *, always: bool = False) -> Any:
    """Parameters on `mesh` -> whole ones on this process's first device, where it can use them
    without the others. With one process they are the parameters themselves, unless `always`."""
    if count() == 1 and not always:
        return params
    whole = _placing(sharding.replicated(mesh))(params)
    here = _first_device()
    return jax.tree.map(
        lambda x: next(shard.data for shard in x.addressable_shards if shard.device == here), whole
    )


def _first_device() -> jax.Device:
    """Where this process computes what is its own."""
    return jax.local_devices()[0]


@functools.cache
def _placing(where: NamedSharding) -> Callable[[Any], Any]:
    """The program that puts arrays there: one, since each new one would be compiled."""
    return jax.jit(lambda arrays: arrays, out_shardings=where)
