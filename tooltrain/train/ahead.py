"""Rollouts in flight: those of the next step, played on a host thread while this one is updated."""

from __future__ import annotations

import concurrent.futures
import copy
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from tooltrain.types import Json

Params = Any
Played = TypeVar("Played")


class Ahead(Generic[Played]):
    """One step's rollouts on a thread. A context manager: leaving it waits for them.

    play: (step, own parameters) -> what was played, on the thread. own: parameters -> those that
    `play` gets, on the thread that starts it; they must not share devices' programs with others.
    place, behaviour: where the data stood before the last start, and a copy of the parameters it
    was given. They and the step are all it takes to play the same again.
    """

    def __init__(self, play: Callable[[int, Params], Played], own: Callable[[Params], Params]):
        self._play = play
        self._own = own
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "rollouts")
        self._playing: concurrent.futures.Future[Played] | None = None
        self.place: Json = None
        self.behaviour: Params = None

    def __enter__(self) -> Ahead[Played]:
        return self

    def __exit__(self, *unused) -> None:
        self._thread.shutdown()

    def start(self, step: int, place: Json, params: Params) -> None:
        """Starts a step's rollouts. The parameters may be donated after it returns."""
        self.place = copy.deepcopy(place)  # the thread moves the iterator
        self.behaviour = jax.tree.map(jnp.copy, params)
        self._playing = self._thread.submit(self._play, step, self._own(self.behaviour))

    def wait(self) -> None:
        """Returns when nothing is played any more."""
        if self._playing is not None:
            concurrent.futures.wait([self._playing])

    def take(self) -> Played:
        """What was played, once it is there; what its playing raised is raised here."""
        playing, self._playing = self._playing, None
        return playing.result()
