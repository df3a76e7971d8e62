"""The training state, and the three programs that run on the devices.

A step is one jitted program: sharded in and out, the old state donated, nothing fetched to
the host. Metrics come back as device arrays; read them after the next step is dispatched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from tooltrain import sharding
from tooltrain.train import objectives
from tooltrain.types import GRPOBatch, SFTBatch

Params = Any
Metrics = dict[str, Float[Array, ""]]
# (params, tokens [B, T], positions [B, T], segment_ids [B, T] or None) -> logits [B, T, V]
ApplyFn = Callable[[Params, Array, Array, Array | None], Float[Array, "B T V"]]


class TrainState(NamedTuple):
    """All that a step changes. step: how many steps were made."""

    step: Int[Array, ""]
    params: Params
    opt_state: optax.OptState


def state_shardings(
    mesh: Mesh, params: Params, optimizer: optax.GradientTransformation
) -> TrainState:
    """Shardings of a TrainState of these parameters (arrays or shapes).

    Optimizer moments live where their parameter does; counters are replicated.
    """
    param_shardings = sharding.parameter_shardings(mesh, params)
    everywhere = sharding.replicated(mesh)
    opt_state = optax.tree.map_params(
        optimizer,
        lambda moment, where: moment if _is_masked(moment) else where,
        jax.eval_shape(optimizer.init, params),
        param_shardings,
        transform_non_params=lambda _: everywhere,
        is_leaf=_is_masked,
    )
    return TrainState(everywhere, param_shardings, opt_state)


def abstract_state(
    mesh: Mesh, params: Params, optimizer: optax.GradientTransformation
) -> TrainState:
    """Shapes, dtypes and shardings of a TrainState, nothing allocated: what restore wants."""
    shapes = jax.eval_shape(lambda p: _fresh_state(p, optimizer), params)
    return jax.tree.map(
        lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
        shapes,
        state_shardings(mesh, params, optimizer),
    )


def create_state(
    mesh: Mesh, make_params: Callable[[], Params], optimizer: optax.GradientTransformation
) -> TrainState:
    """A state at step 0, each shard made where it lives. `make_params` is traced."""
    shardings = state_shardings(mesh, jax.eval_shape(make_params), optimizer)
    return jax.jit(lambda: _fresh_state(make_params(), optimizer), out_shardings=shardings)()


def state_of_params(
    mesh: Mesh, params: Params, optimizer: optax.GradientTransformation
) -> TrainState:
    """A state at step 0 around parameters that are already on the mesh (they are donated)."""
    shardings = state_shardings(mesh, params, optimizer)
    make = jax.jit(
        lambda p: _fresh_state(p, optimizer),
        in_shardings=(shardings.params,),
        out_shardings=shardings,
        donate_argnums=0,
    )
    return make(params)


def _is_masked(node: Any) -> bool:
    """Where one of several optimizers has no moment, since another updates the parameter."""
    return isinstance(node, optax.MaskedNode)


def _fresh_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


# --- the programs -------------------------------------------------------------------


def make_sft_step(
    apply_fn: ApplyFn,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shardings: TrainState,
    *,
    microbatches: int = 1,
) -> Callable[[TrainState, SFTBatch], tuple[TrainState, Metrics]]:
    """(state, batch) -> (state, metrics): one SFT update; the state passed in is consumed.

    metrics: loss (nats a token, weighted as the batch says), token_accuracy (share of that
    weight on greedily right tokens), grad_norm (before clipping).
    """

    def part_loss(params: Params, part: tuple[SFTBatch, Array]) -> tuple[Array, Metrics]:
        batch, weights = part
        logits = apply_fn(params, batch.tokens, batch.positions, batch.segment_ids)
        statistics = objectives.token_statistics(logits, batch.tokens)
        loss = objectives.sft_loss(statistics.logprobs, weights)
        return loss, {"loss": loss, "token_accuracy": jnp.sum(weights * statistics.greedy)}

    def step(state: TrainState, batch: SFTBatch) -> tuple[TrainState, Metrics]:
        # Nothing predicts the first token: its weight must not count in the mean.
        weights = batch.loss_weight.at[:, 0].set(0.0)
        weights = weights / jnp.maximum(jnp.sum(weights), 1e-8)
        return _update(part_loss, optimizer, state, (batch, weights), microbatches)

    return _jit_step(step, mesh, shardings)


def make_sft_evaluation(
    apply_fn: ApplyFn, mesh: Mesh, param_shardings: Params
) -> Callable[[Params, SFTBatch], Metrics]:
    """(params, batch) -> sums over the batch: loss, token_accuracy, and the weight to divide
    them by. Only whole-weight tokens (what the policy is to write) count."""

    def evaluation(params: Params, batch: SFTBatch) -> Metrics:
        weights = (batch.loss_weight >= 1.0).astype(jnp.float32).at[:, 0].set(0.0)
        logits = apply_fn(params, batch.tokens, batch.positions, batch.segment_ids)
        statistics = objectives.token_statistics(logits, batch.tokens)
        return {
            "loss": objectives.sft_loss(statistics.logprobs, weights),
            "token_accuracy": jnp.sum(weights * statistics.greedy),
            "weight": jnp.sum(weights),
        }

    return jax.jit(
        evaluation,
        in_shardings=(param_shardings, sharding.batch_sharding(mesh)),
        out_shardings=sharding.replicated(mesh),
    )


def make_grpo_step(
    apply_fn: ApplyFn,
    optimizer: optax.GradientTransformation,
    mesh: Mesh,
    shardings: TrainState,
    *,
    temperature: float = 1.0,
    aggregation: str = "token_mean",
    max_tokens: int = 0,
    microbatches: int = 1,
    **loss_options: Any,
) -> Callable[[TrainState, GRPOBatch], tuple[TrainState, Metrics]]:
    """(state, batch) -> (state, metrics): one GRPO update; the state passed in is consumed.

    aggregation, max_tokens: see `objectives.loss_weights`; loss_options: keyword arguments
    of `objectives.grpo_loss`. temperature: the one the rollouts were sampled at.
    metrics: those of `grpo_loss`, loss and grad_norm (before clipping).
    """

    def part_loss(params: Params, part: tuple[GRPOBatch, Array]) -> tuple[Array, Metrics]:
        batch, weights = part
        logits = apply_fn(params, batch.tokens, _positions(batch.tokens), None)
        statistics = objectives.token_statistics(logits, batch.tokens, temperature)
        loss, metrics = objectives.grpo_loss(statistics, batch, weights, **loss_options)
        return loss, metrics | {"loss": loss}

    def step(state: TrainState, batch: GRPOBatch) -> tuple[TrainState, Metrics]:
        weights = objectives.loss_weights(batch.completion_mask, aggregation, max_tokens)
        return _update(part_loss, optimizer, state, (batch, weights), microbatches)

    return _jit_step(step, mesh, shardings)


def make_logprobs_step(
    apply_fn: ApplyFn, mesh: Mesh, param_shardings: Params, *, temperature: float = 1.0
) -> Callable[[Params, Int[Array, "B T"]], Float[Array, "B T"]]:
    """(params, tokens) -> log-probabilities of the tokens, nats: the reference policy's."""

    def step(params: Params, tokens: Int[Array, "B T"]) -> Float[Array, "B T"]:
        logits = apply_fn(params, tokens, _positions(tokens), None)
        return objectives.token_logprobs(logits, tokens, temperature)

    rows = sharding.batch_sharding(mesh)
    return jax.jit(step, in_shardings=(param_shardings, rows), out_shardings=rows)


