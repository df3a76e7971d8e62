"""ComplexFuncBench played by a trained policy, greedily, through the rollout engine."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence

import jax
from ml_collections import ConfigDict

from tooltrain import sharding
from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.errors import UserError
from tooltrain.eval.complexfuncbench_players import Played
from tooltrain.eval.complexfuncbench_samples import BenchmarkEnvironment, BenchmarkSample
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import init_params
from tooltrain.rollout.engine import Engine
from tooltrain.rollout.episode import Prompt, rollouts
from tooltrain.rollout.sampling import GREEDY
from tooltrain.train.checkpoint import latest_step, load_params


class Policy:
    """The newest checkpoint of WORKDIR/`stage`, within the turns and tokens of config.grpo."""

    def __init__(self, config: ConfigDict, workdir: str, stage: str):
        """Raises UserError where there is no checkpoint, or one of another policy."""
        directory = pathlib.Path(workdir) / stage
        if latest_step(directory) is None:
            raise UserError(f"{directory} holds no checkpoint; run `train_{stage}` first")
        traces = pathlib.Path(config.traces or f"{workdir}/traces")
        self._template = ChatTemplate(Tokenizer.load(traces / "tokenizer.json"))
        policy = PolicyConfig(
            vocab_size=self._template.tokenizer.vocab_size, **config.policy.to_dict()
        )
        self._mesh = sharding.make_mesh(config.mesh)
        shapes = jax.eval_shape(lambda: init_params(policy, jax.random.key(0)))
        abstract = jax.tree.map(
            lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
            shapes,
            sharding.parameter_shardings(self._mesh, shapes),
        )
        self._params, step = load_params(directory, abstract)
        limits = {name: config.grpo[name] for name in ("max_turns", "max_turn_tokens")}
        self._limits = limits
        self._engine = Engine(
            policy,
            num_slots=config.eval.slots,
            max_len=config.grpo.max_len,
            eos_id=self._template.eos_id,
        )
        self.identity = {
            "player": stage,
            "step": int(step),
            "checkpoint": str(directory.resolve()),
            "max_len": config.grpo.max_len,
            **limits,
        }

    def play(
        self, samples: Sequence[BenchmarkSample], environment: BenchmarkEnvironment
    ) -> Iterator[Played]:
        """As many samples at a time as the engine has slots; those are finished together."""
        for start in range(0, len(samples), self._engine.num_slots):
            batch = samples[start : start + self._engine.num_slots]
            prompts = [self._prompt(sample, environment) for sample in batch]
            with jax.set_mesh(self._mesh):
                played = rollouts(
                    self._params,
                    prompts,
                    engine=self._engine,
                    environment=environment,
                    template=self._template,
                    sampling=GREEDY,
                    **self._limits,
                )
            for sample, rollout in zip(batch, played, strict=True):
                yield Played(sample, rollout.records, rollout.end)

    def _prompt(self, sample: BenchmarkSample, environment: BenchmarkEnvironment) -> Prompt:
        tools = [environment.tools[name] for name in sample.trace.tools]
        tokens = tuple(self._template.prompt(sample.trace.query, tools))
        return Prompt(sample.position, tokens, sample.offered)
