"""Checkpoints: the whole run, saved atomically in the background, resumed only by its own config.

A stage's directory (WORKDIR/sft, WORKDIR/grpo) holds

    config.json          the config it was started with, and what its data were
    checkpoints/<step>/  params, optimizer, and `run`: step, seed, data iterator (JSON); behaviour,
                         the parameters that play the rollouts in flight (config.grpo.staleness)
    base/                what LoRA leaves frozen (config.lora), saved once; params are its tree then
    metrics.jsonl ...    lines up to some step; `truncate_lines` cuts them to the resumed one

A step's random numbers are made from (seed, step), so the seed is all the RNG state.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping

import jax
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from tooltrain import sharding
from tooltrain.errors import UserError
from tooltrain.policy.lora import Lora, lora_of
from tooltrain.train.state import Params, TrainState
from tooltrain.types import Json

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
SCORE = "score"  # of a checkpoint, in its metadata
BEHAVIOUR = "behaviour"
BASE = "base"  # beside the checkpoints


class Checkpoints:
    """The checkpoints of one stage. A context manager: leaving it waits for the last save.

    keep, keep_best: how many of the newest, and of those saved with the highest scores, stay
    on disk.
    """

    def __init__(self, directory: pathlib.Path, *, keep: int = 2, keep_best: int = 1):
        policies = ocp.training.preservation_policies
        logging.getLogger("absl").setLevel(logging.WARNING)  # 30 lines a save otherwise
        self._checkpointer = ocp.training.Checkpointer(
            (directory / CHECKPOINTS).absolute(),
            preservation_policy=policies.AnyPreservationPolicy(
                [
                    policies.LatestN(keep),
                    policies.BestN(
                        get_metric_fn=lambda metrics: metrics[SCORE],
                        n=keep_best,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,  # left by a killed run
        )

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *unused) -> None:
        self._checkpointer.close()

    @property
    def latest_step(self) -> int | None:
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

    @property
    def best_step(self) -> int | None:
        """The step saved with the highest score, the newest of equals; None: none has one."""
        scored = [
            (saved.metrics[SCORE], saved.step)
            for saved in self._checkpointer.checkpoints
            if saved.metrics
        ]
        return max(scored)[1] if scored else None

    def save(
        self,
        state: TrainState,
        step: int,
        run: Mapping[str, Json],
        *,
        score: float | None = None,
        behaviour: Params | None = None,
    ) -> None:
        """Starts saving and returns once the arrays are copied off the devices.

        run: JSON values that, with the state, are the whole run: seed and data iterator.
        score: how good the policy is on held-out data, higher is better, if that was measured.
        behaviour: parameters that play what is in flight, if they are others than the state's.
        A save that is still under way is waited for. Saving a step twice does nothing.
        """
        if step == self.latest_step:
            return
        self._checkpointer.save_checkpointables_async(
            step,
            {
                "params": state.params,  # by itself, so that it can be loaded by itself
                "optimizer": {"step": state.step, "opt_state": state.opt_state},
                # Written in the background: the iterator must not move it meanwhile.
                "run": {**copy.deepcopy(dict(run)), "step": step},
                **({} if behaviour is None else {BEHAVIOUR: behaviour}),
            },
            metrics=None if score is None else {SCORE: float(score)},
            force=True,
        )

    def restore(
        self, abstract: TrainState, *, behaviour: bool = False
    ) -> tuple[TrainState, dict[str, Json]]:
        """The newest state, on the mesh of `abstract`, and its `run`; behaviour: the parameters
        saved under that name are in `run` too."""
        saved = self._checkpointer.load_checkpointables(
            None,
            {
                "params": abstract.params,
                "optimizer": {"step": abstract.step, "opt_state": abstract.opt_state},
                "run": None,
                **({BEHAVIOUR: abstract.params} if behaviour else {}),
            },
        )
        state = TrainState(params=saved["params"], **saved["optimizer"])
        return state, saved["run"] | ({BEHAVIOUR: saved[BEHAVIOUR]} if behaviour else {})


def load_params(directory: pathlib.Path, abstract_params: Params) -> tuple[Params, int]:
    """Parameters alone, of a stage's newest checkpoint, straight onto the mesh; and its step.

    They are the whole policy's, also where the stage trained LoRA.
    abstract_params: shapes with shardings. Raises UserError when there is no checkpoint or
    it holds another policy.
    """
    newest = latest_step(directory)
    if newest is None:
        raise UserError(
            f"{directory} holds no checkpoint to start from; run train_sft with this --workdir "
            "first, or set config.init_from to a directory that train_sft wrote"
        )
    path = (directory / CHECKPOINTS / str(newest)).absolute()
    lora = _lora_of(directory)
    trained = abstract_params
    if lora is not None:
        mesh = jax.tree.leaves(abstract_params)[0].sharding.mesh
        trained = sharding.abstract_parameters(mesh, lora.shapes(abstract_params))
    try:
        saved = ocp.load_checkpointables(path, {"params": trained})
        if lora is not None:
            path = (directory / BASE).absolute()
            base = ocp.load_checkpointables(path, {"params": abstract_params})
            where = jax.tree.map(lambda x: x.sharding, abstract_params)
            saved["params"] = jax.jit(lora.merge, out_shardings=where)(
                base["params"], saved["params"]
            )
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(
            f"the checkpoint {path} does not hold the policy of this config; use the "
            f"config.policy and tokenizer it was trained with ({directory / CONFIG}): {error}"
        ) from error
    return saved["params"], newest


def keep_base(
    directory: pathlib.Path,
    abstract_params: Params,
    make: Callable[[], Params],
    *,
    resumed: bool,
) -> Params:
    """What a stage leaves frozen: made and saved beside its checkpoints, once; what was saved,
    when the stage is resumed."""
    path = (directory / BASE).absolute()
    if resumed:
        return ocp.load_checkpointables(path, {"params": abstract_params})["params"]
    base = make()
    ocp.save_checkpointables(path, {"params": base}, overwrite=True)
    return base


def _lora_of(directory: pathlib.Path) -> Lora | None:
    """The LoRA that a stage trains, by its config.json."""
    path = directory / CONFIG
    return lora_of(json.loads(path.read_text())["config"]) if path.is_file() else None


def latest_step(directory: pathlib.Path) -> int | None:
    """Newest whole checkpoint below a stage's directory; None if there is none."""
    steps = [
        int(path.name)
        for path in (directory / CHECKPOINTS).glob("*")
        # Orbax writes under a temporary name and renames: a number is a finished one.
        if path.name.isdigit()
    ]
    return max(steps, default=None)


