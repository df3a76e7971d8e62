"""Tool calls on host threads, so that the device decodes other episodes meanwhile.

A thread cannot be stopped from outside. A call that is given up keeps its thread until it
returns, a new thread takes that one's place, and the late answer is for nobody. Threads are
daemons: a call that never returns does not keep the process alive.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tooltrain.types import Observation


class Answer(NamedTuple):
    """A call's observation, and the text that the policy sees of it."""

    observation: Observation
    text: str


@dataclasses.dataclass(eq=False)
class Job:
    """One call under way. started_s: when a thread took it up (`time.monotonic`), or None."""

    run: Callable[[], Answer]
    future: concurrent.futures.Future[Answer]
    started_s: float | None = None
    given_up: bool = False
    returned: bool = False


class ToolThreads:
    """`num_threads` threads that answer calls, first come, first served. Close it when done.

    Raises ValueError for fewer than one thread.
    """

    def __init__(self, num_threads: int):
        if num_threads < 1:
            raise ValueError(f"tool_threads is {num_threads}; tools need 1 or more threads.")
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._num_threads = num_threads
        for _ in range(num_threads):
            self._start()

    def submit(self, run: Callable[[], Answer]) -> Job:
        job = Job(run, concurrent.futures.Future())
        self._jobs.put(job)
        return job

    def give_up(self, job: Job) -> None:
        """Nobody waits for `job` any longer; the number of threads at work stays."""
        with self._lock:
            job.given_up = True
            stuck = job.started_s is not None and not job.returned
        if stuck:
            self._start()

    def close(self) -> None:
        """Threads end when they have nothing left to do; nobody waits for them."""
        for _ in range(self._num_threads):
            self._jobs.put(None)

    def _start(self) -> None:
        threading.Thread(target=self._work, name="tools", daemon=True).start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            with self._lock:
                if job.given_up:
                    continue
                job.started_s = time.monotonic()
            try:
                job.future.set_result(job.run())
            except Exception as error:  # raised again where the answer is read
                job.future.set_exception(error)
            with self._lock:
                job.returned = True
                if job.given_up:
                    return


def wait(jobs: Sequence[Job], timeout_s: float | None) -> None:
    """Returns when one of `jobs` is done, or after timeout_s seconds (None: no limit)."""
    futures = [job.future for job in jobs]
    concurrent.futures.wait(futures, timeout_s, concurrent.futures.FIRST_COMPLETED)
