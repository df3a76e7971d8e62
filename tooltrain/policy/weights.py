"""Weights in and out: one name table between a checkpoint's tensors and the parameter tree.

A checkpoint is checked whole, by names and shapes alone, before a byte of it is read: each way
in which it can disagree with the policy is an error of its own. Then it is streamed, one
tensor at a time, onto the devices that hold it: the host never has more than a tensor.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

from tooltrain import sharding
from tooltrain.data.tokenizer_files import read_json
from tooltrain.errors import UserError
from tooltrain.policy.config import PolicyConfig
from tooltrain.policy.transformer import Params, Transformer


class WeightsError(UserError):
    """A checkpoint and the policy's config disagree."""


class UnmatchedTensor(WeightsError):
    """The name table has no entry for a tensor of the checkpoint."""


class DuplicateTensor(WeightsError):
    """Two tensors of the checkpoint are for one parameter."""


class UnexpectedTensor(WeightsError):
    """The name table knows the tensor, but this policy has no such parameter."""


class WrongShape(WeightsError):
    """A tensor's shape is not that of its parameter."""


class MissingTensor(WeightsError):
    """No tensor of the checkpoint is for a parameter."""


class Entry(NamedTuple):
    """A row of the name table. `{}` stands for the layer's number.

    transposed: checkpoints keep matrices (out, in), the policy (in, out).
    """

    parameter: str
    hf: str
    gguf: str
    transposed: bool = False


def _layer(parameter: str, hf: str, gguf: str, transposed: bool = False) -> Entry:
    return Entry(
        f"layers/{parameter}",
        f"model.layers.{{}}.{hf}.weight",
        f"blk.{{}}.{gguf}.weight",
        transposed,
    )


TABLE = (
    Entry("embedding", "model.embed_tokens.weight", "token_embd.weight"),
    _layer("attention_norm", "input_layernorm", "attn_norm"),
    _layer("query", "self_attn.q_proj", "attn_q", transposed=True),
    _layer("key", "self_attn.k_proj", "attn_k", transposed=True),
    _layer("value", "self_attn.v_proj", "attn_v", transposed=True),
    _layer("output", "self_attn.o_proj", "attn_output", transposed=True),
    _layer("query_norm", "self_attn.q_norm", "attn_q_norm"),
    _layer("key_norm", "self_attn.k_norm", "attn_k_norm"),
    _layer("mlp_norm", "post_attention_layernorm", "ffn_norm"),
    _layer("gate", "mlp.gate_proj", "ffn_gate", transposed=True),
    _layer("up", "mlp.up_proj", "ffn_up", transposed=True),
    _layer("down", "mlp.down_proj", "ffn_down", transposed=True),
    Entry("final_norm", "model.norm.weight", "output_norm.weight"),
    Entry("head", "lm_head.weight", "output.weight", transposed=True),
)


class Tensor(Protocol):
    """A tensor in a file: its shape at once, its numbers when sliced."""

    shape: tuple[int, ...]

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray: ...


class Place(NamedTuple):
    """Where a tensor goes: a parameter, and the layer of it (None: it is not stacked)."""

    entry: Entry
    layer: int | None

    def __str__(self) -> str:
        return self.entry.parameter + ("" if self.layer is None else f"[{self.layer}]")


def load_safetensors(
    directory: str | os.PathLike[str], config: PolicyConfig, mesh: Mesh | None = None
) -> Params:
    """Parameters from `model.safetensors`, or from the shards of its index.

    mesh: parameters are placed by the rules of tooltrain/sharding.py; None: on the first
    device. Raises UserError for files that are missing or broken, and one of the five
    `WeightsError`s for a checkpoint that does not fit the config.
    """
    with contextlib.ExitStack() as files:
        return place(config, _open_tensors(pathlib.Path(directory), files), "hf", mesh)


