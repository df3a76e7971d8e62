"""The suite as others take it: its tools, what to ask them, and what decides the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from tooltrain.env.recorder.plan import Plan
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas import (
    airports,
    cities,
    clock,
    countries,
    geodesy,
    languages,
    money,
    phones,
    sun,
    workdays,
)
from tooltrain.env.suites.atlas.data import versions
from tooltrain.env.suites.atlas.questions import questions
from tooltrain.errors import UserError
from tooltrain.types import Json

SMALL = 4_000  # a size of the plan for tests and demos
_LEAST = 40  # requests of a tool in the smallest plan, so that every chain is in it
_PARTS = (cities, countries, airports, geodesy, clock, sun, workdays, money, languages, phones)


def pairs() -> list[tuple[Tool, Callable[..., Json]]]:
    """Every tool with the function that answers it. Needs no data package before a call."""
    return [pair for part in _PARTS for pair in part.TOOLS]


def plan(seed: int = 0, size: int | None = None) -> Plan:
    """What to ask. size: about how many requests, at least 40 a tool; None: all 177,000.

    The answers are a pure function of (seed, size, `meta`). Raises UserError on a size
    below one request, or when a data package is not installed.
    """
    if size is not None and size < 1:
        raise UserError(f"size of the atlas plan must be at least 1 request, got {size}")
    asked = list(questions())
    share = 1 if size is None else min(1, size / sum(requests for requests, _ in asked))
    tools = (
        dataclasses.replace(tool, max_requests=max(_LEAST, round(requests * share)))
        for requests, tool in asked
    )
    return Plan(tuple(tools), seed)


def meta() -> dict[str, str]:
    """What a recording should carry in its meta table: the releases behind its answers.

    Raises UserError when a data package is not installed.
    """
    return {"source": "atlas"} | {f"package_{name}": v for name, v in versions().items()}
