"""How hard live tools are asked: rate, retries, budgets, concurrency."""

from __future__ import annotations

import dataclasses
import random
import threading
import time

from tooltrain.errors import UserError


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds of one run of the recorder; the next run goes on where it ended.

    rate_per_s: attempts a second in the long run, None: unbounded. burst: attempts that may
    be made at once after a pause. concurrency: requests under way at the same time; 1 is a
    plain loop. attempts: per request, the first included. backoff_s, max_backoff_s: see
    `backoff`; a server that asks for a longer pause than max_backoff_s is not asked again
    for that request. max_attempts, max_seconds: budgets of the whole run, retries counted.
    give_up_after: failures in a row after which a tool is left alone for this run, counted
    over those that came from the server's state rather than from the request.
    """

    rate_per_s: float | None = None
    burst: int = 1
    concurrency: int = 1
    attempts: int = 5
    backoff_s: float = 0.5
    max_backoff_s: float = 60.0
    max_attempts: int | None = None
    max_seconds: float | None = None
    give_up_after: int = 20

    def __post_init__(self) -> None:
        bounds = {
            "rate_per_s": self.rate_per_s,
            "burst": self.burst,
            "concurrency": self.concurrency,
            "attempts": self.attempts,
            "backoff_s": self.backoff_s,
            "max_backoff_s": self.max_backoff_s,
            "max_attempts": self.max_attempts,
            "max_seconds": self.max_seconds,
            "give_up_after": self.give_up_after,
        }
        for name, value in bounds.items():
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0, got {value}")


def backoff(retry: int, limits: Limits, rng: random.Random) -> float:
    """Seconds to wait before retry number `retry` (from 0): uniform in [0, bound), with

        bound = min(max_backoff_s, backoff_s 2^retry)

    "Full jitter", which spreads clients that failed together furthest apart
    (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter).
    """
    return rng.uniform(0, min(limits.max_backoff_s, limits.backoff_s * 2.0 ** min(retry, 60)))


class TokenBucket:
    """Hands out at most `burst` + `rate_per_s` x (seconds since the start) turns, to any
    number of threads; `pause` stops all of them for a time."""

    def __init__(self, rate_per_s: float | None, burst: int = 1):
        self._interval_s = 0.0 if rate_per_s is None else 1.0 / rate_per_s
        self._slack_s = (burst - 1) * self._interval_s
        self._next = 0.0  # when the next turn is due, were none saved up
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def pause(self, seconds: float) -> None:
        """No turn is handed out for so long: a server asked to be left alone."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def reserve(self, now: float) -> float:
        """Takes the next turn; the time at which it may be used, `now` or later."""
        with self._lock:
            self._next = max(self._next, max(now, self._paused_until) - self._slack_s)
            turn = max(self._next, now, self._paused_until)
            self._next += self._interval_s
            return turn

    def wait(self, stop: threading.Event, deadline: float) -> bool:
        """Waits for a turn; False if `stop` was set, or the turn comes after `deadline`
        (in time.monotonic seconds)."""
        while not stop.is_set():
            now = time.monotonic()
            turn = self.reserve(now)
            if turn > deadline:
                return False
            if turn > now and stop.wait(turn - now):
                return False
            if time.monotonic() >= self._paused_until:
                return True
            # A pause was asked for while this turn was waited for: take another.
        return False
