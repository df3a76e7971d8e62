"""The training state, and the three programs that run on the devices.

A step is one jitted program: sharded in and out, the old state donated, nothing fetched to
the host. Metrics come back as device arrays; read them after the next step is dispatched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from tooltrain import sharding
from tooltrain.train import objectives
from tooltrain.train.head_statistics import head_statistics
from tooltrain.types import GRPOBatch, SFTBatch

Params = Any
Metrics = dict[str, Float[Array, ""]]
# (params, tokens, positions, segment_ids, visible_to, at) -> hidden states and output matrix, whose
# product the logits are: see `Transformer.features`
ApplyFn = Callable[..., tuple[Float[Array, "B E D"], Float[Array, "V D"]]]


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
    frozen: Sequence[Params] = (),
) -> Callable[..., tuple[TrainState, Metrics]]:
    """(state, batch, *frozen) -> (state, metrics): one SFT update; the state passed in is consumed.

    frozen: shardings of what `apply_fn` gets before the state's parameters, and no step changes.
    metrics: loss (nats a token, weighted as the batch says), token_accuracy (share of that
    weight on greedily right tokens), grad_norm (before clipping).
    """

    def step(state: TrainState, batch: SFTBatch, *held: Params) -> tuple[TrainState, Metrics]:
        apply = functools.partial(apply_fn, *held)

        def part_loss(params: Params, part: tuple[SFTBatch, Array]) -> tuple[Array, Metrics]:
            batch, weights = part
            statistics, weights = _of_next_tokens(apply, params, batch, weights, mesh.size)
            loss = objectives.sft_loss(statistics.logprobs, weights)
            return loss, {"loss": loss, "token_accuracy": jnp.sum(weights * statistics.greedy)}

        # Nothing predicts the first token: its weight must not count in the mean.
        weights = batch.loss_weight.at[:, 0].set(0.0)
        weights = weights / jnp.maximum(jnp.sum(weights), 1e-8)
        batch = (batch, weights)
        if microbatches > 1:
            batch = jax.tree.map(lambda x: _split(x, microbatches), batch)
            return _update_in_parts(part_loss, optimizer, state, batch, microbatches)
        return _update(part_loss, optimizer, state, batch)

    return _jit_step(step, mesh, shardings, frozen)


def make_sft_evaluation(
    apply_fn: ApplyFn, mesh: Mesh, param_shardings: Params
) -> Callable[[Params, SFTBatch], Metrics]:
    """(params, batch) -> sums over the batch: loss, token_accuracy, and the weight to divide
    them by. Only whole-weight tokens (what the policy is to write) count."""

    def evaluation(params: Params, batch: SFTBatch) -> Metrics:
        weights = (batch.loss_weight >= 1.0).astype(jnp.float32).at[:, 0].set(0.0)
        statistics, weights = _of_next_tokens(apply_fn, params, batch, weights, mesh.size)
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
    microbatch_rows: int = 0,
    share_prefixes: bool = True,
    frozen: Sequence[Params] = (),
    **loss_options: Any,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """(state, batch, *frozen) -> (state, metrics): one GRPO update; the old state is consumed.

    aggregation, max_tokens: see `objectives.loss_weights`; loss_options: keyword arguments
    of `objectives.grpo_loss`. temperature: the one the rollouts were sampled at.
    microbatch_rows: rows that are worked on at a time (0: all), a divisor of the batch's;
    parts after the last one that holds something cost nothing, see `row_position`.
    share_prefixes: whether the rows hold trees, or rollouts side by side. frozen: as in
    `make_sft_step`.
    metrics: those of `grpo_loss`, loss and grad_norm (before clipping).
    """

    def step(state: TrainState, batch: GRPOBatch, *held: Params) -> tuple[TrainState, Metrics]:
        apply = functools.partial(apply_fn, *held)
        statistics_of = _entry_statistics(apply, temperature, share_prefixes, mesh.size)

        def part_loss(params: Params, part: tuple[GRPOBatch, Array]) -> tuple[Array, Metrics]:
            batch, weights = part
            statistics = statistics_of(params, batch)
            loss, metrics = objectives.grpo_loss(statistics, batch, weights, **loss_options)
            return loss, metrics | {"loss": loss}

        weights = objectives.loss_weights(
            batch.completion_mask, aggregation, max_tokens, batch.rollout_ids
        )
        rows = len(batch.tokens)
        if microbatch_rows in (0, rows):
            return _update(part_loss, optimizer, state, (batch, weights))
        parts = jax.tree.map(lambda x: _split(x, _parts(rows, microbatch_rows)), (batch, weights))
        return _update_in_parts(part_loss, optimizer, state, parts, _used(parts[0].completion_mask))

    return _jit_step(step, mesh, shardings, frozen)


def make_logprobs_step(
    apply_fn: ApplyFn,
    mesh: Mesh,
    param_shardings: Params,
    *,
    temperature: float = 1.0,
    microbatch_rows: int = 0,
    share_prefixes: bool = True,
) -> Callable[[Params, GRPOBatch], Float[Array, "B E"]]:
    """(params, batch) -> log-probabilities of its targets, nats: the reference policy's.

    microbatch_rows, share_prefixes: as in `make_grpo_step`; 0 in parts that hold nothing.
    """

    statistics_of = _entry_statistics(apply_fn, temperature, share_prefixes, mesh.size)

    def logprobs(params: Params, batch: GRPOBatch) -> Float[Array, "B E"]:
        return statistics_of(params, batch).logprobs

    def step(params: Params, batch: GRPOBatch) -> Float[Array, "B E"]:
        rows, entries = batch.targets.shape
        if microbatch_rows in (0, rows):
            return logprobs(params, batch)
        parts = jax.tree.map(lambda x: _split(x, _parts(rows, microbatch_rows)), batch)

        def of_part(i, out):
            return out.at[i].set(logprobs(params, jax.tree.map(lambda x: x[i], parts)))

        out = jnp.zeros(parts.targets.shape, jnp.float32)
        out = jax.lax.fori_loop(0, _used(parts.completion_mask), of_part, out)
        return jnp.swapaxes(out, 0, 1).reshape(rows, entries)

    rows = sharding.batch_sharding(mesh)
    return jax.jit(step, in_shardings=(param_shardings, rows), out_shardings=rows)


def make_correction(
    cap: float,
) -> Callable[[GRPOBatch, Float[Array, "B E"]], tuple[GRPOBatch, Metrics]]:
    """(batch, what the policy says of its targets) -> the batch with advantages weighed by
    `objectives.truncated_importance`, and the metrics of that."""

    @jax.jit
    def correct(batch: GRPOBatch, logprobs: Float[Array, "B E"]) -> tuple[GRPOBatch, Metrics]:
        weights, metrics = objectives.truncated_importance(
            logprobs, batch.old_logprobs, batch.completion_mask, cap
        )
        return batch._replace(advantages=batch.advantages * weights), metrics

    return correct


def row_position(rank: int, rows: int, microbatch_rows: int) -> int:
    """Where the rank-th row of a batch stands, so that rows 0, 1, 2 ... fill one part of
    `microbatch_rows` after the other, each over all devices."""
    parts = _parts(rows, microbatch_rows)
    part, place = divmod(rank, microbatch_rows)
    return place * parts + part


def _jit_step(step, mesh: Mesh, shardings: TrainState, frozen: Sequence[Params]):
    return jax.jit(
        step,
        in_shardings=(shardings, sharding.batch_sharding(mesh), *frozen),
        out_shardings=(shardings, sharding.replicated(mesh)),
        donate_argnums=0,
    )


def _of_next_tokens(
    apply_fn: ApplyFn, params: Params, batch: SFTBatch, weights: Float[Array, "B T"], devices: int
) -> tuple[objectives.TokenStatistics, Float[Array, "B T"]]:
    """Statistics of the token after each token, and the weights of those. Rolled, not sliced: a
    slice is a copy. So the last place has the first token's weight, 0."""
    hidden, head = apply_fn(params, batch.tokens, batch.positions, batch.segment_ids)
    following = jnp.roll(batch.tokens, -1, axis=1)
    statistics = head_statistics(hidden, head, following, devices=devices)
    return statistics, jnp.roll(weights, -1, axis=1)


