import numpy as np
import pytest

from tooltrain.errors import UserError
from tooltrain.rewards import reward
from tooltrain.train import hosts
from tooltrain.train.credit import choose_credit, choose_reward


def test_rewards_are_chosen_by_name_and_an_unknown_one_is_an_error(config):
    config.grpo.reward = "binary"
    assert choose_reward(config.grpo) is reward.binary
    config.grpo.reward = "matched"
    config.grpo.w_atomic = 0.25
    assert choose_reward(config.grpo).keywords["w_atomic"] == 0.25
    config.grpo.reward = "best"
    with pytest.raises(UserError, match=r"'best'; allowed: matched, reference, binary"):
        choose_reward(config.grpo)


@pytest.fixture
def by_components(config):
    config.grpo.update(advantages="components", credit="rollout", normalize_std=True)
    config.grpo.update(w_atomic=0.75, w_orchestration=0.25)
    return config.grpo


def credit_of(grpo, atomic, orchestration):
    """Advantages [P, G] and whether nothing varies, of groups that `matched` scored so."""
    terms = {
        "atomic": np.array(atomic, np.float32),
        "orchestration": np.array(orchestration, np.float32),
    }
    rewards = 0.5 * terms["atomic"] + 0.5 * terms["orchestration"]
    num_turns = np.ones(rewards.shape, np.int32)
    advantages, no_variance = choose_credit(grpo)(rewards, rewards[..., None], num_turns, terms)
    assert advantages.shape == (*rewards.shape, 1)
    return advantages[..., 0], no_variance


def test_components_tell_rollouts_of_equal_reward_apart(by_components):
    # In the first group the reward is 0.5 throughout. Sample stds of (0, 1) and (1, 0): 1/sqrt(2),
    # so their advantages are -+ and +- 1/sqrt(2); weighed S = (-1, 1) (0.75 - 0.25) / sqrt(2).
    # The second group is all alike, S = 0. Over the batch the mean is 0 and the sample variance
    # 2 x (1/8) / 3 = 1/12: A = -+ sqrt(12) / (2 sqrt(2)) = -+ sqrt(1.5).
    advantages, no_variance = credit_of(
        by_components, [[0.0, 1.0], [0.5, 0.5]], [[1.0, 0.0], [0.25, 0.25]]
    )
    np.testing.assert_allclose(
        advantages, [[-np.sqrt(1.5), np.sqrt(1.5)], [0.0, 0.0]], rtol=1e-5, atol=1e-7
    )
    assert no_variance.tolist() == [False, True]


def test_processes_normalise_components_together(by_components, monkeypatch):
    atomic, orchestration = [[0.0, 1.0], [0.2, 0.3]], [[0.5, 0.0], [0.0, 1.0]]
    both, _ = credit_of(by_components, atomic, orchestration)
    given = [np.stack([[a], [o]], -1).tolist() for a, o in zip(atomic, orchestration, strict=True)]
    monkeypatch.setattr(hosts, "count", lambda: 2)
    for index in range(2):
        monkeypatch.setattr(hosts, "index", lambda index=index: index)

        def gather(value, index=index):
            np.testing.assert_allclose(value, given[index], rtol=1e-6)
            return given

        monkeypatch.setattr(hosts, "gather", gather)
        own, _ = credit_of(by_components, [atomic[index]], [orchestration[index]])
        np.testing.assert_allclose(own, both[index : index + 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("field", "value"), [("reward", "binary"), ("credit", "turn"), ("normalize_std", False)]
)
def test_what_components_do_not_fit_is_refused(by_components, field, value):
    by_components[field] = value
    with pytest.raises(UserError, match=rf"got config\.grpo\.{field}={value!r}"):
        choose_credit(by_components)


def test_unknown_advantages_are_an_error(config):
    config.grpo.advantages = "ranks"
    with pytest.raises(UserError, match="'ranks'; allowed: reward, components"):
        choose_credit(config.grpo)
