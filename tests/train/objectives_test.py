"""Every number in an assert was worked by hand; the working stands above it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tooltrain.train import objectives
from tooltrain.train.objectives import TokenStatistics
from tooltrain.types import GRPOBatch


def test_token_logprobs_stand_at_the_token_they_are_the_probability_of():
    # Row of three tokens over V = 2. Logits after token 0 are (0, log 3): p = (1/4, 3/4);
    # after token 1, (log 9, 0): p = (9/10, 1/10). The last logits predict nothing kept.
    logits = jnp.log(jnp.array([[[1.0, 3.0], [9.0, 1.0], [1.0, 1.0]]]))
    logprobs = objectives.token_logprobs(logits, jnp.array([[0, 1, 1]]))
    np.testing.assert_allclose(logprobs, [[0.0, np.log(0.75), np.log(0.1)]], rtol=1e-6)


def test_token_logprobs_divide_the_logits_by_the_temperature():
    # At temperature 0.5 the odds 1 : 3 become 1 : 9.
    logits = jnp.log(jnp.array([[[1.0, 3.0], [1.0, 1.0]]]))
    logprobs = objectives.token_logprobs(logits, jnp.array([[0, 1]]), temperature=0.5)
    np.testing.assert_allclose(logprobs, [[0.0, np.log(0.9)]], rtol=1e-6)


def test_entropy_and_greediness_are_of_the_distribution_the_token_was_drawn_from():
    # p = (1/2, 1/4, 1/4): H = 1/2 log 2 + 1/2 log 4 = 1.5 log 2. Token 1 is not its argmax.
    # Then uniform over 3: H = log 3, and every token is an argmax.
    logits = jnp.log(jnp.array([[[2.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]]))
    statistics = objectives.token_statistics(logits, jnp.array([[0, 1, 2]]))
    np.testing.assert_allclose(statistics.entropy, [[0.0, 1.5 * np.log(2), np.log(3)]], rtol=1e-6)
    np.testing.assert_array_equal(statistics.greedy, [[False, False, True]])


def test_token_logprobs_survive_large_logits():
    logits = jnp.array([[[1e4, -1e4], [0.0, 0.0]]])
    logprobs = objectives.token_logprobs(logits, jnp.array([[0, 1]]))
    np.testing.assert_allclose(logprobs, [[0.0, -2e4]])


MASK = jnp.array([[0.0, 1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])


def test_token_mean_weighs_every_sampled_token_alike():
    # 4 sampled tokens in the batch.
    np.testing.assert_allclose(objectives.loss_weights(MASK), MASK / 4.0)


def test_sequence_mean_weighs_every_rollout_alike_and_skips_padding_rows():
    # 2 rollouts; 3 tokens share the first one's half, 1 token has the second one's.
    expected = MASK * jnp.array([[1 / 6], [1 / 2], [0.0]])
    np.testing.assert_allclose(objectives.loss_weights(MASK, "sequence_mean"), expected)


def test_constant_divides_by_the_token_limit_whatever_was_sampled():
    # 2 rollouts x at most 10 tokens.
    np.testing.assert_allclose(objectives.loss_weights(MASK, "constant", 10), MASK / 20.0)


def test_weights_of_an_empty_batch_are_zero_and_finite():
    for aggregation in objectives.AGGREGATIONS:
        weights = objectives.loss_weights(jnp.zeros((2, 3)), aggregation, 10)
        np.testing.assert_array_equal(weights, np.zeros((2, 3)))


def test_an_unknown_aggregation_is_an_error_that_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'mean'.*token_mean, sequence_mean, constant"):
        objectives.loss_weights(MASK, "mean")
    with pytest.raises(ValueError, match="max_tokens"):
        objectives.loss_weights(MASK, "constant")


def test_sft_loss_is_the_weighted_negative_log_likelihood():
    # -(0.25 * -1 + 0.75 * -2) = 1.75
    loss = objectives.sft_loss(jnp.array([[0.0, -1.0, -2.0]]), jnp.array([[0.0, 0.25, 0.75]]))
    assert float(loss) == 1.75


def test_advantages_use_the_sample_standard_deviation():
    # (0, 1): mean 0.5, squares sum to 0.5, / (2 - 1) -> std sqrt(0.5); 0.5 / std = sqrt(0.5).
    # (1, 2, 3, 4) would be: mean 2.5, variance 5/3; (1 - 2.5) / sqrt(5/3) = -1.161895.
    np.testing.assert_allclose(
        objectives.group_advantages(jnp.array([[0.0, 1.0]])),
        [[-np.sqrt(0.5), np.sqrt(0.5)]],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        objectives.group_advantages(jnp.array([[1.0, 2.0, 3.0, 4.0]])),
        [[-1.161895, -0.387298, 0.387298, 1.161895]],
        rtol=1e-5,
    )


def test_epsilon_is_added_to_the_standard_deviation():
    # std of (0, 2e-6) is sqrt(2) 1e-6; 1e-6 / (sqrt(2) 1e-6 + 1e-6) = 1 / (1 + sqrt 2).
    advantages = objectives.group_advantages(jnp.array([[0.0, 2e-6]]))
    np.testing.assert_allclose(advantages, [[-0.41421356, 0.41421356]], rtol=1e-5)


def test_a_group_without_variance_has_no_advantage_and_is_told_apart():
    rewards = jnp.array([[0.7, 0.7, 0.7], [0.0, 0.5, 1.0]])
    np.testing.assert_array_equal(objectives.group_advantages(rewards)[0], np.zeros(3))
    np.testing.assert_array_equal(objectives.zero_variance(rewards), [True, False])


def test_dr_grpo_advantages_are_only_centred():
    advantages = objectives.group_advantages(jnp.array([[0.0, 1.0]]), normalize_std=False)
    np.testing.assert_array_equal(advantages, [[-0.5, 0.5]])


def test_component_advantages_of_a_worked_batch():
    # Two groups of two rollouts, two components. Within a group a component that differs by d is
    # -1/sqrt 2, 1/sqrt 2 whatever d (sample std d/sqrt 2), one that does not is 0:
    #   group 0: (0, 1), (1, 1)  -> -0.7071, 0.7071         since only the first differs
    #   group 1: (0, 0), (1, 3)  -> 2 x -0.7071, 2 x 0.7071 since both do
    # Over the batch: mean 0, sample std sqrt((0.5 + 0.5 + 2 + 2) / 3) = sqrt(5/3) = 1.290994;
    # 0.7071 / 1.290994 = 0.547723, and twice that.
    rewards = jnp.array([[[0.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 3.0]]])
    found = objectives.component_advantages(rewards, jnp.ones(2))
    np.testing.assert_allclose(
        found, [[-0.547723, 0.547723], [-1.095445, 1.095445]], rtol=1e-5, atol=1e-6
    )
    # The sum alone cannot tell these groups apart.
    alike = objectives.group_advantages(jnp.sum(rewards, axis=-1))
    np.testing.assert_allclose(alike[0], alike[1], rtol=1e-5)


def test_components_are_weighed_after_they_are_normalised():
    # Components opposed within the group: A = (-0.7071, 0.7071) and (0.7071, -0.7071); weights
    # 3 and 1 leave 2 x (-0.7071, 0.7071), whose sample std is 2: (-0.7071, 0.7071).
    rewards = jnp.array([[[0.0, 500.0], [1.0, 0.0]]])
    found = objectives.component_advantages(rewards, jnp.array([3.0, 1.0]))
    np.testing.assert_allclose(found, [[-np.sqrt(0.5), np.sqrt(0.5)]], rtol=1e-5)


def test_a_group_of_one_is_an_error():
    with pytest.raises(ValueError, match="2 or more"):
        objectives.component_advantages(jnp.zeros((3, 1, 2)), jnp.ones(2))
    with pytest.raises(ValueError, match="2 or more"):
        objectives.group_advantages(jnp.zeros((3, 1)))


def test_kl_k3_is_ratio_minus_log_ratio_minus_one():
    # d = ref - policy = log 2: 2 - log 2 - 1. d = 0: 0. d = -log 2: 1/2 + log 2 - 1.
    kl = objectives.kl_k3(jnp.zeros(3), jnp.log(jnp.array([2.0, 1.0, 0.5])))
    np.testing.assert_allclose(kl, [1 - np.log(2), 0.0, np.log(2) - 0.5], atol=1e-7)


def test_kl_k3_is_unbiased():
    # E over p of k3 is sum p (q/p - log(q/p) - 1) = 1 + KL(p || q) - 1.
    p, q = jnp.array([0.5, 0.3, 0.2]), jnp.array([0.2, 0.2, 0.6])
    expected = jnp.sum(p * objectives.kl_k3(jnp.log(p), jnp.log(q)))
    np.testing.assert_allclose(expected, jnp.sum(p * jnp.log(p / q)), rtol=1e-6)


def test_the_surrogate_takes_the_worse_of_plain_and_clipped():
    # epsilon 0.2.  ratio 1.5, A = 1: min(1.5, 1.2) = 1.2, clipped.
    #               ratio 1.5, A = -1: min(-1.5, -1.2) = -1.5, not clipped.
    #               ratio 0.5, A = 1: min(0.5, 0.8) = 0.5, not clipped.
    #               ratio 0.5, A = -1: min(-0.5, -0.8) = -0.8, clipped.
    #               ratio 1.1, A = 2: 2.2 both, not clipped.
    ratio = jnp.array([1.5, 1.5, 0.5, 0.5, 1.1])
    surrogate, clipped = objectives.clipped_surrogate(
        jnp.log(ratio), jnp.array([1.0, -1.0, 1.0, -1.0, 2.0])
    )
    np.testing.assert_allclose(surrogate, [1.2, -1.5, 0.5, -0.8, 2.2], rtol=1e-6)
    np.testing.assert_array_equal(clipped, [True, False, False, True, False])


def test_clip_higher_raises_the_upper_bound_alone():
    surrogate, _ = objectives.clipped_surrogate(
        jnp.log(jnp.array([1.5, 0.5])), jnp.array([1.0, -1.0]), 0.2, 0.28
    )
    np.testing.assert_allclose(surrogate, [1.28, -0.8], rtol=1e-6)


def test_a_clipped_token_has_no_gradient():
    gradient = jax.grad(lambda r: objectives.clipped_surrogate(r, jnp.array(1.0))[0])
    assert float(gradient(jnp.log(1.5))) == 0.0
    np.testing.assert_allclose(gradient(jnp.log(1.1)), 1.1, rtol=1e-6)


def test_the_sequence_ratio_is_the_geometric_mean_over_sampled_tokens():
    # Sampled ratios 2 and 8: sqrt(16) = 4. The third token is not sampled.
    log_ratio = jnp.log(jnp.array([[2.0, 8.0, 100.0]]))
    got = objectives.sequence_log_ratio(log_ratio, jnp.array([[1.0, 1.0, 0.0]]))
    np.testing.assert_allclose(jnp.exp(got), [[4.0, 4.0, 4.0]], rtol=1e-6)


def test_rollouts_of_one_row_are_weighed_and_averaged_apart():
    # Rollouts 0 (two sampled tokens), 1 (one), and padding; the second row is all padding.
    rollouts = jnp.array([[0, 0, 0, 1, 1, 0], [0] * 6])
    mask = jnp.array([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0], [0.0] * 6])
    weights = objectives.loss_weights(mask, "sequence_mean", rollout_ids=rollouts)
    np.testing.assert_allclose(weights[0], [0, 0.25, 0.25, 0, 0.5, 0])
    weights = objectives.loss_weights(mask, "constant", 10, rollouts)
    np.testing.assert_allclose(weights, mask / 20.0)
    log_ratio = jnp.log(jnp.array([[1.0, 2.0, 8.0, 1.0, 3.0, 1.0], [1.0] * 6]))
    ratio = jnp.exp(objectives.sequence_log_ratio(log_ratio, mask, rollouts))
    np.testing.assert_allclose(ratio[0], [4, 4, 4, 3, 3, 4], rtol=1e-6)


def test_the_sequence_ratio_has_gspos_gradient():
    # GSPO's surrogate with one advantage: d s / d l_t = s / n, at every sampled token.
    mask = jnp.array([[1.0, 1.0, 0.0]])
    log_ratio = jnp.log(jnp.array([[2.0, 8.0, 100.0]]))

    def surrogate(log_ratio):
        ratio = jnp.exp(objectives.sequence_log_ratio(log_ratio, mask))
        return jnp.sum(objectives.loss_weights(mask, "sequence_mean") * ratio)

    np.testing.assert_allclose(jax.grad(surrogate)(log_ratio), [[2.0, 2.0, 0.0]], rtol=1e-6)


def test_truncated_importance_of_worked_tokens():
    # Ratios 0.5, 1, 8 with cap 2: weights 0.5, 1, 2; the fourth token was not sampled.
    old = jnp.log(jnp.array([0.25, 0.5, 0.8, 1.0]))
    rollout = jnp.log(jnp.array([0.5, 0.5, 0.1, 1e-30]))
    mask = jnp.array([1.0, 1.0, 1.0, 0.0])
    weights, metrics = objectives.truncated_importance(old, rollout, mask, 2.0)
    np.testing.assert_allclose(weights, [0.5, 1.0, 2.0, 0.0], rtol=1e-6)
    # k3 of the ratios: r - 1 - log r = -0.5 + log 2, 0, 7 - log 8; |log r| = log 2, 0, log 8.
    np.testing.assert_allclose(metrics["mismatch_kl"], (6.5 - 2 * np.log(2)) / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["mismatch_abs"], 4 * np.log(2) / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["truncated_share"], 1 / 3, rtol=1e-6)


def test_truncated_importance_without_a_cap_makes_the_surrogate_that_of_the_sampler():
    # E over q of (p / q) f = E over p of f.
    p, q, f = (jnp.array(x) for x in ([0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [1.0, -2.0, 3.0]))
    weights, _ = objectives.truncated_importance(jnp.log(p), jnp.log(q), jnp.ones(3), jnp.inf)
    np.testing.assert_allclose(jnp.sum(q * weights * f), jnp.sum(p * f), rtol=1e-6)


def test_truncated_importance_of_nothing_sampled_is_zero_and_finite():
    weights, metrics = objectives.truncated_importance(
        jnp.zeros(2), jnp.array([0.0, -1e4]), jnp.zeros(2), 2.0
    )
    np.testing.assert_array_equal(weights, 0.0)
    assert all(float(value) == 0.0 for value in metrics.values())


def worked_batch() -> tuple[TokenStatistics, GRPOBatch]:
    """Two rollouts, three tokens, the first a prompt. Ratios to the behaviour policy: row 0
    (1.5, 1), A = 1; row 1 (0.5, not sampled), A = -2. Ratios reference / policy: 2 at the
    first sampled token, 1 elsewhere. The token that is not sampled has a wild log-probability."""
    logprobs = jnp.array([[0.0, -1.0, -2.0], [0.0, -3.0, -900.0]])
    log_ratio = jnp.log(jnp.array([[1.0, 1.5, 1.0], [1.0, 0.5, 1.0]]))
    log_reference = jnp.log(jnp.array([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
    mask = jnp.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    entropy = jnp.array([[9.0, 1.0, 2.0], [9.0, 3.0, 9.0]])
    batch = GRPOBatch(
        tokens=jnp.zeros((2, 3), jnp.int32),
        positions=jnp.broadcast_to(jnp.arange(3), (2, 3)),
        visible_to=jnp.full((2, 3), 2),
        predictors=jnp.array([[0, 0, 1]] * 2),
        targets=jnp.zeros((2, 3), jnp.int32),
        rollout_ids=jnp.zeros((2, 3), jnp.int32),
        completion_mask=mask,
        old_logprobs=(logprobs - log_ratio) * mask,
        ref_logprobs=(logprobs + log_reference) * mask,
        advantages=jnp.array([[1.0], [-2.0]]) * mask,
    )
    return TokenStatistics(logprobs, entropy, jnp.zeros((2, 3), bool)), batch


def test_turn_advantages_of_a_worked_group():
    # Three rollouts of up to two turns; the last one stopped after its first.
    # Turn 0: mean (1 + 0.5 + 0) / 3 = 0.5. Turn 1: mean (0.5 + 0.25) / 2 = 0.375.
    to_go = jnp.array([[[1.0, 0.5], [0.5, 0.25], [0.0, 0.9]]])
    played = jnp.array([[[True, True], [True, True], [True, False]]])
    found = objectives.turn_advantages(to_go, played)
    np.testing.assert_allclose(found, [[[0.5, 0.125], [0.0, -0.125], [-0.5, 0.0]]], atol=1e-7)
    # Sample stds: 0.5, and sqrt(2 * 0.125^2 / 1) = 0.17678.
    found = objectives.turn_advantages(to_go, played, normalize_std=True)
    np.testing.assert_allclose(
        found, [[[1.0, 0.70711], [0.0, -0.70711], [-1.0, 0.0]]], rtol=1e-4, atol=1e-6
    )


def test_the_first_turn_is_credited_as_the_whole_rollout_is():
    rewards = jax.random.uniform(jax.random.key(0), (3, 4))
    to_go = jnp.stack([rewards, rewards / 2], axis=-1)
    for normalize_std in (False, True):
        by_turn = objectives.turn_advantages(
            to_go, jnp.ones((3, 4, 2), bool), normalize_std=normalize_std
        )
        whole = objectives.group_advantages(rewards, normalize_std=normalize_std)
        np.testing.assert_allclose(by_turn[..., 0], whole, rtol=1e-4, atol=1e-6)


def test_a_turn_that_one_rollout_alone_came_to_has_nothing_to_be_compared_with():
    to_go = jnp.array([[[1.0, 0.7], [0.5, 0.0]]])
    played = jnp.array([[[True, True], [True, False]]])
    found = objectives.turn_advantages(to_go, played)
    np.testing.assert_array_equal(found[..., 1], 0.0)
    with pytest.raises(ValueError, match="2 or more rollouts"):
        objectives.turn_advantages(to_go[:, :1], played[:, :1])


def test_grpo_loss_of_a_worked_batch():
    # Surrogates: min(1.5, 1.2) = 1.2 (clipped); 1; min(-1.0, 0.8 * -2) = -1.6 (clipped).
    # policy_loss = -(1.2 + 1 - 1.6) / 3 = -0.2.  kl = (2 - log 2 - 1) / 3.
    # loss = -0.2 + 0.3 kl - 0.01 * entropy, entropy = (1 + 2 + 3) / 3 = 2.
    # approx_kl: r - 1 - log r at r = 1.5, 1, 0.5: (0.5 - log 1.5 + -0.5 - log 0.5) / 3.
    statistics, batch = worked_batch()
    loss, metrics = objectives.grpo_loss(
        statistics,
        batch,
        objectives.loss_weights(batch.completion_mask),
        kl_coefficient=0.3,
        entropy_coefficient=0.01,
    )
    kl = (1 - np.log(2)) / 3
    np.testing.assert_allclose(metrics["policy_loss"], -0.2, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(metrics["entropy"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(metrics["clip_fraction"], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose(metrics["approx_kl"], -np.log(0.75) / 3, rtol=1e-5)
    np.testing.assert_allclose(loss, -0.2 + 0.3 * kl - 0.02, rtol=1e-5)


def test_grpo_loss_with_the_sequence_ratio():
    # Row 0: s = sqrt(1.5) = 1.2247 > 1.2, clipped, twice 1.2; row 1: s = 0.5, -1.6.
    # Sequence mean: -(1.2 - 1.6) / 2 = 0.2.
    statistics, batch = worked_batch()
    loss, metrics = objectives.grpo_loss(
        statistics,
        batch,
        objectives.loss_weights(batch.completion_mask, "sequence_mean"),
        kl_coefficient=0.0,
        sequence_ratio=True,
    )
    np.testing.assert_allclose(loss, 0.2, rtol=1e-5)
    assert float(metrics["kl"]) == 0.0


def test_only_sampled_tokens_have_a_gradient():
    statistics, batch = worked_batch()
    weights = objectives.loss_weights(batch.completion_mask)

    def loss(logprobs):
        return objectives.grpo_loss(statistics._replace(logprobs=logprobs), batch, weights)[0]

    gradient = jax.grad(loss)(statistics.logprobs)
    np.testing.assert_array_equal(
        gradient == 0.0,
        np.array([[1, 0, 0], [1, 0, 1]])
        | (
            # Clipped tokens keep the gradient of their KL term only, which is 0 at ratio 1.
            np.array([[0, 0, 0], [0, 1, 0]])
        ),
    )
    assert np.all(np.isfinite(gradient))


def test_parts_of_a_batch_add_up_to_the_batch_for_every_aggregation():
    statistics, batch = worked_batch()
    for aggregation in objectives.AGGREGATIONS:
        weights = objectives.loss_weights(batch.completion_mask, aggregation, 2)
        whole = objectives.grpo_loss(statistics, batch, weights)[0]
        parts = [
            objectives.grpo_loss(
                jax.tree.map(lambda x, b=b: x[b : b + 1], statistics),
                jax.tree.map(lambda x, b=b: x[b : b + 1], batch),
                weights[b : b + 1],
            )[0]
            for b in range(2)
        ]
        np.testing.assert_allclose(sum(parts), whole, rtol=1e-6)
