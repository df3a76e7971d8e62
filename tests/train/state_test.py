import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tooltrain import sharding
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.lora import Lora
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.train import head_statistics
from tooltrain.train import state as train_state
from tooltrain.train.optimizer import make_optimizer
from tooltrain.train.state import TrainState
from tooltrain.train.trained import Trained
from tooltrain.types import GRPOBatch, SFTBatch

V, B, T, E = 64, 8, 12, 7
SAMPLED = (3, 4, 7, 8, 9)  # places of the tokens that a rollout of `grpo_batch` sampled
POLICY = PolicyConfig(
    vocab_size=V, num_layers=2, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=32
)
MODEL = Transformer(POLICY)


def apply_fn(params, *inputs):
    return MODEL.apply({"params": params}, *inputs, method="features")


def logits_are_parameters(params, tokens, positions, segment_ids, visible_to=None, at=None):
    """A policy whose logits are its only parameter: gradients can be read off one by one."""
    logits = params["embedding"].reshape(*tokens.shape, V)
    if at is not None:
        logits = jnp.take_along_axis(logits, at[..., None], axis=1)
    return logits, jnp.eye(V)


def mesh_of(data: int, fsdp: int, tensor: int):
    count = data * fsdp * tensor
    shape = {"data": data, "fsdp": fsdp, "tensor": tensor}
    return sharding.make_mesh(shape, jax.devices()[:count])


def sft_batch(seed: int = 0) -> SFTBatch:
    rng = np.random.default_rng(seed)
    return SFTBatch(
        tokens=rng.integers(0, V, (B, T), dtype=np.int32),
        loss_weight=rng.choice([0.0, 0.1, 1.0], (B, T)).astype(np.float32),
        segment_ids=np.repeat(np.array([[1] * 5 + [2] * 4 + [0] * 3], np.int32), B, axis=0),
        positions=np.repeat(np.array([[*range(5), *range(4), 0, 0, 0]], np.int32), B, axis=0),
    )


