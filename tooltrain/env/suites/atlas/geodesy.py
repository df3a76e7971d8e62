"""Distances on the WGS 84 ellipsoid, and what is near a point.

Karney's geodesics (geographiclib): C. F. F. Karney, Algorithms for geodesics, J. Geodesy
87, 43-55 (2013).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    LATITUDE,
    LONGITUDE,
    coordinates,
    in_range,
    parameters,
)
from tooltrain.env.suites.atlas.data import package
from tooltrain.types import Json

T = TypeVar("T")
_EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG)
# A great circle on the sphere is off by at most 0.56% from the ellipsoid.
_SPHERE_MARGIN = 1.006
_CANDIDATES_BEYOND = 8  # so that the sphere's order never decides who is among the nearest


@functools.cache
def _wgs84():
    return package("geographiclib.geodesic").Geodesic.WGS84


def compass(degrees: float) -> float:
    """Azimuth clockwise from north, in [0, 360), to a tenth of a degree."""
    return round(degrees % 360, 1) % 360


def inverse(from_: tuple[float, float], to: tuple[float, float]) -> tuple[float, float, float]:
    """(km, initial azimuth, final azimuth) of the geodesic between two (lat, lon)."""
    found = _wgs84().Inverse(*from_, *to)
    return found["s12"] / 1000, found["azi1"], found["azi2"]


def direct(from_: tuple[float, float], azimuth: float, km: float) -> tuple[float, float]:
    """(lat, lon), rounded to 1e-5 degrees (a metre), `km` along an azimuth."""
    found = _wgs84().Direct(*from_, azimuth, km * 1000)
    return round(found["lat2"], 5), round(found["lon2"], 5)


class Nearby:
    """Index of things with `latitude` and `longitude` by where they are."""

    def __init__(self, things: Sequence[T]):
        self._things = things
        at = np.radians([(t.latitude, t.longitude) for t in things]).reshape(-1, 2)
        self._units = _unit(at[:, 0], at[:, 1])

    def find(
        self, latitude: float, longitude: float, radius_km: float, count: int
    ) -> list[tuple[float, float, T]]:
        """(km to 0.1, azimuth, thing) of the `count` nearest inside the radius, nearest first."""
        here = _unit(np.radians(latitude), np.radians(longitude))
        cosines = self._units @ here
        angle = min(radius_km * _SPHERE_MARGIN / _EARTH_RADIUS_KM, math.pi)
        inside = np.flatnonzero(cosines >= math.cos(angle))
        order = np.argsort(-cosines[inside], kind="stable")[: count + _CANDIDATES_BEYOND]
        found = []
        for i in inside[order]:
            thing = self._things[i]
            km, azimuth, _ = inverse((latitude, longitude), (thing.latitude, thing.longitude))
            if km <= radius_km:
                found.append((round(km, 1), i, compass(azimuth), thing))
        found.sort(key=lambda item: item[:2])
        return [(km, azimuth, thing) for km, _, azimuth, thing in found[:count]]


def _unit(latitude, longitude):
    cos = np.cos(latitude)
    return np.stack([cos * np.cos(longitude), cos * np.sin(longitude), np.sin(latitude)], axis=-1)


def geodesic_distance(
    latitude_1: float, longitude_1: float, latitude_2: float, longitude_2: float
) -> Json:
    from_, to = coordinates(latitude_1, longitude_1), coordinates(latitude_2, longitude_2)
    km, azimuth, final = inverse(from_, to)
    latitude, longitude = direct(from_, azimuth, km / 2)
    return {
        "distance_km": round(km, 1),
        "distance_miles": round(km / 1.609344, 1),
        "initial_bearing_deg": compass(azimuth),
        "final_bearing_deg": compass(final),
        "midpoint": {"latitude": latitude, "longitude": longitude},
    }


def project_point(
    latitude: float, longitude: float, bearing_deg: float, distance_km: float
) -> Json:
    from_ = coordinates(latitude, longitude)
    in_range("bearing_deg", bearing_deg, 0, 360)
    in_range("distance_km", distance_km, 0, 20_000)
    latitude, longitude = direct(from_, bearing_deg, distance_km)
    return {"latitude": latitude, "longitude": longitude}


TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "geodesic_distance",
            "Shortest distance over the earth's surface between two points, the compass "
            "bearings at both ends and the point half-way.",
            parameters(
                {
                    "latitude_1": LATITUDE,
                    "longitude_1": LONGITUDE,
                    "latitude_2": LATITUDE,
                    "longitude_2": LONGITUDE,
                }
            ),
        ),
        geodesic_distance,
    ),
    (
        Tool(
            "project_point",
            "Coordinates of the point reached by going a distance from a point along a bearing.",
            parameters(
                {
                    "latitude": LATITUDE,
                    "longitude": LONGITUDE,
                    "bearing_deg": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": 360,
                        "description": "Initial bearing in degrees clockwise from north",
                    },
                    "distance_km": {
                        "type": "number",
                        "minimum": 0,
                        "maximum": 20000,
                        "description": "How far to go, in kilometres, 0 to 20000",
                    },
                }
            ),
        ),
        project_point,
    ),
)
