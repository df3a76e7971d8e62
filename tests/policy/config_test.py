import dataclasses

import pytest

from tooltrain.policy.config import PolicyConfig, RopeScaling

CONFIG = PolicyConfig(
    vocab_size=32, num_layers=1, d_model=8, num_heads=2, num_kv_heads=1, head_dim=4, d_ff=16
)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_layers", 0),
        ("num_kv_heads", 3),
        ("head_dim", 5),
        ("dtype", "float16"),
        ("attention", "flash"),
    ],
)
def test_a_shape_the_decoder_cannot_have_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CONFIG, **{field: value})


def test_configs_are_equal_and_hash_by_value():
    assert hash(CONFIG) == hash(dataclasses.replace(CONFIG))


@pytest.mark.parametrize("numbers", [(0.5, 1, 4), (8, 4, 4), (8, 0, 4)])
def test_a_rope_scaling_that_is_none_is_refused(numbers):
    with pytest.raises(ValueError, match=r"policy\.rope_scaling is"):
        RopeScaling(*numbers, original_max_len=64)
