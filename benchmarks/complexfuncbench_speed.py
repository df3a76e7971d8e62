"""What does evaluating ComplexFuncBench cost the host, beyond the model's own time?

All 1,000 samples with everything but a model: turns rebuilt, prompts and observations
tokenized (byte-level BPE of `--vocab_size` trained on the queries), each gold turn written
as text, parsed, executed and shown, both readings scored, every sample written to its
journal, tables with intervals made. Prints one JSON object; seconds by wall clock and of
CPU, of one process.

    python -m benchmarks.complexfuncbench_speed --cache WORKDIR/cache/booking.sqlite
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence

from benchmarks.machine import machine
from tooltrain.calls.parser import parse_calls
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import train_tokenizer
from tooltrain.env.environment import open_environment
from tooltrain.eval.baselines import gold_calls
from tooltrain.eval.complexfuncbench import evaluate
from tooltrain.eval.complexfuncbench_players import Played
from tooltrain.eval.complexfuncbench_samples import (
    BenchmarkEnvironment,
    BenchmarkSample,
    read_samples,
)
from tooltrain.types import CallRecord, EndReason


class Host:
    """Gold, with all the host's work that a policy's episode takes."""

    def __init__(self, template: ChatTemplate):
        self.identity = {"player": "host"}
        self.tokens = 0
        self._template = template

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        for sample in samples:
            tools = [environment.tools[name] for name in sample.trace.tools]
            self.tokens += len(self._template.prompt(sample.trace.query, tools))
            records = []
            for turn, gold in enumerate(gold_calls(sample.trace, environment)):
                calls = parse_calls(self._template.completion_text(gold))
                observations = [environment.execute(call, sample.offered) for call in calls]
                shown = [
                    environment.show(call, observation)
                    for call, observation in zip(calls, observations, strict=True)
                ]
                self.tokens += len(self._template.observations(shown))
                records += [
                    CallRecord(call, turn, observation.kind)
                    for call, observation in zip(calls, observations, strict=True)
                ]
            yield Played(sample, tuple(records), EndReason.FINISHED)


class Clock:
    def __init__(self):
        self._start = time.perf_counter(), time.process_time()

    def seconds(self) -> dict[str, float]:
        wall, cpu = time.perf_counter() - self._start[0], time.process_time() - self._start[1]
        return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


def measure(cache: str, vocab_size: int, whole: bool, projection: dict[str, int]) -> dict:
    whole_clock = Clock()
    environment = BenchmarkEnvironment(open_environment(cache, **projection), whole_responses=whole)
    samples = read_samples(environment.cache)
    reading = whole_clock.seconds()
    player = Host(ChatTemplate(train_tokenizer([s.trace.query for s in samples], vocab_size)))
    with tempfile.TemporaryDirectory() as directory:
        clock = Clock()
        summary = evaluate(player, samples, environment, directory, settings={}, progress=False)
        playing = clock.seconds()
    return {
        "samples": summary["samples"],
        "strict_success": summary["overall"]["strict_success"]["mean"],
        "responses": "whole" if whole else projection,
        "tokens": player.tokens,
        "read_samples": reading,
        "play_score_write": playing,
        "all": whole_clock.seconds(),
        "machine": machine(),
    }


def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--cache", required=True)
    flags.add_argument("--vocab_size", type=int, default=1024)
    flags.add_argument("--whole_responses", action="store_true")
    given = flags.parse_args()
    projection = {"max_tokens": 512, "max_items": 5, "max_value_chars": 1024}
    measured = measure(given.cache, given.vocab_size, given.whole_responses, projection)
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
