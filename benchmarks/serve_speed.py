"""Does a served policy lose a request or change an answer when many ask at once?

Starts `tooltrain.cli.serve` on a trained WORKDIR and plays held-out conversations with the
official client, calls executed in the environment: first each alone, then `--clients` at a
time for `--seconds`, every answer compared with the one that was given alone; at last a
burst of requests, into which SIGTERM is sent. Nothing is retried. Prints one JSON object;
latencies are of one request, as its client sees it. What follows `--` is given to serve.

    python -m benchmarks.serve_speed --workdir runs/demo -- --config.seed=0
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import itertools
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai

from benchmarks.machine import machine
from tooltrain.data.dataset import open_traces
from tooltrain.env.environment import Environment, open_environment
from tooltrain.types import Call, Trace

MAX_TURNS = 8


class Clients:
    """Plays conversations with the server at `url`; counts what came of every request."""

    def __init__(self, url: str, environment: Environment):
        self._client = openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=120)
        self._environment = environment
        self._lock = threading.Lock()
        self.latencies: list[float] = []
        self.outcomes: collections.Counter[str] = collections.Counter()

    def ask(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> dict[str, Any]:
        started = time.perf_counter()
        outcome = "answered"
        try:
            answer = self._client.chat.completions.create(
                model="tooltrain", messages=messages, tools=tools, temperature=0
            )
            return answer.choices[0].message.model_dump(exclude_none=True)
        except openai.APIStatusError as error:
            outcome = f"status {error.status_code}"
            raise
        except openai.APIError as error:
            outcome = type(error).__name__
            raise
        finally:
            with self._lock:
                self.latencies.append(time.perf_counter() - started)
                self.outcomes[outcome] += 1

    def converse(self, trace: Trace) -> list[Any]:
        """What is said in one conversation; stops where a request fails."""
        tools = [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": self._environment.tools[name].description,
                    "parameters": self._environment.tools[name].parameters,
                },
            }
            for name in trace.tools
        ]
        messages: list[dict[str, Any]] = [{"role": "user", "content": trace.query}]
        said = []
        for _ in range(MAX_TURNS):
            try:
                message = self.ask(messages, tools)
            except openai.APIError as error:
                return [*said, type(error).__name__]
            called = message.get("tool_calls", [])
            said.append([message.get("content"), [call["function"] for call in called]])
            if not called:
                break
            messages.append(message)
            for one in called:
                arguments = json.loads(one["function"]["arguments"])
                call = Call(one["function"]["name"], arguments)
                shown = self._environment.show(call, self._environment.execute(call, trace.tools))
                messages.append({"role": "tool", "tool_call_id": one["id"], "content": shown})
        return said


@contextlib.contextmanager
def serving(workdir: str, flags: list[str]) -> Iterator[tuple[subprocess.Popen, str, float]]:
    """(process, url, seconds until it was ready)."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "tooltrain.cli.serve", f"--workdir={workdir}", "--port=0"]
    with subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if found := re.search(r"serving \S+ at (\S+)", line):
                    break
            else:
                raise RuntimeError(f"the server ended with status {process.wait()}")
            yield process, found[1], time.perf_counter() - started
        finally:
            process.kill()


def measure(
    process: subprocess.Popen, url: str, traces: list[Trace], environment: Environment, given: Any
) -> dict[str, Any]:
    alone = Clients(url, environment)
    wanted = [alone.converse(trace) for trace in traces]

    # --- many at once -----------------------------------------------------------------
    many = Clients(url, environment)
    before = metrics(url)
    deadline = time.perf_counter() + given.seconds
    turns = itertools.count()

    def play() -> tuple[int, int]:
        played = different = 0
        while time.perf_counter() < deadline:
            i = next(turns) % len(traces)
            played += 1
            different += many.converse(traces[i]) != wanted[i]
        return played, different

    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(given.clients) as pool:
        counts = [job.result() for job in [pool.submit(play) for _ in range(given.clients)]]
    seconds = time.perf_counter() - started
    after = metrics(url)
    grown = {name: value - before.get(name, 0.0) for name, value in after.items()}
    played, different = np.sum(counts, axis=0).tolist()
    return {
        "alone": {"conversations": len(traces), **summary(alone)},
        "together": {
            "clients": given.clients,
            "seconds": round(seconds, 1),
            "conversations": played,
            "conversations_that_differ": different,
            **summary(many),
            "requests_per_s": round(len(many.latencies) / seconds, 1),
            "sampled_tokens_per_s": round(grown["tooltrain_sampled_tokens_total"] / seconds),
            "prompt_tokens": grown["tooltrain_prompt_tokens_total"],
            "prompt_tokens_reused": grown["tooltrain_prompt_tokens_reused_total"],
        },
        "left_in_slots_or_waiting": idle(url),
        "stop": stop(process, url, traces, environment, given.clients),
    }