# --- the config beside it -----------------------------------------------------------


def recorded_config(
    config: ConfigDict, unread: Collection[str], data: Mapping[str, Json]
) -> dict[str, Json]:
    """What must be equal for a checkpoint to be resumed: the config without the sections
    that the stage does not read, and what its data were (a path may change, they may not)."""
    read = {name: value for name, value in config.to_dict().items() if name not in unread}
    return {"config": read, "data": dict(data)}


def traces_digest(traces_dir: pathlib.Path) -> str:
    """SHA-256 of a trace dataset and its tokenizer: the same digest, the same batches."""
    digest = hashlib.sha256()
    files = [traces_dir / "tokenizer.json", *sorted(traces_dir.rglob("*.array_record*"))]
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def claim_directory(directory: pathlib.Path, config: Mapping[str, Json]) -> None:
    """Makes the stage's directory this config's own: writes config.json, or finds its equal.

    Raises UserError, having changed nothing, when the directory holds a checkpoint of
    another config: it lists the fields that differ.
    """
    path = directory / CONFIG
    wanted = json.loads(json.dumps(config))
    newest = latest_step(directory)
    if newest is not None:
        if not path.is_file():
            raise UserError(
                f"{directory} holds a checkpoint (step {newest}) but no {CONFIG}, so it cannot be "
                "told whether it may be resumed; use another --workdir, or delete that directory"
            )
        found = json.loads(path.read_text())
        differences = list(_differences(found, wanted))
        if differences:
            raise UserError(
                f"{directory} holds a checkpoint (step {newest}) of another config: "
                f"{'; '.join(differences)}. To resume it, set these fields back; to start anew, "
                f"use another --workdir or delete {directory}"
            )
        return
    directory.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
    partial.replace(path)


def _differences(found: Json, wanted: Json, name: str = "") -> Iterator[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted(found.keys() | wanted.keys()):
            yield from _differences(
                found.get(key, "(not set)"),
                wanted.get(key, "(not set)"),
                f"{name}.{key}".lstrip("."),
            )
    elif found != wanted:
        yield f"{name} is {found!r} there and {wanted!r} here"


def truncate_lines(path: pathlib.Path, last_step: int | None) -> None:
    """Drops the lines of a JSONL file whose "step" is after last_step, atomically; None: all.

    A killed run wrote them after its last checkpoint; the resumed one writes them again. A
    last line that was cut short by the kill goes too.
    """
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        cut_short = not line.endswith("\n")
        if last_step is None or cut_short or json.loads(line)["step"] > last_step:
            break
        kept.append(line)
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept))
    partial.replace(path)
