"""Checkpoints: the whole run, saved atomically in the background, resumed only by its own config.

A stage's directory (WORKDIR/sft, WORKDIR/grpo) holds

    config.json          the config it was started with, and what its data were
    lock                 held by the process that trains
    checkpoints/<step>/  params, optimizer, and `run`: step, seed, data iterator (JSON); behaviour,
                         the parameters that play the rollouts in flight (config.grpo.staleness)
    base/                what LoRA leaves frozen (config.lora), saved once; params are its tree then
    metrics.jsonl ...    lines up to some step; `truncate_lines` cuts them to the resumed one

A step's random numbers are made from (seed, step), so the seed is all the RNG state.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping

import jax
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from tooltrain import locks, sharding
from tooltrain.errors import UserError
from tooltrain.policy.lora import Lora, lora_of
from tooltrain.train.state import Params, TrainState
from tooltrain.types import Json

CHECKPOINTS = "checkpoints"
CONFIG = "config.json"
LOCK = "lock"
SCORE = "score"  # of a checkpoint
METRICS = "metrics/metrics"  # Orbax's file in a checkpoint: what it was saved with
BEHAVIOUR = "behaviour"
BASE = "base"  # beside the checkpoints
NEWEST, BEST = "newest", "best"  # which checkpoint


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


def load_params(
    directory: pathlib.Path, abstract_params: Params, which: str = NEWEST
) -> tuple[Params, int]:
    """Parameters alone, of a stage's newest or best checkpoint, straight onto the mesh; and its
    step.

    They are the whole policy's, also where the stage trained LoRA.
    abstract_params: shapes with shardings. Raises UserError when there is no such checkpoint or
    it holds another policy.
    """
    step = saved_step(directory, which)
    path = (directory / CHECKPOINTS / str(step)).absolute()
    lora = _lora_of(directory)
    trained = abstract_params
    if lora is not None:
        mesh = jax.tree.leaves(abstract_params)[0].sharding.mesh
        trained = sharding.abstract_parameters(mesh, lora.shapes(abstract_params))
    try:
        saved = ocp.load_checkpointables(path, {"params": trained})
        if lora is not None:
            base = _load_base(directory, abstract_params)
            where = jax.tree.map(lambda x: x.sharding, abstract_params)
            saved["params"] = jax.jit(lora.merge, out_shardings=where)(base, saved["params"])
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise UserError(
            f"the checkpoint {path} does not hold the policy of this config; use the "
            f"config.policy and tokenizer it was trained with ({directory / CONFIG}): {error}"
        ) from error
    return saved["params"], step


def keep_base(
    directory: pathlib.Path,
    abstract_params: Params,
    make: Callable[[], Params],
    *,
    resumed: bool,
) -> Params:
    """What a stage leaves frozen: made and saved beside its checkpoints, once; what was saved,
    when the stage is resumed. Raises UserError when that is gone."""
    if resumed:
        return _load_base(directory, abstract_params)
    base = make()
    ocp.save_checkpointables((directory / BASE).absolute(), {"params": base}, overwrite=True)
    return base


def _load_base(directory: pathlib.Path, abstract_params: Params) -> Params:
    path = (directory / BASE).absolute()
    if not path.is_dir():
        raise UserError(
            f"{directory} was trained with LoRA beside {path}, which is gone: bring it back, or "
            f"delete {directory} and train that stage anew"
        )
    return ocp.load_checkpointables(path, {"params": abstract_params})["params"]


def _lora_of(directory: pathlib.Path) -> Lora | None:
    """The LoRA that a stage trains, by its config.json."""
    return lora_of(read_config(directory)["config"]) if (directory / CONFIG).is_file() else None


def saved_step(directory: pathlib.Path, which: str = NEWEST) -> int:
    """The step of a stage's newest or best checkpoint. Raises UserError when it has none."""
    newest = latest_step(directory)
    if newest is None:
        raise UserError(
            f"{directory} holds no checkpoint to start from; run train_sft with this --workdir "
            "first, or set config.init_from to a directory that train_sft wrote"
        )
    if which == NEWEST:
        return newest
    best = best_step(directory)
    if best is None:
        raise UserError(
            f"{directory} holds no checkpoint that was saved with a score, so none is the best; "
            "take the newest (GRPO's are scored, at config.grpo.eval_every_steps)"
        )
    return best


def latest_step(directory: pathlib.Path) -> int | None:
    """Newest whole checkpoint below a stage's directory; None if there is none."""
    return max(_steps(directory), default=None)


def best_step(directory: pathlib.Path) -> int | None:
    """The step saved with the highest score, the newest of equals; None: none has one."""
    scores = {
        step: json.loads(path.read_text())[SCORE]
        for step in _steps(directory)
        if (path := directory / CHECKPOINTS / str(step) / METRICS).is_file()
    }
    return max(scores, key=lambda step: (scores[step], step), default=None)


def _steps(directory: pathlib.Path) -> list[int]:
    return [
        int(path.name)
        for path in (directory / CHECKPOINTS).glob("*")
        # Orbax writes under a temporary name and renames: a number is a finished one.
        if path.name.isdigit()
    ]


def identity(directory: pathlib.Path, step: int) -> dict[str, Json]:
    """What tells a checkpoint from every other, wherever its workdir lies: the digest of its
    stage's config (None: it has none), and when it was saved."""
    path = directory / CONFIG
    saved = ocp.checkpointables_metadata((directory / CHECKPOINTS / str(step)).absolute())
    return {
        "config": hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None,
        "saved_ns": saved.commit_timestamp_nsecs,
    }


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


def read_config(directory: pathlib.Path) -> dict[str, Json]:
    """A stage's config.json. Raises UserError where there is none."""
    path = directory / CONFIG
    if not path.is_file():
        raise UserError(
            f"{directory} has no {CONFIG}, which says what its checkpoints were trained with; "
            "copy it from where they come from, or train that stage anew"
        )
    return json.loads(path.read_text())


@contextlib.contextmanager
def claim_directory(directory: pathlib.Path, config: Mapping[str, Json]) -> Iterator[None]:
    """The stage's directory as this config's own, of one process at a time, while this lasts:
    writes config.json, or finds its equal.

    Raises UserError, having changed nothing, when the directory holds a checkpoint of
    another config: it lists the fields that differ; and when another process has it.
    """
    wanted = json.loads(json.dumps(config))
    _check_resumable(directory, wanted)
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a") as lock:
        if not locks.acquire(lock):
            raise UserError(
                f"{directory} is being trained by another process; wait for it or stop it, or use "
                "another --workdir"
            )
        _check_resumable(directory, wanted)  # until now another process could write it
        if latest_step(directory) is None:
            path = directory / CONFIG
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(wanted, indent=2, sort_keys=True) + "\n")
            partial.replace(path)
        yield


def _check_resumable(directory: pathlib.Path, wanted: dict[str, Json]) -> None:
    """Raises UserError when the directory holds a checkpoint of another config than `wanted`."""
    newest = latest_step(directory)
    if newest is None:
        return
    if not (directory / CONFIG).is_file():
        raise UserError(
            f"{directory} holds a checkpoint (step {newest}) but no {CONFIG}, so it cannot be "
            "told whether it may be resumed; use another --workdir, or delete that directory"
        )
    differences = list(_differences(read_config(directory), wanted))
    if differences:
        raise UserError(
            f"{directory} holds a checkpoint (step {newest}) of another config: "
            f"{'; '.join(differences)}. To resume it, set these fields back; to start anew, "
            f"use another --workdir or delete {directory}"
        )


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
