import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tooltrain import sharding
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.train import state as train_state
from tooltrain.train.optimizer import make_optimizer
from tooltrain.types import GRPOBatch, SFTBatch

V, B, T = 64, 8, 12
POLICY = PolicyConfig(
    vocab_size=V, num_layers=2, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=32
)
MODEL = Transformer(POLICY)


def apply_fn(params, tokens, positions, segment_ids):
    return MODEL.apply({"params": params}, tokens, positions, segment_ids)


def logits_are_parameters(params, tokens, positions, segment_ids):
    """A policy whose logits are its only parameter: gradients can be read off one by one."""
    return params["embedding"].reshape(*tokens.shape, V)


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
    """Rows as the drawn example of types.py: prompt, completion, tool, completion, padding."""
    rng = np.random.default_rng(seed)
    mask = np.repeat(np.array([[0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0]], np.float32), B, axis=0)
    mask[-1] = 0.0  # a padding row
    return GRPOBatch(
        tokens=rng.integers(0, V, (B, T), dtype=np.int32),
        completion_mask=mask,
        old_logprobs=mask * rng.normal(-4.0, 0.3, (B, T)).astype(np.float32),
        ref_logprobs=mask * rng.normal(-4.0, 0.3, (B, T)).astype(np.float32),
        advantages=rng.normal(size=B).astype(np.float32),
    )


def make(kind: str, mesh, optimizer, *, apply=apply_fn, **options):
    """(state, step, batch on the mesh) of one kind of step."""

    def fresh():
        if apply is logits_are_parameters:
            key = jax.random.key(1)
            return {"embedding": jax.random.normal(key, (B * T, V))}
        return init_params(POLICY, jax.random.key(0))

    state = train_state.create_state(mesh, fresh, optimizer)
    shardings = train_state.state_shardings(mesh, state.params, optimizer)
    builder = {"sft": train_state.make_sft_step, "grpo": train_state.make_grpo_step}[kind]
    return state, builder(apply, optimizer, mesh, shardings, **options)


BATCHES = {"sft": sft_batch, "grpo": grpo_batch}


def run(kind: str, mesh, optimizer, steps: int = 2, **options):
    with jax.set_mesh(mesh):
        state, step = make(kind, mesh, optimizer, **options)
        for i in range(steps):
            batch = sharding.shard_batch(mesh, BATCHES[kind](seed=i))
            state, metrics = step(state, batch)
        return jax.device_get((state, metrics))


@pytest.mark.parametrize(("kind", "name"), [("sft", "muon"), ("grpo", "adamw")])
def test_one_device_and_eight_make_the_same_step(kind, name):
    # SGD-like smoothness: AdamW divides by |g|, which turns rounding of tiny gradients into
    # whole steps, so epsilon-free equality is asked of losses and of the parameters alike.
    optimizer = make_optimizer(name, lambda _: 1e-3)
    expected, expected_metrics = run(kind, mesh_of(1, 1, 1), optimizer)
    for shape in [(8, 1, 1), (4, 2, 1), (2, 2, 2)]:
        state, metrics = run(kind, mesh_of(*shape), optimizer)
        for name, value in expected_metrics.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
            state.params,
            expected.params,
        )


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_four_microbatches_make_the_step_of_one_batch(kind):
    optimizer = make_optimizer("adamw", lambda _: 1e-3)
    mesh = mesh_of(2, 1, 1)
    whole, whole_metrics = run(kind, mesh, optimizer)
    parts, parts_metrics = run(kind, mesh, optimizer, microbatches=4)
    for name, value in whole_metrics.items():
        np.testing.assert_allclose(parts_metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5),
        whole.params,
        parts.params,
    )


def test_a_batch_that_microbatches_do_not_divide_is_an_error():
    with pytest.raises(ValueError, match="8 rows cannot be split into 3"):
        run("sft", mesh_of(1, 1, 1), optax.sgd(1.0), microbatches=3)


def gradient_of_logits(kind: str, batch, **options) -> np.ndarray:
    """d loss / d logits, [B, T, V]: what one step of SGD with rate 1 took away."""
    mesh = mesh_of(1, 1, 1)
    state, step = make(kind, mesh, optax.sgd(1.0), apply=logits_are_parameters, **options)
    before = np.asarray(state.params["embedding"])
    after = step(state, sharding.shard_batch(mesh, batch))[0].params["embedding"]
    return (before - np.asarray(after)).reshape(B, T, V)


