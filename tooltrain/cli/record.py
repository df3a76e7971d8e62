"""Records a suite's responses into WORKDIR/cache/SUITE.sqlite."""

from __future__ import annotations

import pathlib

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.env.cache import Cache, CacheWriter
from tooltrain.env.suites import complexfuncbench
from tooltrain.errors import UserError
from tooltrain.synthesis.provenance import mine

_SOURCES = ("complexfuncbench",)
_SOURCE = flags.DEFINE_string("source", "complexfuncbench", f"One of {', '.join(_SOURCES)}.")
_WHEEL = flags.DEFINE_string("wheel", "", "Wheel file to read; empty: download the pinned one.")


def record(config: ConfigDict, workdir: str) -> None:
    if _SOURCE.value not in _SOURCES:
        raise UserError(f"unknown --source={_SOURCE.value}; allowed: {', '.join(_SOURCES)}")
    path = pathlib.Path(config.cache or f"{workdir}/cache/{config.suite}.sqlite")
    if path.exists():  # never written over: it may be another's file
        _say_it_is_there(path)
        return
    wheel = _WHEEL.value or complexfuncbench.fetch_wheel(path.parent / "wheels")
    with complexfuncbench.open_wheel(wheel) as archive, CacheWriter.create(path) as writer:
        counts = complexfuncbench.import_samples(writer, archive)
        writer.add_meta("source", complexfuncbench.REQUIREMENT)
        writer.add_meta("source_sha256", complexfuncbench.SHA256)
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
    if source != complexfuncbench.SHA256:
        raise UserError(
            f"{path} is a cache of another source (sha256 {source[:16]}, this one's is "
            f"{complexfuncbench.SHA256[:16]}); delete it, or name another with --config.cache=FILE"
        )
    print(f"{path} is there already: {len(cache):,} entries, digest {cache.digest[:16]}")


if __name__ == "__main__":
    main.run(record)
