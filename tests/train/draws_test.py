import numpy as np

from tooltrain.train.draws import minibatch_groups, step_seed


def test_every_pass_takes_each_group_once():
    groups = np.array([0, 2, 3, 5, 7])
    np.testing.assert_array_equal(minibatch_groups(groups, 2, 1, seed=0), [groups] * 2)
    parts = minibatch_groups(groups, 2, 2, seed=0)
    assert [len(part) for part in parts] == [3, 2, 3, 2]
    first, second = np.concatenate(parts[:2]), np.concatenate(parts[2:])
    assert sorted(first) == sorted(second) == groups.tolist()
    assert not np.array_equal(first, second)


def test_few_groups_leave_minibatches_empty():
    assert [len(part) for part in minibatch_groups(np.array([4]), 2, 3, seed=0)] == [
        *(1, 0, 0),
        *(1, 0, 0),
    ]


def test_every_step_of_every_run_draws_from_a_seed_of_its_own():
    seeds = {step_seed(seed, step) for seed in range(20) for step in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
