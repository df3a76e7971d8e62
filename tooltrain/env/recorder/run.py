"""The recorder's loop: asks live tools what a plan wants to know, and keeps the answers.

    for leg in legs:  requests not recorded yet -> backend (threads, retries) -> recording
                      responses of the whole leg -> values for the legs that follow

A run that ended early, by a budget or by kill -9, is taken up by calling `record` again
with the same plan: the same requests come up, those recorded are read instead of asked.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import queue
import random
import threading
import time
from collections.abc import Iterator

import tqdm

from tooltrain.env.cache import Edge
from tooltrain.env.recorder.backend import Backend, Denied, ToolFailure, Unavailable
from tooltrain.env.recorder.explore import Explorer, Leg, Request
from tooltrain.env.recorder.limits import Limits, TokenBucket, backoff
from tooltrain.env.recorder.plan import Field, Plan, Together
from tooltrain.env.recording import Recording
from tooltrain.env.response import encode
from tooltrain.errors import UserError
from tooltrain.types import Json

_MESSAGES_KEPT = 5  # of different failures a tool
_MESSAGES_SHOWN = 2
_MESSAGE_CHARS = 160


@dataclasses.dataclass
class ToolReport:
    """What became of one tool's requests in one run. planned counts different requests."""

    planned: int = 0
    recorded: int = 0
    already: int = 0
    failed: int = 0
    not_asked: int = 0
    invalid: int = 0
    left_alone: bool = False
    wanting: list[str] = dataclasses.field(default_factory=list)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class Report:
    """What a run did. stopped: why it ended before the plan was done, or empty."""

    tools: dict[str, ToolReport]
    attempts: int = 0
    retries: int = 0
    seconds: float = 0.0
    stopped: str = ""

    @property
    def complete(self) -> bool:
        """Every request of the plan was asked; some may have failed."""
        return not self.stopped and not any(tool.not_asked for tool in self.tools.values())

    def total(self, field: str) -> int:
        return sum(getattr(tool, field) for tool in self.tools.values())

    def lines(self) -> list[str]:
        rate = self.total("recorded") / self.seconds if self.seconds else 0.0
        lines = [
            f"recorded {self.total('recorded'):,} responses in {self.seconds:.1f} s "
            f"({rate:,.0f}/s), {self.total('already'):,} were there already; "
            f"{self.attempts:,} attempts, {self.retries:,} of them retries; "
            f"{self.total('failed'):,} requests failed"
        ]
        for name, tool in self.tools.items():
            if tool.failed:
                common = tool.failures.most_common(_MESSAGES_SHOWN)
                shown = "; ".join(f"{count:,} x {message}" for message, count in common)
                lines.append(f"  {name}: {tool.failed:,} failed: {shown}")
            if tool.left_alone:
                lines.append(f"  {name}: failed too often in a row; {tool.not_asked:,} not asked")
            if tool.invalid:
                lines.append(f"  {name}: {tool.invalid:,} requests against its schema not sent")
            if tool.wanting:
                lines.append(f"  {name}: no value found for {', '.join(tool.wanting)}")
        if self.stopped:
            lines.append(f"stopped: {self.stopped}; run again to go on")
        return lines


class _NotAsked:
    """Outcome of a request that was not asked to its end: a budget, an interrupt."""


_Outcome = Json | ToolFailure | _NotAsked