def _entry_statistics(
    apply_fn: ApplyFn, temperature: float, share_prefixes: bool, devices: int
) -> Callable[[Params, GRPOBatch], objectives.TokenStatistics]:
    """(params, batch) -> statistics of its targets, [B, E]."""

    def statistics_of(params: Params, batch: GRPOBatch) -> objectives.TokenStatistics:
        # Without branches the last token of a segment serves as the segment's id, which
        # attention that knows no trees understands.
        segment_ids, visible_to = batch.visible_to, None
        if share_prefixes:
            segment_ids, visible_to = visible_to, segment_ids
        hidden, head = apply_fn(
            params, batch.tokens, batch.positions, segment_ids, visible_to, batch.predictors
        )
        return head_statistics(hidden, head, batch.targets, temperature, devices=devices)

    return statistics_of


def _update(
    part_loss: Callable[[Params, Any], tuple[Array, Metrics]],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    batch: Any,
) -> tuple[TrainState, Metrics]:
    """One optimizer step on `part_loss` of the batch."""
    (_, metrics), grads = jax.value_and_grad(part_loss, has_aux=True)(state.params, batch)
    return _apply_gradient(optimizer, state, grads, metrics)


def _update_in_parts(
    part_loss: Callable[[Params, Any], tuple[Array, Metrics]],
    optimizer: optax.GradientTransformation,
    state: TrainState,
    parts: Any,
    used: int | Int[Array, ""],
) -> tuple[TrainState, Metrics]:
    """One optimizer step on the sum of `part_loss` over the first `used` parts of a batch.

    Parts add up to the batch because the weights that `part_loss` uses were made from the
    whole batch; they run one after another, which divides activation memory. The number of
    rounds is a value, not a shape: batches of any fill run the same program.
    """
    gradient = jax.value_and_grad(part_loss, has_aux=True)

    def add_part(i, total):
        (_, metrics), grads = gradient(state.params, jax.tree.map(lambda x: x[i], parts))
        return jax.tree.map(jnp.add, total, (metrics, grads))

    shapes = jax.eval_shape(gradient, state.params, jax.tree.map(lambda x: x[0], parts))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (shapes[0][1], shapes[1]))
    metrics, grads = jax.lax.fori_loop(0, used, add_part, zeros)
    return _apply_gradient(optimizer, state, grads, metrics)


def _apply_gradient(
    optimizer: optax.GradientTransformation, state: TrainState, grads: Params, metrics: Metrics
) -> tuple[TrainState, Metrics]:
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics["grad_norm"] = optax.tree.norm(grads)
    return TrainState(state.step + 1, params, opt_state), metrics


def _used(completion_mask: Float[Array, "M B E"]) -> Int[Array, ""]:
    """The number of parts up to the last one that holds an entry."""
    holds = jnp.any(completion_mask > 0, axis=(1, 2))
    return jnp.max(jnp.where(holds, jnp.arange(1, len(holds) + 1), 0))


def _parts(rows: int, microbatch_rows: int) -> int:
    if rows % microbatch_rows:
        raise ValueError(f"microbatches of {microbatch_rows} rows do not divide {rows} rows")
    return rows // microbatch_rows


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
