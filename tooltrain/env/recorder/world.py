"""From live tools to a sealed cache: one directory for the recording, one file for the world.

PATH                    the cache, replaced when a newer one is whole
PATH's stem-recording/  the recording behind it, which a later run goes on with
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from tooltrain.env.cache import Cache
from tooltrain.env.recorder.backend import Backend
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.plan import Plan
from tooltrain.env.recorder.run import Report, record
from tooltrain.env.recording import Recording
from tooltrain.errors import UserError


def recording_directory(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{path.stem}-recording")


def record_world(
    path: pathlib.Path,
    backend: Backend,
    plan: Plan,
    limits: Limits,
    meta: Mapping[str, str],
    *,
    progress: bool = True,
) -> tuple[Cache, Report | None]:
    """Records what `plan` asks and seals it at `path`; None for the report when the same
    plan was recorded to its end before.

    meta: `source` and what else decides the answers. Raises UserError when something else
    stands at `path`, or when nothing at all could be recorded.
    """
    asked = {"plan": hashlib.sha256(repr(plan).encode()).hexdigest()}
    if path.exists():
        cache = same_source(path, meta)
        if all(
            _meta(cache, name) == value for name, value in (asked | {"complete": "yes"}).items()
        ):
            return cache, None
        cache.close()
    with Recording.open(recording_directory(path)) as recording:
        for name, value in meta.items():
            with contextlib.suppress(KeyError):
                if (before := recording.meta(name)) != value:
                    raise UserError(
                        f"{recording.path} was recorded with {name} {before!r}, now it is "
                        f"{value!r}: the answers may differ; delete that directory to start anew, "
                        "or name another cache with --config.cache=FILE"
                    )
            recording.set_meta(name, value)
        report = record(backend, plan, recording, limits, progress=progress)
        if not recording.count():
            raise UserError(f"nothing was recorded: {'; '.join(report.lines())}")
        complete = {"complete": "yes" if report.complete else "no"}
        for name, value in (asked | complete).items():
            recording.set_meta(name, value)
        return recording.seal(path), report


def same_source(path: pathlib.Path, meta: Mapping[str, str]) -> Cache:
    """The cache at `path`. Raises UserError if it was recorded from something else."""
    cache = Cache.open(path)
    for name, value in meta.items():
        if (before := _meta(cache, name)) != value:
            cache.close()
            raise UserError(
                f"{path} is a cache of another source ({name} is {before or 'not set'}, here it is "
                f"{value}); delete it, or name another with --config.cache=FILE"
            )
    return cache


def _meta(cache: Cache, name: str) -> str:
    try:
        return cache.meta(name)
    except KeyError:
        return ""


def attribute(reference: str, flag: str) -> Any:
    """What `module:name` names. Raises UserError when there is no such thing, and what the
    module itself raises."""
    module, _, name = reference.partition(":")
    if not (module and name):
        raise UserError(f"--{flag}={reference}: write it as module:attribute")
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(f"--{flag}={reference}: {error}; run from the folder that has it") from None
    found = getattr(imported, name, None)
    if found is None:
        raise UserError(f"--{flag}={reference}: module {module} has no {name}")
    return found


def plan_at(reference: str, seed: int) -> Plan:
    """The Plan that `module:name` is, or that the function of that name makes of a seed."""
    found: Plan | Callable[[int], Plan] = attribute(reference, "plan")
    plan = found(seed) if callable(found) else found
    if not isinstance(plan, Plan):
        raise UserError(f"--plan={reference} is no Plan but a {type(plan).__name__}")
    return plan
