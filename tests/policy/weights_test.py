"""Checkpoints go out and come back equal; each way to disagree is an error of its own."""

from __future__ import annotations

import dataclasses
import json
import shutil

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.policy.conftest import LLAMA3, QWEN3, random_params
from tooltrain import sharding
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.export import export_safetensors
from tooltrain.policy.hf_config import config_from_hf, hf_config
from tooltrain.policy.pretrained import from_pretrained
from tooltrain.policy.weights import (
    TABLE,
    DuplicateTensor,
    MissingTensor,
    UnexpectedTensor,
    UnmatchedTensor,
    WrongShape,
    flatten,
    load_safetensors,
    parameter_shapes,
    place,
)


def _assert_equal(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    jax.tree.map(np.testing.assert_array_equal, one, two)


def test_an_exported_policy_comes_back_equal(model, tmp_path):
    config, params = model
    export_safetensors(tmp_path, config, params, max_len=512)
    got_config, got = from_pretrained(tmp_path)
    assert got_config == config
    _assert_equal(got, params)


def test_shards_hold_what_one_file_holds(model, tmp_path):
    config, params = model
    limit = 4 * sum(p.size for p in jax.tree.leaves(params)) // 5
    export_safetensors(tmp_path, config, params, max_len=512, max_shard_bytes=limit)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) > 4
    assert all(shard.stat().st_size < 1.2 * limit for shard in shards[1:])
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {shard.name for shard in shards}
    _assert_equal(load_safetensors(tmp_path, config), params)
    shards[2].unlink()
    with pytest.raises(UserError, match=f"no {shards[2].name}"):
        load_safetensors(tmp_path, config)


def test_bfloat16_checkpoints_load_as_the_rounded_float32(model, tmp_path):
    config, params = model
    export_safetensors(tmp_path, config, params, max_len=512, dtype="bfloat16")
    rounded = jax.tree.map(lambda p: p.astype(ml_dtypes.bfloat16).astype(np.float32), params)
    _assert_equal(load_safetensors(tmp_path, config), rounded)


class _Counted:
    """A tensor in memory that remembers how much of it was asked for at once."""

    def __init__(self, array: np.ndarray):
        self.array, self.shape, self.largest = array, array.shape, 0

    def __getitem__(self, index):
        part = self.array[index]
        self.largest = max(self.largest, part.size)
        return part


def test_tensors_go_straight_to_the_devices_that_hold_them(model, tmp_path):
    config, params = model
    export_safetensors(tmp_path, config, params, max_len=512)
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    tensors = {n: _Counted(a) for n, a in load_file(tmp_path / "model.safetensors").items()}
    placed = place(config, tensors.items(), "hf", mesh)
    _assert_equal(placed, params)
    want = sharding.parameter_shardings(mesh, parameter_shapes(config))
    for name, leaf in flatten(placed).items():
        assert leaf.sharding.is_equivalent_to(flatten(want)[name], leaf.ndim), name
    for name, tensor in tensors.items():
        parts = 1 if tensor.array.ndim == 1 else 4
        assert tensor.largest == tensor.array.size // parts, name


def test_every_parameter_has_one_row_of_the_table():
    rows = [entry.parameter for entry in TABLE]
    everything = dataclasses.replace(QWEN3, tie_embeddings=False)
    assert sorted(rows) == sorted(flatten(parameter_shapes(everything)))
    for naming in ("hf", "gguf"):
        assert len({getattr(entry, naming) for entry in TABLE}) == len(TABLE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    export_safetensors(directory, QWEN3, random_params(QWEN3), max_len=64)
    return directory


@pytest.fixture
def checkpoint(exported, tmp_path):
    """(directory, tensors, write): change the tensors, write them, load."""
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    tensors = load_file(tmp_path / "model.safetensors")

    def write():
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})

    return tmp_path, tensors, write


_Q = "model.layers.1.self_attn.q_proj.weight"


def test_an_unmatched_tensor_is_an_error(checkpoint):
    directory, tensors, write = checkpoint
    tensors["model.layers.1.self_attn.q_proj.bias"] = np.zeros(128, np.float32)
    write()
    with pytest.raises(UnmatchedTensor, match=r"q_proj\.bias' of shape \(128,\)"):
        load_safetensors(directory, QWEN3)


