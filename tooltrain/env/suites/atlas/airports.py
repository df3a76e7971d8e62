"""Airports: by name, by code, by country, by distance; the great-circle ways between them."""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Callable, Iterator

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    ICAO,
    LATITUDE,
    LONGITUDE,
    choice,
    coordinates,
    in_range,
    limit,
    one_of,
    parameters,
)
from tooltrain.env.suites.atlas.clock import zones_at
from tooltrain.env.suites.atlas.data import Airport, airport, airports, country, plain
from tooltrain.env.suites.atlas.geodesy import Nearby, compass, direct, inverse
from tooltrain.types import Json

_ORDERS = ("highest", "lowest", "northernmost", "southernmost")
_KEYS = {
    "highest": lambda a: -a.elevation_ft,
    "lowest": lambda a: a.elevation_ft,
    "northernmost": lambda a: -a.latitude,
    "southernmost": lambda a: a.latitude,
}
_MIN_QUERY_CHARS = 3


@functools.cache
def _nearby(iata_only: bool) -> Nearby:
    return Nearby([a for a in airports().values() if a.iata or not iata_only])


@functools.cache
def _called() -> dict[str, list[Airport]]:
    """Airports by plain city and by IATA code."""
    found: dict[str, list[Airport]] = {}
    for a in airports().values():
        for word in {plain(a.city), a.iata.casefold()} - {""}:
            found.setdefault(word, []).append(a)
    return found


@functools.cache
def _names() -> tuple[str, list[int], list[Airport]]:
    """All plain names as lines of one text, where each begins, and whose it is."""
    every = list(airports().values())
    lines = [plain(a.name) + "\n" for a in every]
    return "".join(lines), [0, *itertools.accumulate(map(len, lines))], every


def _with_name_part(part: str) -> Iterator[Airport]:
    # One text searched by str.find: 28,000 names take 0.3 ms, one by one 14 ms.
    text, starts, every = _names()
    at = text.find(part)
    while at >= 0:
        line = bisect.bisect_right(starts, at) - 1
        yield every[line]
        at = text.find(part, starts[line + 1])


@functools.cache
def _of_country() -> dict[str, list[Airport]]:
    found: dict[str, list[Airport]] = {}
    for a in airports().values():
        found.setdefault(a.country_code, []).append(a)
    return found


def search_airports(query: str, limit: int = 5) -> Json:
    in_range("limit", limit, 1, 10)
    wanted = plain(query)
    if len(wanted) < _MIN_QUERY_CHARS:
        raise ToolFailure(f"query must have at least {_MIN_QUERY_CHARS} letters, got {query!r}")
    ranks = {a.icao: 2 for a in _with_name_part(wanted)}
    for a in _called().get(wanted, ()):
        ranks[a.icao] = 0 if wanted == a.iata.casefold() else 1
    found = [(rank, not airports()[icao].iata, icao) for icao, rank in ranks.items()]
    if not found:
        raise ToolFailure(f"no airport matches {query!r}")
    return {
        "total": len(found),
        "airports": [
            {
                "icao": a.icao,
                "iata": a.iata or None,
                "name": a.name,
                "city": a.city or None,
                "country_code": a.country_code,
                "elevation_ft": a.elevation_ft,
            }
            for a in (airports()[icao] for _, _, icao in sorted(found)[:limit])
        ],
    }


def get_airport(icao: str) -> Json:
    a = airport(icao)
    return {
        "icao": a.icao,
        "iata": a.iata or None,
        "name": a.name,
        "city": a.city or None,
        "subdivision": a.subdivision or None,
        "country_code": a.country_code,
        "latitude": round(a.latitude, 5),
        "longitude": round(a.longitude, 5),
        "elevation_ft": a.elevation_ft,
        "timezone": a.timezone,
    }


def airports_nearby(
    latitude: float,
    longitude: float,
    radius_km: float = 100,
    iata_only: bool = True,
    limit: int = 5,
) -> Json:
    coordinates(latitude, longitude)
    in_range("radius_km", radius_km, 1, 1000)
    in_range("limit", limit, 1, 10)
    found = _nearby(iata_only).find(latitude, longitude, radius_km, limit)
    if not found:
        raise ToolFailure(f"no such airport within {radius_km} km of {latitude}, {longitude}")
    return {
        "airports": [
            {
                "icao": a.icao,
                "iata": a.iata or None,
                "name": a.name,
                "country_code": a.country_code,
                "elevation_ft": a.elevation_ft,
                "distance_km": km,
                "bearing_deg": azimuth,
            }
            for km, azimuth, a in found
        ]
    }


