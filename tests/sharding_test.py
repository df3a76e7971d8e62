import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tooltrain import sharding
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.lora import Lora
from tooltrain.policy.transformer import init_params

POLICY = PolicyConfig(
    vocab_size=64, num_layers=2, d_model=16, num_heads=2, num_kv_heads=2, head_dim=8, d_ff=32
)


def shapes(policy: PolicyConfig = POLICY):
    return jax.eval_shape(lambda: init_params(policy, jax.random.key(0)))


def mesh_of(data: int, fsdp: int, tensor: int):
    return sharding.make_mesh({"data": data, "fsdp": fsdp, "tensor": tensor})


def test_minus_one_takes_the_devices_that_are_left():
    assert dict(mesh_of(-1, 2, 2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    assert dict(mesh_of(1, -1, 1).shape) == {"data": 1, "fsdp": 8, "tensor": 1}


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, 3, 1), (16, 1, 1), (-1, 16, 1)])
def test_a_mesh_that_does_not_fill_the_devices_is_an_error(sizes):
    with pytest.raises(UserError, match="does not fill the 8 devices"):
        mesh_of(*sizes)


@pytest.mark.parametrize("sizes", [(-1, -1, 1), (0, 1, 1), (-2, 1, 1)])
def test_a_mesh_size_that_means_nothing_is_an_error(sizes):
    with pytest.raises(UserError, match="at most one may be -1"):
        mesh_of(*sizes)


def test_every_parameter_of_every_decoder_has_a_rule():
    untied = PolicyConfig(
        vocab_size=64,
        num_layers=2,
        d_model=16,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        d_ff=32,
        tie_embeddings=False,
    )
    specs = sharding.parameter_specs(shapes(untied))
    assert specs["head"] == PartitionSpec("fsdp", "tensor")
    assert specs["layers"]["query"] == PartitionSpec(None, "fsdp", "tensor")
    assert specs["layers"]["down"] == PartitionSpec(None, "tensor", "fsdp")
    assert specs["layers"]["key_norm"] == PartitionSpec()
    sharding.parameter_specs(shapes())


def test_lora_pairs_are_split_as_the_sides_of_their_matrix():
    specs = sharding.parameter_specs(Lora(rank=3, alpha=1.0).shapes(shapes()))
    assert specs["layers"]["query"]["a"] == PartitionSpec(None, "fsdp", None)
    assert specs["layers"]["query"]["b"] == PartitionSpec(None, None, "tensor")
    assert specs["layers"]["down"]["a"] == PartitionSpec(None, "tensor", None)
    assert specs["layers"]["down"]["b"] == PartitionSpec(None, None, "fsdp")
    unknown = {"layers": {"query": {"c": jax.ShapeDtypeStruct((2, 16, 3), np.float32)}}}
    with pytest.raises(ValueError, match="'layers/query/c'"):
        sharding.parameter_specs(unknown)


def test_a_parameter_without_a_rule_is_an_error_that_names_it():
    params = shapes()
    params["layers"]["router"] = jax.ShapeDtypeStruct((2, 16, 4), np.float32)
    with pytest.raises(ValueError, match=r"'layers/router' of shape \(2, 16, 4\)"):
        sharding.parameter_specs(params)


def test_a_rule_matches_the_whole_path_only():
    params = {"encoder": {"embedding": jax.ShapeDtypeStruct((4, 4), np.float32)}}
    with pytest.raises(ValueError, match="'encoder/embedding'"):
        sharding.parameter_specs(params)


def test_a_rule_for_more_dimensions_than_the_parameter_has_is_an_error():
    with pytest.raises(ValueError, match=r"'embedding' has shape \(4,\)"):
        sharding.parameter_specs({"embedding": jax.ShapeDtypeStruct((4,), np.float32)})


def test_a_width_that_devices_cannot_share_is_an_error_that_names_the_parameter():
    with pytest.raises(UserError, match=r"'embedding'.*not a multiple of the 8"):
        sharding.parameter_shardings(
            mesh_of(1, 1, 8), {"embedding": jax.ShapeDtypeStruct((12, 16), np.float32)}
        )


def test_sharded_parameters_are_split_as_the_rules_say():
    mesh = mesh_of(2, 2, 2)
    params = sharding.shard_params(mesh, init_params(POLICY, jax.random.key(0)))
    # [L, D, N H] = [2, 16, 16]: D over fsdp, N H over tensor, copied over data; V = 64 rows
    # of the embedding over both.
    assert params["layers"]["query"].addressable_shards[0].data.shape == (2, 8, 8)
    assert params["embedding"].addressable_shards[0].data.shape == (16, 16)
    assert params["final_norm"].addressable_shards[0].data.shape == (16,)


def test_batch_rows_are_split_over_data_and_fsdp():
    mesh = mesh_of(2, 2, 2)
    rows = np.arange(8 * 3).reshape(8, 3)
    batch = sharding.shard_batch(mesh, {"tokens": rows})
    assert batch["tokens"].addressable_shards[0].data.shape == (2, 3)
    np.testing.assert_array_equal(batch["tokens"], rows)


def test_a_batch_that_devices_cannot_share_is_an_error_that_names_the_field():
    with pytest.raises(UserError, match=r"config\.sft\.batch_size.*6 rows.*multiple of 4"):
        sharding.check_batch_size(mesh_of(2, 2, 2), 6, "config.sft.batch_size")
