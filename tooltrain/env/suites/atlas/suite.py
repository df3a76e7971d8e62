"""The suite as others take it: its tools, and what decides their answers."""

from __future__ import annotations

from collections.abc import Callable

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
from tooltrain.types import Json

_PARTS = (cities, countries, airports, geodesy, clock, sun, workdays, money, languages, phones)


def pairs() -> list[tuple[Tool, Callable[..., Json]]]:
    """Every tool with the function that answers it. Needs no data package before a call."""
    return [pair for part in _PARTS for pair in part.TOOLS]
