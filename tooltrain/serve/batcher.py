"""Continuous batching: requests come and go while others decode, on one rollout engine.

One thread owns the engine. First it compiles every shape of greedy decoding. Then, between
two decode segments, it drops what was cancelled, gives free slots to waiting requests,
prefills them, and decodes all live slots together. A request's greedy answer does not
depend on what else is being decoded (the engine's own property), so a busy server answers
as an idle one.

A slot keeps its keys when its request is done. What a new request has in common with the
beginning of any slot is not read again: a conversation that comes back finds its own slot,
another one copies, for example, the tools that both offer.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from tooltrain.policy.transformer import Params
from tooltrain.rollout.engine import Engine, Request
from tooltrain.rollout.sampling import GREEDY, Sampling

_WORTH_COPYING = 16  # tokens in common; below it a copy costs more than reading them


class Status(enum.StrEnum):
    """What a batcher does with a new ticket: takes it only when READY."""

    STARTING = "starting"
    READY = "ok"
    STOPPING = "stopping"
    FAILED = "failed"


class Busy(Exception):
    """As many requests are waiting as may wait."""


class Closed(Exception):
    """The batcher takes no requests: not yet, or no more."""


@dataclasses.dataclass(eq=False)
class Ticket:
    """One request. tokens: the prompt's ids. budget: at most so many are sampled.

    deliver is called in the batcher's thread with each piece of sampled ids, then with
    None when the request is done, or with the exception that ended it. cancel: set by the
    owner who no longer wants it; nothing is delivered from then on. reused: tokens of the
    prompt that were not read again.
    """

    tokens: Sequence[int]
    budget: int
    sampling: Sampling
    seed: int
    deliver: Callable[[Sequence[int] | Exception | None], None]
    cancelled: bool = False
    reused: int = 0
    written: list[int] = dataclasses.field(default_factory=list)

    def cancel(self) -> None:
        self.cancelled = True


class Batcher:
    """Serves tickets with `engine`; at most `max_waiting` wait for a slot.

    warm_up: False compiles a shape when it first occurs. failure: what ended the warm-up, if
    it failed.
    """

    def __init__(
        self,
        params: Params,
        engine: Engine,
        mesh: Any,
        *,
        max_waiting: int,
        warm_up: bool = True,
    ):
        self._params = params
        self._engine = engine
        self._mesh = mesh
        self._max_waiting = max_waiting
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._slots: list[Ticket | None] = [None] * engine.num_slots
        # By slot, whose keys it holds (of the first engine.lengths[slot] ids) and since when.
        self._held: list[Ticket | None] = [None] * engine.num_slots
        self._taken = [0] * engine.num_slots
        self._clock = itertools.count(1)
        self._copies: dict[int, int] = {}  # slot -> slot it copies its beginning from
        self._changed = threading.Condition()
        self._warm = threading.Event()
        self._closing = False
        self.failure: Exception | None = None
        self.segments = 0
        self.sampled_tokens = 0
        self.prompt_tokens = 0
        self.reused_tokens = 0
        self._thread = threading.Thread(
            target=self._run, args=(warm_up,), name="batcher", daemon=True
        )
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
    def status(self) -> Status:
        if self._closing:
            return Status.STOPPING
        if self.failure or not self._thread.is_alive():
            return Status.FAILED
        return Status.READY if self._warm.is_set() else Status.STARTING

    def wait_until_warm(self) -> None:
        """Returns when the warm-up is over; raises what it failed with."""
        self._warm.wait()
        if self.failure:
            raise self.failure

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
            if self.status is not Status.READY:
                raise Closed
            self._drop_cancelled()
            if len(self._waiting) >= self._max_waiting:
                raise Busy
            self._waiting.append(ticket)
            self._changed.notify()

    def close(self, *, drain: bool, timeout_s: float | None = None) -> None:
        """Stops. drain: first finish what was taken, for at most timeout_s; what is left then
        is ended with Closed. A warm-up under way is not waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if not self._warm.is_set():
            return
        if drain:
            self._thread.join(timeout_s)
        with self._changed:
            for ticket in (*self._waiting, *filter(None, self._slots)):
                ticket.cancelled = True
                ticket.deliver(Closed())
            self._changed.notify()
        self._thread.join()

    def _run(self, warm_up: bool) -> None:
        with jax.set_mesh(self._mesh):
            try:
                if warm_up:
                    self._engine.warm_up(self._params, GREEDY)
            except Exception as error:
                self.failure = error
            self._warm.set()
            while not self.failure and self._await_work():
                try:
                    self._step()
                except Exception as error:  # one fault must not leave every client waiting
                    for slot, ticket in enumerate(self._slots):
                        if ticket is not None:
                            self._end(slot, error)
                    self._copies.clear()
                    self._engine.renew_cache()

    def _drop_cancelled(self) -> None:
        """Takes out of the queue who no longer waits. The queue is never emptied on the way:
        `waiting` is read by other threads."""
        for ticket in [ticket for ticket in self._waiting if ticket.cancelled]:
            self._waiting.remove(ticket)

    def _await_work(self) -> bool:
        """Waits for work and gives it slots. False once closed and done."""
        with self._changed:
            while True:
                for slot, ticket in enumerate(self._slots):
                    if ticket is not None and ticket.cancelled:
                        self._slots[slot] = None
                self._drop_cancelled()
                while self._waiting and None in self._slots:
                    self._place(self._waiting.popleft())
                if self.live:
                    return True
                if self._closing:
                    return False
                self._changed.wait()

    def _place(self, ticket: Ticket) -> None:
        """Gives the ticket a free slot: one that holds its beginning, or else the one that has
        been free longest, which copies the beginning from any slot that holds it."""
        shared = [self._shared(slot, ticket) for slot in range(len(self._slots))]
        holder = max(range(len(shared)), key=shared.__getitem__)
        free = [slot for slot, live in enumerate(self._slots) if live is None]
        oldest = min(free, key=self._taken.__getitem__)
        # A slot's own conversation, or most of it: taking the slot forgets little.
        if holder in free and 2 * shared[holder] >= self._engine.lengths[holder]:
            slot = holder
        else:
            slot = oldest
        ticket.reused = shared[holder] if shared[holder] >= _WORTH_COPYING else 0
        self.prompt_tokens += len(ticket.tokens)
        self.reused_tokens += ticket.reused
        if slot != holder and ticket.reused:
            self._copies[slot] = holder
        self._slots[slot] = self._held[slot] = ticket
        self._taken[slot] = next(self._clock)
        self._engine.lengths[slot] = ticket.reused

    def _shared(self, slot: int, ticket: Ticket) -> int:
        """How many tokens before the ticket's last one stand in the slot's cache already."""
        held = self._held[slot]
        if held is None or slot in self._copies:
            return 0
        # The last token of a prompt is fed by the first decode step, never cached before it.
        room = min(int(self._engine.lengths[slot]), len(ticket.tokens) - 1)
        ids = itertools.islice(itertools.chain(held.tokens, held.written), room)
        pairs = enumerate(zip(ids, ticket.tokens, strict=False))
        return next((i for i, (ours, theirs) in pairs if ours != theirs), room)

    def _step(self) -> None:
        live = {slot: ticket for slot, ticket in enumerate(self._slots) if ticket is not None}
        # Before anything is written: a slot that is copied from may be another's by now.
        self._engine.copy(self._copies, {slot: live[slot].reused for slot in self._copies})
        self._copies.clear()
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