def test_a_duplicate_tensor_is_an_error(checkpoint):
    directory, tensors, _ = checkpoint
    save_file({_Q: tensors[_Q]}, directory / "other.safetensors")
    with pytest.raises(DuplicateTensor, match=r"parameter layers/query\[1\]"):
        load_safetensors(directory, QWEN3)


def test_an_unexpected_tensor_is_an_error(checkpoint):
    directory, tensors, write = checkpoint
    tensors["model.layers.3.self_attn.q_proj.weight"] = tensors[_Q]
    write()
    with pytest.raises(UnexpectedTensor, match=r"layers/query\[3\].* 3 layers"):
        load_safetensors(directory, QWEN3)


def test_norms_of_queries_are_unexpected_in_a_llama(checkpoint):
    directory, _, _ = checkpoint
    with pytest.raises(UnexpectedTensor, match=r"query_norm\[0\]|key_norm\[0\]"):
        load_safetensors(directory, dataclasses.replace(QWEN3, qk_norm=False))


def test_a_tensor_of_the_wrong_shape_is_an_error(checkpoint):
    directory, tensors, write = checkpoint
    tensors[_Q] = np.ascontiguousarray(tensors[_Q].T)
    write()
    with pytest.raises(WrongShape, match=r"has shape \(64, 128\).*needs \(128, 64\)"):
        load_safetensors(directory, QWEN3)


def test_a_missing_tensor_is_an_error(checkpoint):
    directory, tensors, write = checkpoint
    del tensors[_Q]
    write()
    with pytest.raises(MissingTensor, match=r"1 parameters: layers/query\[1\] \(named .*q_proj"):
        load_safetensors(directory, QWEN3)


def test_tied_embeddings_may_be_written_twice_but_not_differently(checkpoint):
    """Qwen3-0.6B's file has lm_head.weight beside its tied embeddings."""
    directory, tensors, write = checkpoint
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    write()
    want = load_safetensors(directory, QWEN3)
    assert "head" not in want
    tensors["lm_head.weight"][-1, -1] += 1
    write()
    with pytest.raises(UnexpectedTensor, match=r"lm_head\.weight' that differs"):
        load_safetensors(directory, QWEN3)


def test_files_that_are_no_checkpoint_are_clear_errors(tmp_path):
    with pytest.raises(UserError, match=r"no config\.json in"):
        from_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"neither a directory .* nor a hub id"):
        from_pretrained(tmp_path / "nowhere" / "model")
    (tmp_path / "config.json").write_text(json.dumps(hf_config(LLAMA3, max_len=64)))
    with pytest.raises(UserError, match=r"no \*\.safetensors in"):
        from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0not json")
    with pytest.raises(UserError, match="is no safetensors file"):
        from_pretrained(tmp_path)
    with pytest.raises(UserError, match="already holds safetensors"):
        export_safetensors(tmp_path, LLAMA3, {}, max_len=64)


def test_settings_are_the_user_s_and_shapes_the_model_s():
    config = config_from_hf(hf_config(QWEN3, max_len=64), dtype="bfloat16", remat=True)
    assert (config.dtype, config.remat, config.head_dim) == ("bfloat16", True, 32)


def test_rope_parameters_of_transformers_5_are_read():
    described = hf_config(LLAMA3, max_len=64)
    scaling = described.pop("rope_scaling") | {"rope_theta": described.pop("rope_theta")}
    got: PolicyConfig = config_from_hf(described | {"rope_parameters": scaling})
    assert (got.rope_theta, got.rope_scaling) == (LLAMA3.rope_theta, LLAMA3.rope_scaling)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_type", "mistral"),
        ("hidden_act", "gelu"),
        ("attention_bias", True),
        ("use_sliding_window", True),
        ("layer_types", ["full_attention", "sliding_attention"]),
        ("rope_scaling", {"rope_type": "yarn", "factor": 4.0}),
        ("hidden_size", None),
    ],
)
def test_a_model_that_the_decoder_does_not_have_is_refused_by_field(field, value):
    described = hf_config(QWEN3, max_len=64) | {field: value}
    with pytest.raises(UserError, match="yarn" if field == "rope_scaling" else field):
        config_from_hf(described)
