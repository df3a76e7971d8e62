"""Where arrays live: the device mesh, parameter rules and batch sharding.

Three mesh axes, in this order (outermost, slowest links first):

    data    copies of the parameters; the batch is split over it
    fsdp    the batch *and* every matrix are split over it (gathered when used)
    tensor  matrices are split over it the Megatron way (arXiv 1909.08053): the column of
            the first product and the row of the second, one reduction per block
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from tooltrain.errors import UserError

AXES = ("data", "fsdp", "tensor")

# Full parameter path -> spec. First match wins; a path that none matches is an error, so a
# new parameter cannot be replicated by accident.
RULES: tuple[tuple[str, PartitionSpec], ...] = (
    # Rows over both axes: with D split too, the looked-up rows would have to move from
    # "D over fsdp" to "batch over fsdp", which XLA does by replicating them whole.
    (r"embedding", PartitionSpec(("tensor", "fsdp"), None)),
    (r"head", PartitionSpec("fsdp", "tensor")),
    (r"final_norm", PartitionSpec()),
    # Stacked over layers: the leading axis is scanned, never split.
    (r"layers/(query|key|value|gate|up)", PartitionSpec(None, "fsdp", "tensor")),
    (r"layers/(output|down)", PartitionSpec(None, "tensor", "fsdp")),
    (r"layers/(attention_norm|mlp_norm|query_norm|key_norm)", PartitionSpec()),
    # LoRA's pairs: split as the sides of their matrix are, never along the rank.
    (r"layers/(query|key|value|gate|up)/a", PartitionSpec(None, "fsdp", None)),
    (r"layers/(query|key|value|gate|up)/b", PartitionSpec(None, None, "tensor")),
    (r"layers/(output|down)/a", PartitionSpec(None, "tensor", None)),
    (r"layers/(output|down)/b", PartitionSpec(None, None, "fsdp")),
)


def make_mesh(shape: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of `config.mesh`: sizes of data, fsdp and tensor; one may be -1, the rest.

    Axis types are Auto: the compiler places intermediates (jax's default, Explicit, makes
    a lookup in a sharded embedding an error). Enter it with `jax.set_mesh(mesh)`.

    Raises UserError when the sizes do not multiply to the number of devices, and when tensor
    splits a matrix over devices of several processes, each of which has its own rows of a batch.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = [int(shape[axis]) for axis in AXES]
    written = ", ".join(f"{axis}={size}" for axis, size in zip(AXES, sizes, strict=True))
    if sizes.count(-1) > 1 or any(size < 1 and size != -1 for size in sizes):
        raise UserError(
            f"config.mesh is {written}; each size must be 1 or more, and at most one may be -1 "
            "(whatever is left)"
        )
    if -1 in sizes:
        known = -math.prod(sizes)
        sizes[sizes.index(-1)] = max(len(devices) // known, 1)
    if math.prod(sizes) != len(devices):
        raise UserError(
            f"config.mesh is {written}, which does not fill the {len(devices)} devices here; "
            "choose sizes whose product is that number (data=-1 takes whatever is left)"
        )
    mesh = jax.make_mesh(
        tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices
    )
    rows = mesh.devices.reshape(-1, sizes[-1])
    if any(len({device.process_index for device in row}) > 1 for row in rows):
        own = sum(device.process_index == jax.process_index() for device in devices)
        raise UserError(
            f"config.mesh.tensor is {sizes[-1]}, which splits matrices over devices of several "
            f"processes, and each has other rows of a batch; a process has {own} devices here: "
            "give tensor a divisor of that number, and the rest to fsdp or data"
        )
    return mesh


def path_name(path: tuple[Any, ...]) -> str:
    """A key path as jax gives it, as "layers/query"."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)


def parameter_specs(params: Any, rules: Sequence[tuple[str, PartitionSpec]] = RULES) -> Any:
    """The PartitionSpec of every parameter, as a tree like `params` (arrays or shapes).

    Raises ValueError, naming the parameter, when no rule matches its whole path or the
    rule names more dimensions than it has.
    """

    def spec_of(path, leaf):
        name = path_name(path)
        for pattern, spec in rules:
            if re.fullmatch(pattern, name):
                if len(spec) > len(leaf.shape):
                    raise ValueError(
                        f"the sharding rule {pattern!r} -> {spec} is for {len(spec)} or more "
                        f"dimensions, parameter {name!r} has shape {tuple(leaf.shape)}: give the "
                        "parameter a rule of its own in tooltrain/sharding.py"
                    )
                return spec
        raise ValueError(
            f"no sharding rule matches parameter {name!r} of shape {tuple(leaf.shape)}; rules are "
            f"{[pattern for pattern, _ in rules]}: add one for it in tooltrain/sharding.py"
        )

    return jax.tree_util.tree_map_with_path(spec_of, params)


def parameter_shardings(mesh: Mesh, params: Any) -> Any:
    """`parameter_specs` on a mesh.

    Raises UserError, naming the parameter, when a dimension is not a multiple of the
    number of devices it is split over.
    """

    def sharding_of(path, leaf, spec):
        for size, axes in zip(leaf.shape, spec, strict=False):
            parts = math.prod(
                mesh.shape[a] for a in ((axes,) if isinstance(axes, str) else axes or ())
            )
            if size % parts:
                raise UserError(
                    f"parameter {path_name(path)!r} has shape {tuple(leaf.shape)}, and {size} is "
                    f"not a multiple of the {parts} devices that config.mesh splits it over "
                    f"({spec}); change the mesh or the policy's width"
                )
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(sharding_of, params, parameter_specs(params))


def abstract_parameters(mesh: Mesh, shapes: Any) -> Any:
    """Shapes and dtypes with `parameter_shardings`: what a checkpoint is loaded by."""
    return jax.tree.map(
        lambda shape, where: jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=where),
        shapes,
        parameter_shardings(mesh, shapes),
    )


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch, split over data and fsdp."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def check_batch_size(mesh: Mesh, rows: int, field: str) -> None:
    """Raises UserError, naming the config field, if `rows` cannot be split over the mesh."""
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if rows % parts:
        raise UserError(
            f"{field} makes batches of {rows} rows, which {parts} devices (mesh data x fsdp) "
            f"cannot share evenly; make it a multiple of {parts}"
        )


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Host arrays to devices, rows split over data and fsdp. Asynchronous."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def shard_params(mesh: Mesh, params: Any) -> Any:
    """A parameter tree onto the mesh by the rules."""
    return jax.device_put(params, parameter_shardings(mesh, params))
