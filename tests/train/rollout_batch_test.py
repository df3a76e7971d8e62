import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooltrain import sharding
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Transformer, init_params
from tooltrain.train.rollout_batch import fill, pack_rollouts, padding_of_fills, padding_share
from tooltrain.train.state import make_grpo_step, row_position, state_of_params, state_shardings
from tooltrain.types import EndReason, GRPOBatch, Rollout

NO_TOKEN = 99  # the pad_id: no token of a rollout here


def rollout(tokens, mask, logprobs=None) -> Rollout:
    return Rollout(
        prompt=0,
        generation=0,
        tokens=np.array(tokens, np.int32),
        completion_mask=np.array(mask, bool),
        logprobs=np.array([0.0] * len(tokens) if logprobs is None else logprobs, np.float32),
        records=(),
        num_turns=1,
        end=EndReason.FINISHED,
    )


def pack(rollouts, advantages, rows=1, row_len=16, microbatch_rows=None, **options) -> GRPOBatch:
    return pack_rollouts(
        rollouts,
        np.asarray(advantages, np.float32),
        rows=rows,
        row_len=row_len,
        microbatch_rows=microbatch_rows or rows,
        pad_id=NO_TOKEN,
        **options,
    )


def random_rollouts(rng: np.random.Generator, groups: int, generations: int) -> list[Rollout]:
    """Groups with a prompt each, often alike for some tokens; tools answer between turns."""
    rollouts = []
    for _ in range(groups):
        prompt = rng.integers(0, 40, rng.integers(1, 9))
        for _ in range(generations):
            mask = np.concatenate(
                [np.zeros(len(prompt), int)]
                + [np.repeat([1, 0], rng.integers(1, 5, 2)) for _ in range(rng.integers(1, 4))]
            )
            tokens = np.concatenate([prompt, rng.integers(0, 3, len(mask) - len(prompt))])
            rollouts.append(rollout(tokens, mask, mask * rng.normal(-3, 1, len(mask))))
    return rollouts