def grpo_batch(seed: int = 0) -> GRPOBatch:
    """Rows as the drawn example of types.py: prompt, completion, tool, completion, padding.
    The last entries of each row are padding."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, V, (B, T), dtype=np.int32)
    predictors = np.zeros((B, E), np.int32)
    predictors[:, : len(SAMPLED)] = np.array(SAMPLED) - 1
    mask = np.repeat(np.arange(E)[None] < len(SAMPLED), B, axis=0).astype(np.float32)
    mask[-1] = 0.0  # a padding row
    return GRPOBatch(
        tokens=tokens,
        positions=np.broadcast_to(np.arange(T, dtype=np.int32), (B, T)).copy(),
        visible_to=np.full((B, T), T - 1, np.int32),
        predictors=predictors,
        targets=np.take_along_axis(tokens, predictors + 1, axis=1),
        completion_mask=mask,
        rollout_ids=np.zeros((B, E), np.int32),
        old_logprobs=mask * rng.normal(-4.0, 0.3, (B, E)).astype(np.float32),
        ref_logprobs=mask * rng.normal(-4.0, 0.3, (B, E)).astype(np.float32),
        advantages=mask * rng.normal(size=(B, 1)).astype(np.float32),
    )


BATCHES = {"sft": sft_batch, "grpo": grpo_batch}
STEPS = {"sft": train_state.make_sft_step, "grpo": train_state.make_grpo_step}
adamw = make_optimizer("adamw", lambda _: 1e-3)
muon = make_optimizer("muon", lambda _: 1e-3)


@functools.cache
def host_params():
    return jax.device_get(init_params(POLICY, jax.random.key(0)))


@functools.cache
def programs(kind: str, shape: tuple[int, int, int], optimizer, apply=apply_fn, **options):
    """(mesh, shardings of the state, jitted step): compiled once for all tests."""
    mesh = mesh_of(*shape)
    shapes = logits_params() if apply is logits_are_parameters else host_params()
    shardings = train_state.state_shardings(mesh, shapes, optimizer)
    return mesh, shardings, STEPS[kind](apply, optimizer, mesh, shardings, **options)


def logits_params():
    return {"embedding": jax.random.normal(jax.random.key(1), (B * T, V))}


def fresh_state(mesh, optimizer, params=None) -> TrainState:
    params = sharding.shard_params(mesh, host_params() if params is None else params)
    return train_state.state_of_params(mesh, params, optimizer)


def run(kind: str, shape: tuple[int, int, int], optimizer, batches, **options):
    """(state, metrics of the last step) after a step on each batch, on the host."""
    mesh, _, step = programs(kind, shape, optimizer, **options)
    with jax.set_mesh(mesh):
        state = fresh_state(mesh, optimizer)
        for batch in batches:
            state, metrics = step(state, sharding.shard_batch(mesh, batch))
        return jax.device_get((state, metrics))


def check_close(a, b) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), a, b)


@pytest.mark.parametrize(
    "shape", [*(pytest.param(s, marks=pytest.mark.slow) for s in ((8, 1, 1), (4, 2, 1))), (2, 2, 2)]
)
@pytest.mark.parametrize(("kind", "optimizer"), [("sft", muon), ("grpo", adamw)])
def test_one_device_and_eight_make_the_same_step(kind, optimizer, shape):
    batches = [BATCHES[kind](seed=0), BATCHES[kind](seed=1)]
    expected, expected_metrics = run(kind, (1, 1, 1), optimizer, batches)
    state, metrics = run(kind, shape, optimizer, batches)
    check_close(metrics, expected_metrics)
    check_close(state.params, expected.params)


@pytest.mark.parametrize(
    ("kind", "optimizer", "four"),
    [("sft", muon, {"microbatches": 4}), ("grpo", adamw, {"microbatch_rows": B // 4})],
)
def test_four_microbatches_make_the_step_of_one_batch(kind, optimizer, four):
    batches = [BATCHES[kind]()]
    whole, whole_metrics = run(kind, (1, 1, 1), optimizer, batches)
    parts, parts_metrics = run(kind, (1, 1, 1), optimizer, batches, **four)
    check_close(parts_metrics, whole_metrics)
    check_close(parts.params, whole.params)


def test_logits_in_chunks_make_the_step_of_whole_logits(monkeypatch):
    batches = [grpo_batch(seed=0), grpo_batch(seed=1)]
    whole, whole_metrics = run("grpo", (1, 1, 1), adamw, batches)
    monkeypatch.setattr(head_statistics, "MAX_LOGITS", 2 * V)
    # Said out loud, the default is another entry of the cache of programs.
    parts, parts_metrics = run("grpo", (2, 2, 2), adamw, batches, temperature=1.0)
    check_close(parts_metrics, whole_metrics)
    check_close(parts.params, whole.params)


def test_a_batch_that_microbatches_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="8 rows cannot be split into 3"):
        run("sft", (1, 1, 1), adamw, [sft_batch()], microbatches=3)
    with pytest.raises(ValueError, match="microbatches of 3 rows do not divide 8 rows"):
        run("grpo", (1, 1, 1), adamw, [grpo_batch()], microbatch_rows=3)


def test_parts_that_hold_nothing_are_not_worked_on():
    batch = grpo_batch()
    first = [train_state.row_position(rank, B, 2) for rank in range(3)]
    kept = np.isin(np.arange(B), first)[:, None]
    batch = jax.tree.map(lambda x: np.where(kept, x, 0), batch)
    calls = []

    def counting(params, *inputs):
        jax.debug.callback(lambda: calls.append(1))
        return apply_fn(params, *inputs)

    mesh, _, step = programs("grpo", (1, 1, 1), adamw, apply=counting, microbatch_rows=2)
    _, metrics = step(fresh_state(mesh, adamw), sharding.shard_batch(mesh, batch))
    jax.effects_barrier()
    assert len(calls) == 2
    _, whole = run("grpo", (1, 1, 1), adamw, [batch])
    check_close(jax.device_get(metrics), whole)


def test_log_probabilities_do_not_depend_on_the_parts_they_are_computed_in():
    mesh, shardings, _ = programs("grpo", (1, 1, 1), adamw)
    params = fresh_state(mesh, adamw).params
    batch = sharding.shard_batch(mesh, grpo_batch())
    whole, parts = (
        train_state.make_logprobs_step(apply_fn, mesh, shardings.params, microbatch_rows=rows)(
            params, batch
        )
        for rows in (0, 2)
    )
    np.testing.assert_allclose(whole, parts, atol=1e-5)


def gradient_of_logits(kind: str, batch, **options) -> np.ndarray:
    """d loss / d logits, [B, T, V]: what one step of SGD with rate 1 took away."""
    optimizer = optax.sgd(1.0)
    mesh, _, step = programs(kind, (1, 1, 1), optimizer, apply=logits_are_parameters, **options)
    state = fresh_state(mesh, optimizer, logits_params())
    before = np.array(state.params["embedding"])
    after = step(state, sharding.shard_batch(mesh, batch))[0].params["embedding"]
    return (before - np.asarray(after)).reshape(B, T, V)


def test_prompts_tool_tokens_and_padding_get_exactly_zero_gradient_in_grpo():
    batch = grpo_batch()
    gradient = gradient_of_logits("grpo", batch, kl_coefficient=0.1, entropy_coefficient=0.1)
    predicts_sampled = np.zeros((B, T), bool)
    predicts_sampled[:-1, np.array(SAMPLED) - 1] = True
    np.testing.assert_array_equal(gradient[~predicts_sampled], 0.0)
    assert np.all(np.abs(gradient[predicts_sampled]).max(axis=-1) > 0)


def test_perturbing_what_was_not_sampled_changes_no_bit_of_the_update():
    # Not the tokens before a sampled one: those are context, and rightly matter.
    batch = grpo_batch()
    unsampled = batch.completion_mask == 0
    noise = np.random.default_rng(7).normal(0, 50, (B, E)).astype(np.float32) * unsampled
    padding = np.zeros((B, T), bool)
    padding[:, -2:] = padding[-1] = True
    other = batch._replace(
        tokens=np.where(padding, (batch.tokens + 5) % V, batch.tokens),
        targets=np.where(unsampled, (batch.targets + 5) % V, batch.targets),
        advantages=batch.advantages + noise,
        old_logprobs=batch.old_logprobs + noise,
        ref_logprobs=batch.ref_logprobs - noise,
    )
    states = [run("grpo", (1, 1, 1), adamw, [part])[0] for part in (batch, other)]
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_sft_steps_by_weighted_softmax_minus_onehot():
    # d(-sum w log p(token)) / d logits[t] = w[t+1] (softmax - onehot(token[t+1])) / sum(w),
    # and the weight of the first token, which nothing predicts, counts nowhere.
    batch = sft_batch()
    gradient = gradient_of_logits("sft", batch)
    logits = np.asarray(jax.random.normal(jax.random.key(1), (B * T, V))).reshape(B, T, V)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.zeros((B, T, V))
    for b in range(B):
        for t in range(T - 1):
            expected[b, t] = softmax[b, t] - np.eye(V)[batch.tokens[b, t + 1]]
            expected[b, t] *= batch.loss_weight[b, t + 1] / batch.loss_weight[:, 1:].sum()
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert np.all(gradient[:, :-1][batch.loss_weight[:, 1:] == 0] == 0.0)


def test_the_state_that_is_passed_in_is_donated():
    mesh, _, step = programs("sft", (1, 1, 1), muon)
    state = fresh_state(mesh, muon)
    new, _ = step(state, sharding.shard_batch(mesh, sft_batch()))
    assert all(x.is_deleted() for x in jax.tree.leaves(state))
    assert int(new.step) == 1


def test_a_step_is_traced_once_a_shape():
    traces = []

    def counting(params, tokens, *others):
        traces.append(tokens.shape)
        return apply_fn(params, tokens, *others)

    mesh, _, step = programs("grpo", (2, 2, 2), adamw, apply=counting)
    half = jax.tree.map(lambda x: x[:4], grpo_batch())
    with jax.set_mesh(mesh):
        state = fresh_state(mesh, adamw)
        for batch in (grpo_batch(0), grpo_batch(1), half, half, grpo_batch(2)):
            state, _ = step(state, sharding.shard_batch(mesh, batch))
    assert traces == [(B, T), (4, T)]


def test_at_the_policy_that_sampled_both_kls_are_zero():
    mesh, shardings, step = programs("grpo", (1, 1, 1), adamw)
    logprobs = train_state.make_logprobs_step(apply_fn, mesh, shardings.params)
    state = fresh_state(mesh, adamw)
    batch = sharding.shard_batch(mesh, grpo_batch())
    own = logprobs(state.params, batch)
    _, metrics = step(state, batch._replace(ref_logprobs=own, old_logprobs=own))
    np.testing.assert_allclose(metrics["kl"], 0.0, atol=1e-9)
    np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-9)


def test_evaluation_counts_what_the_policy_is_to_write_and_nothing_else():
    # Weights of 0.1 (context) and the first token's do not count; sums, not means.
    mesh = mesh_of(1, 1, 1)
    params = logits_params()
    where = sharding.parameter_shardings(mesh, params)
    batch = sft_batch()
    found = train_state.make_sft_evaluation(logits_are_parameters, mesh, where)(params, batch)
    logits = np.asarray(params["embedding"]).reshape(B, T, V)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    counted = [(b, t) for b in range(B) for t in range(1, T) if batch.loss_weight[b, t] == 1.0]
    nll = [-logprobs[b, t - 1, batch.tokens[b, t]] for b, t in counted]
    right = [logits[b, t - 1].argmax() == batch.tokens[b, t] for b, t in counted]
    np.testing.assert_allclose(found["weight"], len(counted))
    np.testing.assert_allclose(found["loss"], sum(nll), rtol=1e-5)
    np.testing.assert_allclose(found["token_accuracy"], sum(right))


@pytest.mark.parametrize("optimizer", [adamw, muon])
def test_a_state_is_made_where_it_lives_moments_beside_their_parameters(optimizer):
    mesh = mesh_of(2, 2, 2)
    state = train_state.create_state(
        mesh, lambda: init_params(POLICY, jax.random.key(0)), optimizer
    )
    assert int(state.step) == 0
    where = sharding.parameter_shardings(mesh, state.params)
    assert jax.tree.map(lambda x: x.sharding, state.params) == where
    found = [
        leaf.sharding
        for _, moment in optax.tree.get_all_with_path(state.opt_state, "mu")
        for path, leaf in jax.tree_util.tree_leaves_with_path(moment)
        if sharding.path_name(path) == "layers/query"
    ]
    assert found == [where["layers"]["query"]]


def test_advantages_are_weighed_by_what_the_policy_says_of_the_samples():
    batch = grpo_batch()
    now = batch.old_logprobs.copy()
    now[0, 0] += np.log(3.0)  # capped at 2
    now[0, 1] -= np.log(4.0)
    weighed, metrics = train_state.make_correction(2.0)(batch, now)
    expected = batch.advantages.copy()
    expected[0, :2] *= [2.0, 0.25]
    np.testing.assert_allclose(weighed.advantages, expected, rtol=1e-5)
    np.testing.assert_array_equal(weighed.old_logprobs, batch.old_logprobs)
    assert float(metrics["truncated_share"]) == pytest.approx(1 / batch.completion_mask.sum())


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_a_lora_step_is_the_gradient_of_the_pairs_and_its_base_is_an_argument(kind):
    lora, plain, batch = Lora(rank=3, alpha=6.0), optax.sgd(1.0), BATCHES[kind]()
    # With B = 0 a step would say nothing of A.
    pairs = jax.tree.map(lambda x: x + 0.01, lora.init(host_params(), jax.random.key(5)))
    pairs = jax.device_get(pairs)

    def stepped(shape, *bases):
        """The pairs after a step from `pairs` beside each of these bases."""
        mesh = mesh_of(*shape)
        trained = Trained(mesh, host_params(), lora)
        shardings = train_state.state_shardings(mesh, trained.shapes, plain)
        step = STEPS[kind](
            trained.apply_fn(apply_fn), plain, mesh, shardings, frozen=trained.frozen_shardings
        )
        found = []
        with jax.set_mesh(mesh):
            for base in bases:
                held = sharding.shard_params(mesh, base)
                state, _ = step(
                    fresh_state(mesh, plain, pairs), sharding.shard_batch(mesh, batch), held
                )
                jax.tree.map(np.testing.assert_array_equal, held, base)
                found.append(jax.device_get(state.params))
        assert step._cache_size() == 1
        return found

    other = jax.tree.map(lambda x: x * 1.1, host_params())
    one, beside_other = stepped((1, 1, 1), host_params(), other)
    assert np.abs(one["layers"]["up"]["a"] - beside_other["layers"]["up"]["a"]).max() > 1e-6
    check_close(stepped((2, 2, 2), host_params()), [one])

    # d loss / dA = s (d loss / dW) B^T and d loss / dB = s A^T (d loss / dW), s = 6 / 3.
    whole = jax.device_get(lora.merge(host_params(), pairs))
    mesh, _, step = programs(kind, (1, 1, 1), plain)
    with jax.set_mesh(mesh):
        after, _ = step(fresh_state(mesh, plain, whole), sharding.shard_batch(mesh, batch))
    for name, pair in pairs["layers"].items():
        of_w = whole["layers"][name] - np.asarray(after.params["layers"][name])
        assert np.abs(of_w).max() > 1e-5
        expected = {
            "a": pair["a"] - 2.0 * of_w @ pair["b"].swapaxes(1, 2),
            "b": pair["b"] - 2.0 * pair["a"].swapaxes(1, 2) @ of_w,
        }
        check_close(one["layers"][name], expected)