def _jit_step(step, mesh: Mesh, shardings: TrainState):
    return jax.jit(
        step,
        in_shardings=(shardings, sharding.batch_sharding(mesh)),
        out_shardings=(shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )


def _positions(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)


def _update(
    part_loss: Callable[[Params, Any], tuple[Array, Metrics]],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Any,
    microbatches: int,
) -> tuple[TrainState, Metrics]:
    """One optimizer step on the sum of `part_loss` over the batch's parts.

    Parts add up to the batch because the weights that `part_loss` uses were made from the
    whole batch; they run one after another, which divides activation memory.
    """
    gradient = jax.value_and_grad(part_loss, has_aux=True)
    if microbatches == 1:
        (_, metrics), grads = gradient(state.params, batch)
    else:
        parts = jax.tree.map(lambda x: _split(x, microbatches), batch)

        def add_part(total, part):
            (_, metrics), grads = gradient(state.params, part)
            return jax.tree.map(jnp.add, total, (metrics, grads)), None

        shapes = jax.eval_shape(gradient, state.params, jax.tree.map(lambda x: x[0], parts))
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0][1], shapes[1]))
        (metrics, grads), _ = jax.lax.scan(add_part, zeros, parts)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics["grad_norm"] = optax.tree.norm(grads)
    return TrainState(state.step + 1, params, opt_state), metrics


def _split(x: Array, microbatches: int) -> Array:
    """[B, ...] -> [microbatches, B / microbatches, ...], every part taking rows of every device.

    Consecutive rows live on one device; dealing them out keeps all devices busy in each
    part without moving a row.
    """
    if x.shape[0] % microbatches:
        raise ValueError(
            f"a batch of {x.shape[0]} rows cannot be split into {microbatches} equal microbatches"
        )
    return jnp.swapaxes(x.reshape(-1, microbatches, *x.shape[1:]), 0, 1)