def place(
    config: PolicyConfig,
    tensors: Iterable[tuple[str, Tensor]],
    naming: str,
    mesh: Mesh | None,
) -> Params:
    """The parameter tree, float32, made of named tensors; `naming`: "hf" or "gguf".

    Raises the five `WeightsError`s before it reads a number.
    """
    shapes = parameter_shapes(config)
    chosen = match(config, tensors, naming)
    if mesh is None:
        single = SingleDeviceSharding(jax.devices()[0])
        shardings: dict[str, Sharding] = dict.fromkeys(flatten(shapes), single)
    else:
        shardings = flatten(sharding.parameter_shardings(mesh, shapes))
    placed: dict[str, jax.Array] = {}
    for name, shape in flatten(shapes).items():
        layers = sorted(
            (p for p in chosen if p.entry.parameter == name), key=lambda p: p.layer or 0
        )
        if layers[0].layer is None:
            placed[name] = _on_devices(chosen[layers[0]], layers[0].entry, shardings[name])
            continue
        stacked = jnp.zeros(shape.shape, jnp.float32, device=shardings[name])
        for p in layers:
            one = _on_devices(chosen[p], p.entry, _unstacked(shardings[name]))
            stacked = _set_layer(stacked, one, p.layer)
        placed[name] = stacked
    return unflatten(placed)


def match(
    config: PolicyConfig, tensors: Iterable[tuple[str, Tensor]], naming: str
) -> dict[Place, Tensor]:
    """The tensor of every parameter. Raises the five errors; reads no numbers, but those of an
    output matrix beside tied embeddings, which must be equal to them (Qwen3-0.6B has one)."""
    wanted = dict(_places(config))
    found: dict[Place, tuple[str, Tensor]] = {}
    tied_head: tuple[str, Tensor] | None = None
    for name, tensor in tensors:
        at = find(name, naming)
        if at is None:
            raise UnmatchedTensor(
                f"the checkpoint has a tensor {name!r} of shape {tuple(tensor.shape)} that the "
                "name table has no entry for; it is of another architecture, or needs a row in "
                "TABLE of tooltrain/policy/weights.py"
            )
        if at.entry.parameter == "head" and config.tie_embeddings and tied_head is None:
            tied_head = name, tensor
            continue
        if at in found:
            raise DuplicateTensor(
                f"the checkpoint has two tensors for parameter {at}: {found[at][0]!r} and {name!r}"
                "; delete the files of one (a directory may hold two checkpoints)"
            )
        if at not in wanted:
            raise UnexpectedTensor(
                f"the checkpoint has {name!r} for parameter {at}, and a policy of "
                f"{config.num_layers} layers, qk_norm={config.qk_norm}, "
                f"tie_embeddings={config.tie_embeddings} has none; is the config.json of this "
                "checkpoint?"
            )
        want = wanted[at][::-1] if at.entry.transposed else wanted[at]
        if tuple(tensor.shape) != want:
            raise WrongShape(
                f"tensor {name!r} has shape {tuple(tensor.shape)}, and parameter {at} needs {want}"
                "; is the config.json of this checkpoint?"
            )
        found[at] = name, tensor
    if missing := [at for at in wanted if at not in found]:
        names = [getattr(at.entry, naming).format(at.layer) for at in missing]
        raise MissingTensor(
            f"the checkpoint has no tensor for {len(missing)} parameters: "
            f"{', '.join(map(str, missing[:5]))} (named {', '.join(names[:5])}); is a shard gone?"
        )
    if tied_head is not None:
        _check_tied(tied_head, found[Place(TABLE[0], None)])
    return {at: tensor for at, (_, tensor) in found.items()}


@functools.cache
def _patterns(naming: str) -> tuple[tuple[re.Pattern[str], Entry], ...]:
    number = re.escape("{}"), r"(0|[1-9]\d*)"
    return tuple((re.compile(re.escape(getattr(e, naming)).replace(*number)), e) for e in TABLE)


def find(name: str, naming: str) -> Place | None:
    """The place of a tensor's name, or None."""
    for pattern, entry in _patterns(naming):
        if matched := pattern.fullmatch(name):
            return Place(entry, int(matched[1]) if matched.groups() else None)
    return None


@functools.cache
def parameter_shapes(config: PolicyConfig) -> Params:
    """The parameter tree with shapes for arrays; nothing is computed."""
    tokens = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    return jax.eval_shape(Transformer(config).init, jax.random.key(0), tokens, tokens)["params"]


class Exported(NamedTuple):
    """A tensor to write: its name in a checkpoint, its size, and how to fetch its numbers."""

    name: str
    size: int
    fetch: Callable[[], np.ndarray]


