"""ComplexFuncBench played by a trained policy through the rollout engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tooltrain.eval.complexfuncbench_players import Played
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample
from tooltrain.eval.trained_policy import TrainedPolicy
from tooltrain.rollout.episode import Prompt


class PolicyPlayer:
    """A trained policy; what it may write is limited by its own config."""

    def __init__(self, policy: TrainedPolicy):
        self._policy = policy
        self.identity = policy.identity

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        def prompt(sample: BenchmarkSample) -> Prompt:
            tools = [environment.tools[name] for name in sample.trace.tools]
            tokens = self._policy.template.prompt(sample.trace.query, tools)
            return Prompt(sample.position, tuple(tokens), sample.offered)

        for sample, rollout in self._policy.play(samples, prompt, environment):
            yield Played(sample, rollout.records, rollout.end)
