"""Countries: by name, by continent, by code; their neighbours and subdivisions."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    choice,
    in_range,
    limit,
    one_of,
    parameters,
)
from tooltrain.env.suites.atlas.data import (
    Country,
    cities,
    cities_named,
    countries,
    country,
    package,
    plain,
)
from tooltrain.env.suites.atlas.workdays import has_own_holidays
from tooltrain.types import Json

_CONTINENTS = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
_ORDERS = ("most_populous", "least_populous", "largest_area", "smallest_area")
_KEYS = {
    "most_populous": lambda c: -c.population,
    "least_populous": lambda c: c.population,
    "largest_area": lambda c: -c.area_km2,
    "smallest_area": lambda c: c.area_km2,
}
_PAGE_SIZE = 5


@functools.cache
def _names() -> dict[str, frozenset[str]]:
    """Plain names of each country: GeoNames' and ISO's, in English."""
    found = {}
    for code, c in countries().items():
        iso = package("pycountry").countries.get(alpha_2=code)
        names = [c.name, iso.name, getattr(iso, "official_name", ""), c.iso3, code]
        names.append(getattr(iso, "common_name", ""))
        found[code] = frozenset(plain(name) for name in names if name)
    return found


@functools.cache
def _capital_id(code: str) -> int | None:
    """GeoNames id of the largest city of the country that bears the capital's name."""
    name = plain(country(code).capital)
    called = [cities()[id_] for id_ in cities_named().get(name, ())]
    here = [c for c in called if c.country_code == code]
    if not here:
        return None
    return max(here, key=lambda c: (plain(c.name) == name, c.population)).geoname_id


def _listed(c: Country) -> dict[str, Json]:
    return {
        "country_code": c.code,
        "name": c.name,
        "population": c.population,
        "area_km2": c.area_km2,
    }


def search_countries(query: str, limit: int = 5) -> Json:
    in_range("limit", limit, 1, 10)
    wanted = plain(query)
    found = [
        (wanted not in names, -countries()[code].population, code)
        for code, names in _names().items()
        if wanted in names or (len(wanted) > 2 and any(wanted in name for name in names))
    ]
    if not found:
        raise ToolFailure(f"no country of the name {query!r}")
    return {
        "total": len(found),
        "countries": [
            {**_listed(countries()[code]), "continent_code": countries()[code].continent_code}
            for _, _, code in sorted(found)[:limit]
        ],
    }


def list_countries(
    continent_code: str, order: str = "most_populous", page: int = 1, limit: int = 5
) -> Json:
    one_of("continent_code", continent_code, _CONTINENTS)
    one_of("order", order, _ORDERS)
    in_range("limit", limit, 1, 10)
    in_range("page", page, 1, 100)
    found = [c for c in countries().values() if c.continent_code == continent_code]
    found.sort(key=lambda c: (_KEYS[order](c), c.code))
    elements = [_listed(c) for c in found[(page - 1) * limit : page * limit]]
    if not elements:
        raise ToolFailure(f"{continent_code} has {len(found)} countries: no page {page}")
    return {"total": len(found), "countries": elements}


def get_country(country_code: str) -> Json:
    c = country(country_code)
    return {
        "country_code": c.code,
        "iso3": c.iso3,
        "iso_numeric": c.numeric,
        "name": c.name,
        "continent_code": c.continent_code,
        "capital": {"name": c.capital or None, "geoname_id": _capital_id(country_code)},
        "population": c.population,
        "area_km2": c.area_km2,
        "currency_code": c.currency_code or None,
        "calling_code": c.calling_code or None,
        "top_level_domain": c.top_level_domain or None,
    }


def list_neighbours(country_code: str) -> Json:
    codes = country(country_code).neighbours
    if not codes:
        raise ToolFailure(f"{country_code} has no land border")
    found = sorted((country(code) for code in codes), key=lambda c: c.name)
    return {
        "country_code": country_code,
        "neighbours": [{**_listed(c), "currency_code": c.currency_code or None} for c in found],
    }


@functools.cache
def _subdivisions(code: str) -> tuple[tuple[str, str, str, str | None], ...]:
    """(code, name, type, parent's code) of a country's subdivisions, by code."""
    found = package("pycountry").subdivisions.get(country_code=code) or ()
    return tuple(sorted((s.code, s.name, s.type, s.parent_code) for s in found))


def list_subdivisions(country_code: str, page: int = 1) -> Json:
    country(country_code)
    in_range("page", page, 1, 100)
    found = _subdivisions(country_code)
    shown = found[(page - 1) * _PAGE_SIZE : page * _PAGE_SIZE]
    if not shown:
        raise ToolFailure(f"{country_code} has {len(found)} subdivisions: no page {page}")
    return {
        "country_code": country_code,
        "total": len(found),
        "pages": -(-len(found) // _PAGE_SIZE),
        "subdivisions": [
            {
                "subdivision_code": code,
                "name": name,
                "type": kind,
                "parent_code": parent,
                "holidays_code": code if has_own_holidays(code) else None,
            }
            for code, name, kind, parent in shown
        ],
    }


_PAGE = {
    "type": "integer",
    "minimum": 1,
    "default": 1,
    "description": "Which page of the list, from 1",
}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "search_countries",
            "Finds countries by their English name, a part of it, or an ISO code; the exact "
            "match first, then the more populous.",
            parameters(
                {
                    "query": {
                        "type": "string",
                        "description": "Name, part of one (three letters or more), or ISO code",
                    }
                },
                {"limit": limit(5, 10, "countries")},
            ),
        ),
        search_countries,
    ),
    (
        Tool(
            "list_countries",
            "Countries of a continent in an order, with populations and areas.",
            parameters(
                {
                    "continent_code": choice(
                        _CONTINENTS,
                        "AF Africa, AN Antarctica, AS Asia, EU Europe, NA North America, "
                        "OC Oceania, SA South America",
                    )
                },
                {
                    "order": choice(_ORDERS, "Which countries come first", "most_populous"),
                    "page": _PAGE,
                    "limit": limit(5, 10, "countries"),
                },
            ),
        ),
        list_countries,
    ),
    (
        Tool(
            "get_country",
            "Codes, capital (with its GeoNames id), population, area, currency, calling code "
            "and internet domain of a country.",
            parameters({"country_code": COUNTRY_CODE}),
        ),
        get_country,
    ),
    (
        Tool(
            "list_neighbours",
            "Countries that share a land border with a country, in the order of their names.",
            parameters({"country_code": COUNTRY_CODE}),
        ),
        list_neighbours,
    ),
    (
        Tool(
            "list_subdivisions",
            "States, provinces, cantons and the like of a country, five a page, with their ISO "
            "3166-2 codes, and the same code as holidays_code where its own holidays are known.",
            parameters(
                {"country_code": COUNTRY_CODE},
                {"page": _PAGE},
            ),
        ),
        list_subdivisions,
    ),
)
