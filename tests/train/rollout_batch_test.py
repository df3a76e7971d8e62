import numpy as np
import pytest

from tooltrain.train.rollout_batch import bucket_length, bucket_rows, pad_rollouts
from tooltrain.types import EndReason, Rollout


def rollout(tokens, mask, logprobs) -> Rollout:
    return Rollout(
        prompt=0,
        generation=0,
        tokens=np.array(tokens, np.int32),
        completion_mask=np.array(mask, bool),
        logprobs=np.array(logprobs, np.float32),
        records=(),
        num_turns=1,
        end=EndReason.FINISHED,
    )


def test_lengths_come_in_few_sizes_with_little_padding():
    assert [bucket_length(n, 1000) for n in (1, 64, 65, 96, 97, 129, 193, 385)] == [
        64, 64, 96, 96, 128, 192, 256, 512,
    ]  # fmt: skip
    sizes = {bucket_length(n, 768) for n in range(1, 769)}
    assert sizes == {64, 96, 128, 192, 256, 384, 512, 768}
    assert all(bucket_length(n, 768) >= n for n in range(1, 769))


def test_no_length_is_longer_than_an_episode_may_be():
    assert bucket_length(520, 600) == 600


def test_rows_come_in_quarters_that_devices_can_share():
    assert [bucket_rows(n, 64, 1) for n in (0, 16, 17, 33, 49, 64)] == [16, 16, 32, 48, 64, 64]
    assert [bucket_rows(n, 64, 8) for n in (1, 17, 64)] == [16, 32, 64]
    # A quarter of 12 rows is 3; over 4 devices, 4.
    assert [bucket_rows(n, 12, 4) for n in (1, 5, 9)] == [4, 8, 12]


def test_rollouts_are_padded_at_their_end_and_with_empty_rows():
    batch = pad_rollouts(
        [rollout([5, 6, 7], [0, 1, 1], [0, -0.5, -1]), rollout([8], [0], [0])],
        np.array([[1.5], [-1.5]]),
        rows=3,
        length=4,
        pad_id=9,
    )
    np.testing.assert_array_equal(batch.tokens, [[5, 6, 7, 9], [8, 9, 9, 9], [9, 9, 9, 9]])
    np.testing.assert_array_equal(batch.completion_mask, [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(batch.old_logprobs[0], [0, -0.5, -1, 0])
    np.testing.assert_array_equal(batch.advantages, [[0, 1.5, 1.5, 0], [0] * 4, [0] * 4])
    assert batch.tokens.dtype == np.int32
    assert batch.old_logprobs.dtype == batch.completion_mask.dtype == np.float32


def test_each_turn_of_a_rollout_gets_its_own_advantage():
    # The drawn example of `pad_rollouts`; a third turn counts as the last column.
    mask = [0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1]
    episode = rollout(range(12), mask, [0.0] * 12)
    batch = pad_rollouts([episode], np.array([[2.0, -3.0]]), rows=1, length=12, pad_id=0)
    np.testing.assert_array_equal(batch.advantages, [[0, 0, 0, 2, 2, 0, 0, -3, -3, -3, 0, -3]])
    single = pad_rollouts([episode], np.array([[2.0]]), rows=1, length=12, pad_id=0)
    np.testing.assert_array_equal(single.advantages, 2.0 * np.array([mask]))


def test_a_rollout_that_does_not_fit_is_an_error_not_cut_off():
    episode = rollout([1, 2, 3], [0, 1, 1], [0, -1, -1])
    with pytest.raises(ValueError, match=r"1 rollouts of up to 3 tokens do not fit in \[1, 2\]"):
        pad_rollouts([episode], np.zeros((1, 1)), rows=1, length=2, pad_id=0)
    with pytest.raises(ValueError, match="2 rollouts"):
        pad_rollouts([episode] * 2, np.zeros((2, 1)), rows=1, length=3, pad_id=0)
