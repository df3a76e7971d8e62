"""Continuous batching: requests come and go while others decode, on one rollout engine.

One thread owns the engine. Between two decode segments it drops what was cancelled, gives
free slots to waiting requests, prefills them, and decodes all live slots together. A
request's greedy answer does not depend on what else is being decoded (the engine's own
property), so a busy server answers as an idle one.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from tooltrain.policy.transformer import Params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import Sampling


class Busy(Exception):
    """As many requests are waiting as may wait."""


class Closed(Exception):
    """The batcher takes no more requests."""


@dataclasses.dataclass(eq=False)
class Ticket:
    """One request. tokens: the prompt's ids. budget: at most so many are sampled.

    deliver is called in the batcher's thread with each piece of sampled ids, then with
    None when the request is done, or with the exception that ended it. cancel: set by the
    owner who no longer wants it; nothing is delivered from then on.
    """

    tokens: Sequence[int]
    budget: int
    sampling: Sampling
    seed: int
    deliver: Callable[[Sequence[int] | Exception | None], None]
    cancelled: bool = False
    written: list[int] = dataclasses.field(default_factory=list)

    def cancel(self) -> None:
        self.cancelled = True


class Batcher:
    """Serves tickets with `engine`; at most `max_waiting` wait for a slot."""

    def __init__(self, params: Params, engine: Engine, mesh: Any, *, max_waiting: int):
        self._params = params
        self._engine = engine
        self._mesh = mesh
        self._max_waiting = max_waiting
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._slots: list[Ticket | None] = [None] * engine.num_slots
        self._changed = threading.Condition()
        self._closing = False
        self.segments = 0
        self.sampled_tokens = 0
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def max_len(self) -> int:
        return self._engine.max_len

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def live(self) -> int:
        return sum(ticket is not None for ticket in self._slots)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive() and not self._closing

    def submit(self, ticket: Ticket) -> None:
        """Queues a ticket. Raises Busy, Closed, and ValueError for one that cannot fit."""
        if not ticket.tokens or ticket.budget < 1:
            raise ValueError("a ticket needs tokens and a budget of 1 or more")
        if len(ticket.tokens) + ticket.budget > self._engine.max_len:
            raise ValueError(
                f"{len(ticket.tokens)} tokens and a budget of {ticket.budget} do not fit in "
                f"max_len={self._engine.max_len}"
            )
        with self._changed:
            if self._closing:
                raise Closed
            if len(self._waiting) >= self._max_waiting:
                raise Busy
            self._waiting.append(ticket)
            self._changed.notify()

    def close(self, *, drain: bool) -> None:
        """Stops. drain: first finish what was taken; else end it with Closed."""
        with self._changed:
            self._closing = True
            if not drain:
                for ticket in (*self._waiting, *filter(None, self._slots)):
                    ticket.cancelled = True
                    ticket.deliver(Closed())
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with jax.set_mesh(self._mesh):
            while self._await_work():
                try:
                    self._step()
                except Exception as error:  # one fault must not leave every client waiting
                    for slot, ticket in enumerate(self._slots):
                        if ticket is not None:
                            self._end(slot, error)
                    self._engine.reset()

    def _await_work(self) -> bool:
        """Waits for work and gives it slots. False once closed and done."""
        with self._changed:
            while True:
                for slot, ticket in enumerate(self._slots):
                    if ticket is not None and ticket.cancelled:
                        self._slots[slot] = None
                while self._waiting and None in self._slots:
                    ticket = self._waiting.popleft()
                    if not ticket.cancelled:
                        slot = self._slots.index(None)
                        self._slots[slot] = ticket
                        self._engine.lengths[slot] = 0
                if self.live:
                    return True
                if self._closing:
                    return False
                self._changed.wait()

    def _step(self) -> None:
        live = {slot: ticket for slot, ticket in enumerate(self._slots) if ticket is not None}
        unread = {
            slot: [*ticket.tokens, *ticket.written][self._engine.lengths[slot] : -1]
            for slot, ticket in live.items()
        }
        self._engine.prefill(self._params, unread)
        # What is sampled how is a constant of the compiled loop: one segment for each way.
        ways: dict[Sampling, dict[int, Request]] = {}
        for slot, ticket in live.items():
            last = ticket.written[-1] if ticket.written else ticket.tokens[-1]
            left = ticket.budget - len(ticket.written)
            request = Request(token=last, budget=left, prompt=ticket.seed, generation=0)
            ways.setdefault(ticket.sampling, {})[slot] = request
        for sampling, requests in ways.items():
            sampled = self._engine.decode(self._params, requests, sampling=sampling, seed=0)
            self.segments += 1
            for slot, (ids, _) in sampled.items():
                ticket = live[slot]
                ticket.written += ids.tolist()
                self.sampled_tokens += len(ids)
                if not ticket.cancelled:
                    ticket.deliver(ids.tolist())
                ended = ids[-1] == self._engine.eos_id or len(ticket.written) == ticket.budget
                if ended:
                    self._end(slot, None)

    def _end(self, slot: int, outcome: Exception | None) -> None:
        ticket, self._slots[slot] = self._slots[slot], None
        if not ticket.cancelled:
            ticket.deliver(outcome)