def list_airports(
    country_code: str, order: str = "highest", iata_only: bool = True, limit: int = 5
) -> Json:
    country(country_code)
    one_of("order", order, _ORDERS)
    in_range("limit", limit, 1, 10)
    found = [a for a in _of_country().get(country_code, ()) if a.iata or not iata_only]
    if not found:
        raise ToolFailure(f"no such airport in {country_code}")
    found.sort(key=lambda a: (_KEYS[order](a), a.icao))
    return {
        "country_code": country_code,
        "total": len(found),
        "airports": [
            {
                "icao": a.icao,
                "iata": a.iata or None,
                "name": a.name,
                "city": a.city or None,
                "elevation_ft": a.elevation_ft,
                "latitude": round(a.latitude, 5),
                "longitude": round(a.longitude, 5),
            }
            for a in found[:limit]
        ],
    }


def _ends(origin: str, destination: str) -> tuple[tuple[float, float], tuple[float, float]]:
    from_, to = airport(origin), airport(destination)
    if origin == destination:
        raise ToolFailure(f"origin_icao and destination_icao are both {origin}")
    return (from_.latitude, from_.longitude), (to.latitude, to.longitude)


def airport_route(origin_icao: str, destination_icao: str, cruise_speed_kmh: float = 850) -> Json:
    from_, to = _ends(origin_icao, destination_icao)
    in_range("cruise_speed_kmh", cruise_speed_kmh, 100, 2500)
    km, azimuth, final = inverse(from_, to)
    latitude, longitude = direct(from_, azimuth, km / 2)
    return {
        "origin_icao": origin_icao,
        "destination_icao": destination_icao,
        "distance_km": round(km, 1),
        "distance_nm": round(km / 1.852, 1),
        "initial_bearing_deg": compass(azimuth),
        "final_bearing_deg": compass(final),
        "cruise_minutes": round(km / cruise_speed_kmh * 60),
        "midpoint": {"latitude": latitude, "longitude": longitude},
    }


def route_waypoints(origin_icao: str, destination_icao: str, legs: int = 4) -> Json:
    from_, to = _ends(origin_icao, destination_icao)
    in_range("legs", legs, 2, 10)
    km, azimuth, _ = inverse(from_, to)
    waypoints = []
    for i in range(1, legs):
        latitude, longitude = direct(from_, azimuth, km * i / legs)
        waypoints.append(
            {
                "waypoint": i,
                "latitude": latitude,
                "longitude": longitude,
                "timezone": zones_at(latitude, longitude)[0],
                "km_from_origin": round(km * i / legs, 1),
            }
        )
    return {"distance_km": round(km, 1), "leg_km": round(km / legs, 1), "waypoints": waypoints}


_IATA_ONLY = {
    "type": "boolean",
    "default": True,
    "description": "Only airports with an IATA code, as those with scheduled flights have",
}
_ENDS = {
    "origin_icao": {**ICAO, "description": "ICAO code of the airport of departure"},
    "destination_icao": {**ICAO, "description": "ICAO code of the airport of arrival"},
}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "search_airports",
            "Finds airports by IATA code, city served or a part of the airport's name, in this "
            "order. Gives their ICAO codes.",
            parameters(
                {
                    "query": {
                        "type": "string",
                        "description": "IATA code, city, or part of a name, at least three letters",
                    }
                },
                {"limit": limit(5, 10, "airports")},
            ),
        ),
        search_airports,
    ),
    (
        Tool(
            "get_airport",
            "Name, place, coordinates, elevation and time zone of an airport by its ICAO code.",
            parameters({"icao": ICAO}),
        ),
        get_airport,
    ),
    (
        Tool(
            "airports_nearby",
            "Airports around a point, nearest first, with distance and compass bearing from it.",
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
                    "iata_only": _IATA_ONLY,
                    "limit": limit(5, 10, "airports"),
                },
            ),
        ),
        airports_nearby,
    ),
    (
        Tool(
            "list_airports",
            "Airports of a country in an order, with elevations and coordinates.",
            parameters(
                {"country_code": COUNTRY_CODE},
                {
                    "order": choice(_ORDERS, "Which airports come first", "highest"),
                    "iata_only": _IATA_ONLY,
                    "limit": limit(5, 10, "airports"),
                },
            ),
        ),
        list_airports,
    ),
    (
        Tool(
            "airport_route",
            "Great-circle route between two airports: length, bearings, half-way point and "
            "minutes at cruise speed.",
            parameters(
                _ENDS,
                {
                    "cruise_speed_kmh": {
                        "type": "number",
                        "minimum": 100,
                        "maximum": 2500,
                        "default": 850,
                        "description": "Speed over ground in km/h, 100 to 2500",
                    }
                },
            ),
        ),
        airport_route,
    ),
    (
        Tool(
            "route_waypoints",
            "Points that cut the great-circle route between two airports into equal legs, with "
            "the time zones that hold there.",
            parameters(
                _ENDS,
                {
                    "legs": {
                        "type": "integer",
                        "minimum": 2,
                        "maximum": 10,
                        "default": 4,
                        "description": "How many legs to cut the route into, 2 to 10",
                    }
                },
            ),
        ),
        route_waypoints,
    ),
)