def hf_tensors(config: PolicyConfig, params: Params) -> Iterator[Exported]:
    """The tensors of a checkpoint, those outside the layers first."""
    flat = flatten(params)
    for at, shape in sorted(
        _places(config), key=lambda each: -1 if each[0].layer is None else each[0].layer
    ):
        fetch = functools.partial(_fetch, flat[at.entry.parameter], at)
        yield Exported(at.entry.hf.format(at.layer), math.prod(shape), fetch)


def flatten(params: Any) -> dict[str, Any]:
    """{"layers/query": leaf, ...}"""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {sharding.path_name(path): leaf for path, leaf in leaves}


def unflatten(flat: Mapping[str, Any]) -> Params:
    """The tree that `flatten` gives back."""
    tree: Params = {}
    for name, leaf in flat.items():
        *folders, last = name.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        at[last] = leaf
    return tree


def _places(config: PolicyConfig) -> Iterator[tuple[Place, tuple[int, ...]]]:
    """Every place that the policy has, with the shape of the parameter there."""
    shapes = flatten(parameter_shapes(config))
    for entry in TABLE:
        if entry.parameter not in shapes:
            continue
        shape = shapes[entry.parameter].shape
        if "{}" in entry.hf:
            yield from ((Place(entry, layer), shape[1:]) for layer in range(config.num_layers))
        else:
            yield Place(entry, None), shape


def _check_tied(head: tuple[str, Tensor], embedding: tuple[str, Tensor]) -> None:
    (name, one), (other_name, other) = head, embedding
    same = tuple(one.shape) == tuple(other.shape)
    step = max(1, (1 << 24) // one.shape[-1])  # rows: tens of megabytes at a time
    for start in range(0, one.shape[0] if same else 0, step):
        rows = (slice(start, min(start + step, one.shape[0])), slice(None))
        same = same and np.array_equal(one[rows], other[rows])
    if not same:
        raise UnexpectedTensor(
            f"the checkpoint has {name!r} that differs from {other_name!r}, and the policy's "
            "embeddings are tied; set tie_word_embeddings to false in config.json"
        )


def _open_tensors(
    directory: pathlib.Path, files: contextlib.ExitStack
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a checkpoint: of the files that its index names, or of all there are."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise UserError(
            "reading safetensors needs the package `safetensors`: pip install 'tooltrain[hub]'"
        ) from error

    index = directory / "model.safetensors.index.json"
    if index.is_file():
        listed = read_json(index).get("weight_map", {})
        paths = [directory / name for name in sorted(set(listed.values()))]
    else:
        paths = sorted(directory.glob("*.safetensors"))
    if not paths:
        raise UserError(
            f"no *.safetensors in {directory}; pass a model's directory or a .gguf file"
        )
    for path in paths:
        if not path.is_file():
            raise UserError(f"no {path.name} in {directory}, which its index lists; download it")
        try:
            shard = files.enter_context(safe_open(path, framework="numpy"))
        except SafetensorError as error:
            raise UserError(f"{path} is no safetensors file ({error}); download it anew") from error
        for name in shard.keys():  # noqa: SIM118 (no mapping)
            yield name, _Slice(shard.get_slice(name))


class _Slice:
    """A tensor of a safetensors file."""

    def __init__(self, opened: Any):
        self._opened = opened
        self.shape = tuple(opened.get_shape())

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        return self._opened[index]


def _on_devices(tensor: Tensor, entry: Entry, where: Sharding) -> jax.Array:
    """A tensor as a float32 array; each device gets its own part and no host copy is kept."""

    def part(index: tuple[slice, ...]) -> np.ndarray:
        if not entry.transposed:
            return np.asarray(tensor[index], np.float32)
        return np.asarray(tensor[index[::-1]], np.float32).T

    shape = tensor.shape[::-1] if entry.transposed else tensor.shape
    return jax.make_array_from_callback(tuple(shape), where, part)


def _fetch(leaf: jax.Array, at: Place) -> np.ndarray:
    array = np.asarray(leaf if at.layer is None else leaf[at.layer])
    return np.ascontiguousarray(array.T if at.entry.transposed else array)


def _unstacked(stacked: Sharding) -> Sharding:
    """The sharding of one layer of a stacked parameter (layers are never split)."""
    if isinstance(stacked, NamedSharding):
        return NamedSharding(stacked.mesh, PartitionSpec(*stacked.spec[1:]))
    return stacked


@functools.partial(jax.jit, donate_argnums=0)
def _set_layer(stacked: jax.Array, one: jax.Array, layer: int) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(stacked, one, layer, 0)
