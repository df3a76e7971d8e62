"""What a stage trains of a policy: all of its parameters, or a LoRA tree beside frozen ones.

Steps, optimizer state and checkpoints are of what is trained; whatever plays or measures the
policy gets it whole.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import jax
from jax.sharding import Mesh

from tooltrain import sharding
from tooltrain.policy.lora import Lora
from tooltrain.policy.transformer import Params
from tooltrain.train.checkpoint import keep_base
from tooltrain.train.state import ApplyFn


class Trained:
    """policy_shapes: of all parameters; shapes: of what is trained, the same where lora is None.

    abstract_policy: shapes and shardings of all parameters, policy_shardings: the latter alone;
    frozen_shardings: of `frozen`.
    """

    def __init__(self, mesh: Mesh, policy_shapes: Params, lora: Lora | None):
        self.lora = lora
        self.shapes = policy_shapes if lora is None else lora.shapes(policy_shapes)
        self.policy_shardings = sharding.parameter_shardings(mesh, policy_shapes)
        self.frozen_shardings = () if lora is None else (self.policy_shardings,)
        self.abstract_policy = sharding.abstract_parameters(mesh, policy_shapes)
        if lora is not None:
            self._merge = jax.jit(lora.merge, out_shardings=self.policy_shardings)

    def apply_fn(self, apply_fn: ApplyFn) -> ApplyFn:
        """The policy as a function of (*frozen, what is trained, *inputs)."""
        if self.lora is None:
            return apply_fn
        return lambda base, params, *inputs: apply_fn(self.lora.merge(base, params), *inputs)

    def frozen(
        self, directory: pathlib.Path, make: Callable[[], Params], *, resumed: bool
    ) -> tuple[Params, ...]:
        """What steps get after the batch: nothing, or the policy that LoRA stands beside, which
        `make` gives when the stage of this directory begins."""
        if self.lora is None:
            return ()
        return (keep_base(directory, self.abstract_policy, make, resumed=resumed),)

    def fresh_lora(self, seed: int) -> Params:
        """The tree that LoRA begins with. Traced by `state.create_state`."""
        return self.lora.init(self.abstract_policy, jax.random.key(seed))

    def whole(self, params: Params, frozen: tuple[Params, ...]) -> Params:
        """The policy's parameters; those that were given, where all are trained."""
        return params if self.lora is None else self._merge(*frozen, params)