def test_prompts_tool_tokens_and_padding_get_exactly_zero_gradient_in_grpo():
    batch = grpo_batch()
    gradient = gradient_of_logits("grpo", batch, kl_coefficient=0.1, entropy_coefficient=0.1)
    # logits[t] predict token t + 1; the last logits predict nothing.
    predicts_sampled = np.pad(batch.completion_mask[:, 1:], ((0, 0), (0, 1))) > 0
    np.testing.assert_array_equal(gradient[~predicts_sampled], 0.0)
    assert np.all(np.abs(gradient[predicts_sampled]).max(axis=-1) > 0)


def test_perturbing_what_was_not_sampled_changes_no_bit_of_the_update():
    # Not the tokens before a sampled one: those are context, and rightly matter.
    batch = grpo_batch()
    unsampled = batch.completion_mask == 0
    noise = np.random.default_rng(7).normal(0, 50, (B, T)).astype(np.float32) * unsampled
    padding = np.zeros((B, T), bool)
    padding[:, -2:] = padding[-1] = True
    other = batch._replace(
        tokens=np.where(padding, (batch.tokens + 5) % V, batch.tokens),
        old_logprobs=batch.old_logprobs + noise,
        ref_logprobs=batch.ref_logprobs - noise,
    )
    mesh = mesh_of(1, 1, 1)
    optimizer = make_optimizer("adamw", lambda _: 1e-2)
    results = []
    for part in (batch, other):
        state, step = make("grpo", mesh, optimizer)
        state, _ = step(state, sharding.shard_batch(mesh, part))
        results.append(jax.device_get(state.params))
    jax.tree.map(np.testing.assert_array_equal, *results)


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
    mesh = mesh_of(1, 1, 1)
    state, step = make("sft", mesh, make_optimizer("adamw", lambda _: 1e-3))
    new, _ = step(state, sharding.shard_batch(mesh, sft_batch()))
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))
    assert int(new.step) == 1


def test_a_step_is_traced_once_a_shape():
    traces = []

    def counting(params, tokens, positions, segment_ids):
        traces.append(tokens.shape)
        return apply_fn(params, tokens, positions, segment_ids)

    mesh = mesh_of(2, 2, 2)
    with jax.set_mesh(mesh):
        state, step = make("grpo", mesh, make_optimizer("adamw", lambda _: 1e-3), apply=counting)
        for i in range(3):
            state, _ = step(state, sharding.shard_batch(mesh, grpo_batch(i)))
        assert traces == [(B, T)]
        half = jax.tree.map(lambda x: x[:4], grpo_batch())
        for _ in range(2):
            state, _ = step(state, sharding.shard_batch(mesh, half))
    assert traces == [(B, T), (4, T)]


def test_the_reference_logprobs_are_those_of_the_policy_that_sampled():
    # The loss at the reference policy itself has KL exactly 0.
    mesh = mesh_of(1, 1, 1)
    state, step = make("grpo", mesh, make_optimizer("adamw", lambda _: 1e-3), temperature=0.7)
    shardings = sharding.parameter_shardings(mesh, state.params)
    logprobs = train_state.make_logprobs_step(apply_fn, mesh, shardings, temperature=0.7)
    batch = sharding.shard_batch(mesh, grpo_batch())
    own = logprobs(state.params, batch.tokens)
    _, metrics = step(state, batch._replace(ref_logprobs=own, old_logprobs=own))
    np.testing.assert_allclose(metrics["kl"], 0.0, atol=1e-9)
    np.testing.assert_allclose(metrics["approx_kl"], 0.0, atol=1e-9)


def test_optimizer_moments_live_where_their_parameters_do():
    mesh = mesh_of(2, 2, 2)
    for name in ("adamw", "muon"):
        optimizer = make_optimizer(name, lambda _: 1e-3)
        state = train_state.create_state(
            mesh, lambda: init_params(POLICY, jax.random.key(0)), optimizer
        )
        moments = optax.tree.get_all_with_path(state.opt_state, "mu")
        found = [
            leaf.sharding == sharding.parameter_shardings(mesh, state.params)["layers"]["query"]
            for _, moment in moments
            for path, leaf in jax.tree_util.tree_leaves_with_path(moment)
            if sharding.path_name(path) == "layers/query"
        ]
        assert found == [True]
    assert isinstance(state.step, jax.Array)
    assert jnp.array_equal(state.step, 0)