def summary(clients: Clients) -> dict[str, Any]:
    milliseconds = 1000 * np.array(clients.latencies)
    return {
        "requests": dict(clients.outcomes),
        "latency_ms": {q: round(float(np.percentile(milliseconds, q))) for q in (50, 95, 99)},
    }


def idle(url: str) -> int:
    """Requests that are still in a slot or waiting, 5 seconds after the last answer at most."""
    until = time.monotonic() + 5
    while True:
        found = metrics(url)
        left = found["tooltrain_requests_live"] + found["tooltrain_requests_waiting"]
        if not left or time.monotonic() > until:
            return int(left)


def stop(
    process: subprocess.Popen, url: str, traces: list[Trace], environment: Environment, clients: int
) -> dict[str, Any]:
    """SIGTERM once the first of a burst was taken; what becomes of all, and of one after them."""
    burst = Clients(url, environment)
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        before = metrics(url)["tooltrain_prompt_tokens_total"]
        jobs = [
            pool.submit(burst.ask, [{"role": "user", "content": trace.query}], [])
            for trace, _ in zip(itertools.cycle(traces), range(clients), strict=False)
        ]
        while metrics(url)["tooltrain_prompt_tokens_total"] == before:
            pass
        process.send_signal(signal.SIGTERM)
        started = time.perf_counter()
        health = ""
        with contextlib.suppress(OSError):
            while (health := fetch(url.removesuffix("/v1") + "/health")[1]) == '{"status":"ok"}':
                pass
        late = Clients(url, environment)
        with contextlib.suppress(openai.APIError):
            late.ask([{"role": "user", "content": traces[0].query}], [])
        concurrent.futures.wait(jobs)
    return {
        "burst": dict(burst.outcomes),
        "health": health,
        "late_request": dict(late.outcomes),
        "exit_status": process.wait(),
        "seconds": round(time.perf_counter() - started, 1),
    }


def metrics(url: str) -> dict[str, float]:
    lines = fetch(url.removesuffix("/v1") + "/metrics")[1].splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--workdir", required=True)
    flags.add_argument("--cache", help="default: WORKDIR/cache/booking.sqlite")
    flags.add_argument("--traces", type=pathlib.Path, help="default: WORKDIR/traces")
    flags.add_argument("--conversations", type=int, default=64)
    flags.add_argument("--clients", type=int, default=32)
    flags.add_argument("--seconds", type=float, default=60)
    flags.add_argument("flags", nargs="*", help="of tooltrain.cli.serve, after --")
    given = flags.parse_args()
    cache = given.cache or f"{given.workdir}/cache/booking.sqlite"
    traces_dir = given.traces or pathlib.Path(given.workdir) / "traces"
    environment = open_environment(cache, max_tokens=80, max_items=2, max_value_chars=64)
    traces = open_traces(traces_dir, "test")[: given.conversations]
    own = [f"--config.cache={cache}", f"--config.traces={traces_dir}"]
    with serving(given.workdir, [*own, *given.flags]) as (process, url, ready_s):
        measured = measure(process, url, list(traces), environment, given)
    print(json.dumps({"ready_s": round(ready_s, 1), **measured, "machine": machine()}, indent=2))


if __name__ == "__main__":
    main()