def record(
    backend: Backend,
    plan: Plan,
    recording: Recording,
    limits: Limits = Limits(),  # noqa: B008  frozen
    *,
    progress: bool = True,
) -> Report:
    """Asks `backend` what `plan` wants to know and `recording` does not hold yet.

    A response is acknowledged as `Recording` says; the last ones are when this returns.
    Failures are counted in the report and never stored. Raises UserError when the plan
    does not fit the tools, or when a tool's schema holds a credential.
    """
    explorer = Explorer(backend.tools, plan)
    for tool in sorted(plan.tools, key=lambda tool: tool.tool):
        described = encode(dataclasses.asdict(backend.tools[tool.tool])).decode()
        if backend.secrets.found_in(described):
            raise UserError(f"the description of {tool.tool} holds a credential; not recorded")
        recording.add_tool(backend.tools[tool.tool])
    run = _Run(backend, recording, limits, Report({t.tool: ToolReport() for t in plan.tools}))
    total = sum(tool.max_requests for tool in plan.tools)
    with tqdm.tqdm(total=total, desc="record", unit="call", disable=not progress) as bar:
        try:
            for leg in explorer.legs():
                run.ask(leg, explorer, bar)
                if run.report.stopped:
                    break
        except KeyboardInterrupt:
            run.report.stopped = "interrupted"
        finally:
            run.end()
    for name, count in explorer.invalid.items():
        run.report.tools[name].invalid = count
    recording.add_edges(_edges(plan, recording))
    return run.report


def _edges(plan: Plan, recording: Recording) -> list[Edge]:
    """The tool graph that the plan states. count: requests of the target on record, some of
    which may have had the argument from elsewhere."""
    edges = []
    for tool in plan.tools:
        count = recording.count(tool.tool)
        for argument in tool.arguments:
            for source in tool.sources(argument):
                if isinstance(source, Field):
                    edges.append(Edge(source.tool, source.path, tool.tool, argument, count))
        for group in tool.together:
            if isinstance(group, Together):
                for argument, path in zip(group.arguments, group.fields, strict=True):
                    path = group.element + path
                    edges.append(Edge(group.tool, path, tool.tool, argument, count))
    return [edge for edge in edges if edge.count]


