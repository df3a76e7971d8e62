"""A recipe: all that a dataset is made from, small enough to send to any machine.

Trace i of a split is a pure function of the recipe, so files can be written by many
workers, or not at all: a pipeline can read the streams as it reads files.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

from tooltrain.env.environment import Environment, open_environment
from tooltrain.errors import UserError
from tooltrain.synthesis.generate import Planned, Settings, plan, streams
from tooltrain.synthesis.stream import TraceStream


@dataclasses.dataclass(frozen=True)
class Recipe:
    """cache: path of the cache file, the same on every machine that uses the recipe;
    projection: `config.projection` as sorted (name, value) pairs."""

    cache: str
    projection: tuple[tuple[str, int], ...]
    settings: Settings

    def __post_init__(self):
        if self.settings.train_traces < 1:
            raise UserError(
                "config.synthesis.train_traces must say how many training traces there are "
                "when traces are made by index; got 0, e.g. set 100000"
            )

    def environment(self) -> Environment:
        return _opened(self)[0]

    def planned(self) -> Planned:
        return _opened(self)[1]

    def streams(self) -> dict[str, TraceStream]:
        """Every split, made when read. Mining and filling are done once a process."""
        return _opened(self)[2]

    def described(self) -> dict[str, Any]:
        """What tells datasets apart: the cache by its digest, not by where it lies."""
        return {
            "cache_digest": self.environment().cache.digest,
            "projection": json.dumps(dict(self.projection)),
            "settings": json.dumps(dataclasses.asdict(self.settings)),
        }


@functools.lru_cache(1)
def _opened(recipe: Recipe) -> tuple[Environment, Planned, dict[str, TraceStream]]:
    environment = open_environment(recipe.cache, **dict(recipe.projection))
    planned = plan(environment, recipe.settings, progress=False)
    return environment, planned, streams(planned, environment, recipe.settings)
