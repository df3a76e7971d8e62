"""Cities: by name, by id, by country, by distance."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    LATITUDE,
    LONGITUDE,
    choice,
    coordinates,
    in_range,
    limit,
    one_of,
    parameters,
)
from tooltrain.env.suites.atlas.data import City, cities, cities_named, country, plain
from tooltrain.env.suites.atlas.geodesy import Nearby
from tooltrain.types import Json

_ORDERS = ("largest", "smallest", "northernmost", "southernmost")
_KEYS = {
    "largest": lambda city: -city.population,
    "smallest": lambda city: city.population,
    "northernmost": lambda city: -city.latitude,
    "southernmost": lambda city: city.latitude,
}
_MIN_POPULATIONS = (15_000, 50_000, 100_000, 500_000, 1_000_000)
_MIN_PREFIX_CHARS = 3


@functools.cache
def _names() -> list[tuple[str, int]]:
    """(plain name, id) of every city, sorted, to find by prefix."""
    return sorted((plain(city.name), id_) for id_, city in cities().items())


@functools.cache
def _of_country() -> dict[str, list[City]]:
    found: dict[str, list[City]] = {}
    for city in cities().values():
        found.setdefault(city.country_code, []).append(city)
    return found


@functools.cache
def _nearby(min_population: int) -> Nearby:
    return Nearby([city for city in cities().values() if city.population >= min_population])


def _matches(query: str) -> dict[int, int]:
    """id -> how well its name matches: 0 the name itself, 1 its beginning, 2 another name."""
    wanted = plain(query)
    found = dict.fromkeys(cities_named().get(wanted, ()), 2)
    names = _names()
    for name, id_ in names[bisect.bisect_left(names, (wanted, 0)) :]:
        if not name.startswith(wanted):
            break
        found[id_] = 0 if name == wanted else 1
    return found


def search_cities(query: str, limit: int = 5) -> Json:
    in_range("limit", limit, 1, 10)
    if len(query.strip()) < _MIN_PREFIX_CHARS:
        raise ToolFailure(f"query must have at least {_MIN_PREFIX_CHARS} letters, got {query!r}")
    found = [(rank, -cities()[id_].population, id_) for id_, rank in _matches(query).items()]
    if not found:
        raise ToolFailure(f"no city of at least 15,000 inhabitants matches {query!r}")
    return {
        "total": len(found),
        "cities": [_listed(cities()[id_]) for _, _, id_ in sorted(found)[:limit]],
    }


def _listed(city: City) -> dict[str, Json]:
    return {
        "geoname_id": city.geoname_id,
        "name": city.name,
        "country_code": city.country_code,
        "admin1_code": city.admin1_code or None,
        "population": city.population,
    }


def get_city(geoname_id: int) -> Json:
    if geoname_id not in cities():
        raise ToolFailure(f"no city with GeoNames id {geoname_id}")
    city = cities()[geoname_id]
    return {
        "geoname_id": city.geoname_id,
        "name": city.name,
        "country_code": city.country_code,
        "admin1_code": city.admin1_code or None,
        "latitude": city.latitude,
        "longitude": city.longitude,
        "population": city.population,
        "timezone": city.timezone,
    }


def list_cities(
    country_code: str, order: str = "largest", min_population: int = 15_000, limit: int = 5
) -> Json:
    country(country_code)
    one_of("order", order, _ORDERS)
    in_range("limit", limit, 1, 10)
    found = [c for c in _of_country().get(country_code, ()) if c.population >= min_population]
    if not found:
        raise ToolFailure(f"{country_code} has no city of at least {min_population:,} inhabitants")
    found.sort(key=lambda city: (_KEYS[order](city), city.geoname_id))
    elements = [
        {
            "geoname_id": city.geoname_id,
            "name": city.name,
            "population": city.population,
            "latitude": city.latitude,
            "longitude": city.longitude,
        }
        for city in found[:limit]
    ]
    return {"country_code": country_code, "total": len(found), "cities": elements}


def cities_nearby(
    latitude: float,
    longitude: float,
    radius_km: float = 100,
    min_population: int = 15_000,
    limit: int = 5,
) -> Json:
    coordinates(latitude, longitude)
    in_range("radius_km", radius_km, 1, 1000)
    in_range("limit", limit, 1, 10)
    found = _nearby(min_population).find(latitude, longitude, radius_km, limit)
    if not found:
        raise ToolFailure(
            f"no city of at least {min_population:,} inhabitants within {radius_km} km of "
            f"{latitude}, {longitude}"
        )
    return {
        "cities": [
            {
                "geoname_id": city.geoname_id,
                "name": city.name,
                "country_code": city.country_code,
                "population": city.population,
                "distance_km": km,
                "bearing_deg": azimuth,
            }
            for km, azimuth, city in found
        ]
    }


_MIN_POPULATION = {
    "type": "integer",
    "enum": list(_MIN_POPULATIONS),
    "default": 15_000,
    "description": "Only cities of at least so many inhabitants",
}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "search_cities",
            "Finds cities by name, by the beginning of a name or by a name in another language; "
            "the best match first, larger cities before smaller ones. Gives their GeoNames ids.",
            parameters(
                {
                    "query": {
                        "type": "string",
                        "description": "Name or beginning of a name, at least three letters",
                    }
                },
                {"limit": limit(5, 10, "cities")},
            ),
        ),
        search_cities,
    ),
    (
        Tool(
            "get_city",
            "Coordinates, time zone, population and country of a city by its GeoNames id.",
            parameters(
                {"geoname_id": {"type": "integer", "description": "GeoNames id of the city"}}
            ),
        ),
        get_city,
    ),
    (
        Tool(
            "list_cities",
            "Cities of a country in an order, with ids, populations and coordinates.",
            parameters(
                {"country_code": COUNTRY_CODE},
                {
                    "order": choice(_ORDERS, "Which cities come first", "largest"),
                    "min_population": _MIN_POPULATION,
                    "limit": limit(5, 10, "cities"),
                },
            ),
        ),
        list_cities,
    ),
    (
        Tool(
            "cities_nearby",
            "Cities around a point, nearest first, with distance and compass bearing from it.",
            parameters(
                {"latitude": LATITUDE, "longitude": LONGITUDE},
                {
                    "radius_km": {
                        "type": "number",
                        "minimum": 1,
                        "maximum": 1000,
                        "default": 100,
                        "description": "How far from the point to look, in kilometres, 1 to 1000",
                    },
                    "min_population": _MIN_POPULATION,
                    "limit": limit(5, 10, "cities"),
                },
            ),
        ),
        cities_nearby,
    ),
)