class _Run:
    """The state that requests of one run share. Workers only call the backend; the
    recording is used by one thread."""

    def __init__(self, backend: Backend, recording: Recording, limits: Limits, report: Report):
        self.report = report
        self._backend, self._recording, self._limits = backend, recording, limits
        self._workers = min(limits.concurrency, backend.max_concurrency)
        self._pool = concurrent.futures.ThreadPoolExecutor(self._workers, "record")
        self._bucket = TokenBucket(limits.rate_per_s, limits.burst)
        self._stop = threading.Event()
        self._jitter = random.Random()
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._deadline = self._started + (limits.max_seconds or float("inf"))
        self._streak: collections.Counter[str] = collections.Counter()

    def end(self) -> None:
        self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._recording.commit()
        self.report.seconds = time.monotonic() - self._started

    def ask(self, leg: Leg, explorer: Explorer, bar: tqdm.tqdm) -> None:
        """One leg: asks what is missing, then lets the explorer learn from all of it."""
        tool, keys = self.report.tools[leg.tool], set()
        feeds = explorer.feeds(leg.tool)

        def missing() -> Iterator[Request]:
            for request in explorer.requests(leg):
                tool.planned += 1
                if feeds:
                    keys.add(request.key)
                if self._recording.has(leg.tool, request.key):
                    tool.already += 1
                    bar.total -= 1  # the rate and the time left are of what is asked
                else:
                    yield request

        if self._workers == 1:
            for request in missing():
                self._settle(request, self._attempt(request), bar)
                if self.report.stopped:
                    break
        else:
            self._ask_concurrently(missing(), bar)
        if self.report.stopped:
            return
        if leg.last:
            bar.total -= leg.up_to - tool.planned
            tool.wanting = [] if tool.planned else explorer.wanting(leg.tool)
        if feeds:
            canonical = self._backend.tools[leg.tool].canonical
            entries = self._recording.entries(leg.tool)
            explorer.learn(leg.tool, (r for a, r in entries if canonical(a) in keys))

    def _ask_concurrently(self, requests: Iterator[Request], bar: tqdm.tqdm) -> None:
        answered: queue.SimpleQueue[tuple[Request, _Outcome | BaseException]]
        answered, under_way = queue.SimpleQueue(), 0

        def work(request: Request) -> None:
            try:
                answered.put((request, self._attempt(request)))
            except BaseException as error:
                answered.put((request, error))

        def settle_one() -> None:
            request, outcome = answered.get()
            if isinstance(outcome, BaseException) and not isinstance(outcome, ToolFailure):
                raise outcome
            self._settle(request, outcome, bar)

        for request in requests:
            # Twice as many as workers: none of them waits for the next while one is stored.
            if under_way == 2 * self._workers:
                settle_one()
                under_way -= 1
            self._pool.submit(work, request)
            under_way += 1
            if self.report.stopped:
                break
        for _ in range(under_way):
            settle_one()

    def _attempt(self, request: Request) -> _Outcome:
        """Asks until there is an answer, a final failure or no patience left. In a worker."""
        limits, failure = self._limits, None
        for retry in range(limits.attempts):
            if self.report.tools[request.tool].left_alone:
                return _NotAsked()
            if failure is not None:
                wait_s = backoff(retry - 1, limits, self._jitter) + (failure.retry_after_s or 0.0)
                if wait_s > self._deadline - time.monotonic():
                    self._end_early(f"the time budget of {limits.max_seconds:g} s is used up")
                if self._stop.wait(wait_s):
                    return _NotAsked()
            if not self._turn(is_retry=failure is not None):
                return _NotAsked()
            try:
                return self._backend.call(request.tool, request.arguments)
            except Unavailable as error:
                failure = error
                if error.retry_after_s is not None:
                    if error.retry_after_s > limits.max_backoff_s:
                        return error
                    self._bucket.pause(error.retry_after_s)
            except ToolFailure as error:
                return error
        return failure

    def _turn(self, is_retry: bool) -> bool:
        """Waits for the rate limit; False when a budget is used up or the run was stopped."""
        if not self._bucket.wait(self._stop, self._deadline):
            if not self._stop.is_set():
                self._end_early(f"the time budget of {self._limits.max_seconds:g} s is used up")
            return False
        with self._lock:
            if self.report.attempts == self._limits.max_attempts:
                spent = f"the budget of {self._limits.max_attempts:,} attempts is used up"
            else:
                self.report.attempts += 1
                self.report.retries += is_retry
                return True
        self._end_early(spent)
        return False

    def _end_early(self, reason: str) -> None:
        with self._lock:
            self.report.stopped = self.report.stopped or reason
        self._stop.set()

    def _settle(self, request: Request, outcome: _Outcome, bar: tqdm.tqdm) -> None:
        """Stores an answer or counts what came instead of one."""
        tool = self.report.tools[request.tool]
        if isinstance(outcome, _NotAsked):
            tool.not_asked += 1
            return
        if not isinstance(outcome, ToolFailure):
            outcome = self._store(request, outcome)
        if outcome is None:
            tool.recorded += 1
            self._streak[request.tool] = 0
        else:
            tool.failed += 1
            of_server = isinstance(outcome, Unavailable | Denied)
            self._streak[request.tool] = self._streak[request.tool] + 1 if of_server else 0
            tool.left_alone |= self._streak[request.tool] >= self._limits.give_up_after
            # Redacted before it is cut: half a credential would not be recognised.
            message = " ".join(self._backend.secrets.redact(str(outcome)).split())
            message = message[:_MESSAGE_CHARS] or type(outcome).__name__
            known = message in tool.failures or len(tool.failures) < _MESSAGES_KEPT
            tool.failures[message if known else "other failures"] += 1
        bar.update()

    def _store(self, request: Request, response: Json) -> ToolFailure | None:
        secrets = self._backend.secrets
        try:
            if secrets and secrets.found_in(request.key + encode(response).decode()):
                return ToolFailure("the request or its response holds a credential")
            self._recording.add(request.tool, request.arguments, response)
        except (TypeError, ValueError, RecursionError) as error:
            return ToolFailure(f"the response cannot be written as JSON: {error}")
        return None