def test_what_rollouts_have_in_common_stands_in_a_row_once():
    # The drawn example of the module.
    p, q, a, b, c, d, r, t, pad = *range(1, 9), NO_TOKEN
    first = rollout([p, q, a, r, b, c], [0, 0, 1, 0, 1, 1], [0, 0, -1, 0, -2, -3])
    second = rollout([p, q, a, t, d, r, r], [0, 0, 1, 0, 1, 0, 0], [0, 0, -1, 0, -4, 0, 0])
    batch = pack([second, first], [[5.0, 9.0], [2.0, -3.0]], row_len=7)
    np.testing.assert_array_equal(batch.tokens[0], [p, q, a, r, b, t, pad])
    np.testing.assert_array_equal(batch.visible_to[0], [5, 5, 5, 4, 4, 5, 7])
    np.testing.assert_array_equal(batch.positions[0], [0, 1, 2, 3, 4, 3, 0])
    np.testing.assert_array_equal(batch.rollout_ids[0, :5], [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(batch.targets[0, :5], [a, b, c, a, d])
    np.testing.assert_array_equal(batch.predictors[0, :5], [1, 3, 4, 1, 5])
    np.testing.assert_array_equal(batch.completion_mask[0], [1] * 5 + [0] * 2)
    np.testing.assert_array_equal(batch.advantages[0], [2, -3, -3, 5, 9, 0, 0])
    np.testing.assert_array_equal(batch.old_logprobs[0], [-1, -2, -3, -1, -4, 0, 0])
    assert batch.tokens.dtype == batch.positions.dtype == np.int32
    assert batch.old_logprobs.dtype == batch.completion_mask.dtype == np.float32
    assert padding_share(batch, 1) == pytest.approx(1 / 7)
    assert fill(batch, 1) == (6, 7)


def test_padding_is_that_of_all_processes():
    # Batch 0: 6 of 8 tokens here, 2 of 4 there, so 8 are worked on in both; batch 1: 8 of 8, none.
    fills = [[(6, 8), (8, 8)], [(2, 4), (0, 0)]]
    assert padding_of_fills(fills) == (0.5 + 0.5) / 2
    assert padding_of_fills([[(0, 0)]]) == 1.0


def test_without_sharing_rollouts_stand_side_by_side():
    episodes = [rollout([7, 8, 1, 2], [0, 0, 1, 1]), rollout([7, 8, 2], [0, 0, 1])]
    batch = pack(episodes, [[1.0], [2.0]], row_len=6, share_prefixes=False)
    np.testing.assert_array_equal(batch.tokens[0], [7, 8, 7, 8, 1, NO_TOKEN])
    np.testing.assert_array_equal(batch.visible_to[0], [1, 1, 4, 4, 4, 6])
    np.testing.assert_array_equal(batch.positions[0], [0, 1, 0, 1, 2, 0])
    np.testing.assert_array_equal(batch.targets[0, :3], [2, 1, 2])
    np.testing.assert_array_equal(batch.predictors[0, :3], [1, 3, 4])
    np.testing.assert_array_equal(batch.advantages[0, :3], [2, 1, 1])


def test_a_turn_past_the_last_advantage_counts_as_the_last():
    mask = [0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1]
    batch = pack([rollout(range(12), mask)], [[2.0, -3.0]])
    np.testing.assert_array_equal(batch.advantages[0, :6], [2, 2, -3, -3, -3, -3])
    single = pack([rollout(range(12), mask)], [[2.0]])
    np.testing.assert_array_equal(single.advantages[0, :6], [2.0] * 6)


def test_a_rollout_that_sampled_nothing_takes_no_room():
    batch = pack([rollout([1, 2], [0, 0])], [[1.0]])
    assert np.all(batch.tokens == NO_TOKEN)
    assert not batch.completion_mask.any()


def test_what_does_not_fit_is_an_error_not_cut_off():
    episode = rollout([1, 2, 3, 4], [0, 1, 1, 1])
    with pytest.raises(ValueError, match="3 tokens does not fit in a row of 2"):
        pack([episode], [[0.0]], row_len=2)
    # Two that are alike share their tokens, but what they sampled needs twice the room.
    with pytest.raises(ValueError, match="2 rollouts need 2 rows of 5 tokens, got 1"):
        pack([episode] * 2, [[0.0]] * 2, row_len=5)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([1, 2, 4]))
def test_every_sampled_token_is_predicted_from_what_stood_before_it(seed, share, microbatch):
    rng = np.random.default_rng(seed)
    rollouts = random_rollouts(rng, groups=3, generations=4)
    advantages = np.arange(1.0, 13.0)[:, None]  # tells the rollouts apart
    batch = pack(
        rollouts,
        advantages,
        rows=12,
        row_len=40,
        microbatch_rows=microbatch,
        share_prefixes=share,
    )
    for number, episode in enumerate(rollouts, start=1):
        rows, entries = np.nonzero(batch.advantages == number)
        assert len(set(rows)) == 1
        row = GRPOBatch(*(x[rows[0]] for x in batch))
        sampled = np.flatnonzero(episode.completion_mask)
        np.testing.assert_array_equal(row.targets[entries], episode.tokens[sampled])
        np.testing.assert_array_equal(row.old_logprobs[entries], episode.logprobs[sampled])
        assert len(set(row.rollout_ids[entries])) == 1
        for entry, place in zip(entries, sampled, strict=True):
            at = row.predictors[entry]
            seen = np.flatnonzero((np.arange(40) <= at) & (at <= row.visible_to))
            np.testing.assert_array_equal(row.tokens[seen], episode.tokens[:place])
            np.testing.assert_array_equal(row.positions[seen], np.arange(place))
    used = np.flatnonzero(batch.completion_mask.any(axis=1))
    assert sorted(used) == sorted(row_position(n, 12, microbatch) for n in range(len(used)))


def test_a_group_takes_as_many_tokens_as_it_has_prefixes():
    rollouts = random_rollouts(np.random.default_rng(1), groups=1, generations=16)
    batch = pack(rollouts, np.ones((16, 1)), row_len=400)
    prefixes = {
        tuple(r.tokens[: n + 1])
        for r in rollouts
        for n in range(np.flatnonzero(r.completion_mask)[-1])
    }
    assert np.count_nonzero(batch.visible_to[0] < 400) == len(prefixes)


def test_only_places_that_predict_a_sampled_token_have_a_gradient():
    # The policy's logits are its only parameter, so the gradient can be read off place by place.
    rollouts = random_rollouts(np.random.default_rng(2), groups=3, generations=4)
    options = {"rows": 12, "row_len": 40}
    batch = pack(rollouts, np.arange(1.0, 13.0)[:, None], **options)
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    optimizer = optax.sgd(1.0)
    params = {"embedding": jax.random.normal(jax.random.key(0), (12 * 40, 40))}

    def logits_are_parameters(params, tokens, positions, segment_ids, visible_to, at):
        logits = params["embedding"].reshape(*tokens.shape, 40)
        return jnp.take_along_axis(logits, at[..., None], axis=1), jnp.eye(40)

    step = make_grpo_step(
        logits_are_parameters,
        optimizer,
        mesh,
        state_shardings(mesh, params, optimizer),
        kl_coefficient=0.1,
        entropy_coefficient=0.1,
    )

    def updated(batch) -> np.ndarray:
        state = state_of_params(mesh, jax.tree.map(jnp.copy, params), optimizer)
        state, _ = step(state, sharding.shard_batch(mesh, batch))
        return np.asarray(state.params["embedding"])

    after = updated(batch)
    moved = np.any(after != params["embedding"], axis=1).reshape(12, 40)
    before_sampled = {
        tuple(r.tokens[:place]) for r in rollouts for place in np.flatnonzero(r.completion_mask)
    }
    for row, place in np.ndindex(moved.shape):
        seen = (np.arange(40) <= place) & (place <= batch.visible_to[row])
        held = batch.visible_to[row, place] < 40
        assert moved[row, place] == (held and tuple(batch.tokens[row, seen]) in before_sampled)

    # What a rollout says about tokens that it did not sample never gets there.
    noisy = [
        dataclasses.replace(r, logprobs=np.where(r.completion_mask, r.logprobs, -50.0))
        for r in rollouts
    ]
    np.testing.assert_array_equal(
        updated(pack(noisy, np.arange(1.0, 13.0)[:, None], **options)), after
    )


POLICY = PolicyConfig(
    vocab_size=40, num_layers=2, d_model=16, num_heads=2, num_kv_heads=1, head_dim=8, d_ff=32
)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="token mean"),
        pytest.param(
            {"aggregation": "sequence_mean", "kl_coefficient": 0.1},
            id="sequence mean",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"aggregation": "constant", "max_tokens": 20, "sequence_ratio": True},
            id="sequence ratio",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_packed_rollouts_make_the_update_that_one_rollout_a_row_makes(options):
    rng = np.random.default_rng(0)
    rollouts = random_rollouts(rng, groups=3, generations=4)
    advantages = rng.normal(size=(12, 2))
    own_row = [
        pack([r], [a], row_len=24, share_prefixes=False)
        for r, a in zip(rollouts, advantages, strict=True)
    ]
    plain = GRPOBatch(*map(np.concatenate, zip(*own_row, strict=True)))
    mesh = sharding.make_mesh({"data": 1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    optimizer = optax.sgd(1.0)
    shapes = jax.eval_shape(lambda: init_params(POLICY, jax.random.key(0)))
    shardings = state_shardings(mesh, shapes, optimizer)

    def apply_fn(params, *inputs):
        return Transformer(POLICY).apply({"params": params}, *inputs, method="features")

    def update(batch, microbatch_rows, share):
        step = make_grpo_step(
            apply_fn,
            optimizer,
            mesh,
            shardings,
            microbatch_rows=microbatch_rows,
            share_prefixes=share,
            **options,
        )
        state = state_of_params(mesh, init_params(POLICY, jax.random.key(0)), optimizer)
        state, metrics = step(state, sharding.shard_batch(mesh, batch))
        return jax.device_get((state.params, metrics))

    want = update(plain, 0, False)
    for share in (True, False):
        packed = pack(
            rollouts, advantages, rows=12, row_len=40, microbatch_rows=2, share_prefixes=share
        )
        got = update(packed, 2, share)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=2e-5, rtol=1e-4), got, want)
