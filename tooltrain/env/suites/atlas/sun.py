"""Sun and moon: rise and set, height in the sky, phases."""

from __future__ import annotations

import datetime
from collections.abc import Callable

from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    DATE,
    LATITUDE,
    LONGITUDE,
    TIMEZONE,
    coordinates,
    day,
    in_range,
    moment,
    parameters,
)
from tooltrain.env.suites.atlas.clock import minutes_of
from tooltrain.env.suites.atlas.data import package, zone
from tooltrain.env.suites.atlas.geodesy import compass
from tooltrain.types import Json

_PHASES = ("new moon", "first quarter", "full moon", "last quarter")
_DAY = datetime.timedelta(days=1)
_MOON_MONTH = 28  # in astral's measure of the moon's age


def _event(
    name: str, latitude: float, longitude: float, date: datetime.date, timezone: str
) -> datetime.datetime | None:
    """A sun event that falls on the local day, None when there is none."""
    sun, observer = package("astral.sun"), package("astral").Observer(latitude, longitude)
    # astral reckons in UTC days: the event of a local day may be that of the day beside it.
    for shift in (0, -1, 1):
        try:
            time = getattr(sun, name)(observer, date + datetime.timedelta(days=shift))
        except ValueError:  # the sun does not reach that height
            continue
        if time.astimezone(zone(timezone)).date() == date:
            return time.astimezone(zone(timezone))
    return None


def _hour(time: datetime.datetime | None) -> str | None:
    """The nearest minute, as almanacs print it."""
    return None if time is None else (time + datetime.timedelta(seconds=30)).strftime("%H:%M")


def _daylight(
    latitude: float, longitude: float, date: datetime.date, timezone: str
) -> tuple[datetime.datetime | None, datetime.datetime | None, int]:
    """Sunrise, sunset and minutes of daylight; 1440 or 0 where the sun does not cross."""
    sunrise, sunset = (_event(n, latitude, longitude, date, timezone) for n in _CROSSINGS)
    if sunrise and sunset and sunset > sunrise:
        return sunrise, sunset, minutes_of(sunset - sunrise)
    sun, observer = package("astral.sun"), package("astral").Observer(latitude, longitude)
    midnight = datetime.datetime.combine(date, datetime.time(), zone(timezone))
    if sunrise is None and sunset is None:
        up = sun.elevation(observer, midnight + datetime.timedelta(hours=12)) > _HORIZON_DEG
        return None, None, 1440 if up else 0
    # Near the poles and far from a zone's meridian one of the two may fall on another day.
    lit = 0
    if sunset is not None and (sunrise is None or sunset < sunrise):
        lit += minutes_of(sunset - midnight)
    if sunrise is not None:
        lit += minutes_of(midnight + datetime.timedelta(days=1) - sunrise)
    return sunrise, sunset, lit


_CROSSINGS = ("sunrise", "sunset")
_HORIZON_DEG = -0.833  # of the sun's centre when its rim is on the horizon, refraction included


def sun_times(latitude: float, longitude: float, date: str, timezone: str) -> Json:
    coordinates(latitude, longitude)
    on = day("date", date)
    sunrise, sunset, lit = _daylight(latitude, longitude, on, timezone)
    return {
        "date": date,
        "timezone": timezone,
        "dawn": _hour(_event("dawn", latitude, longitude, on, timezone)),
        "sunrise": _hour(sunrise),
        "noon": _hour(_event("noon", latitude, longitude, on, timezone)),
        "sunset": _hour(sunset),
        "dusk": _hour(_event("dusk", latitude, longitude, on, timezone)),
        "daylight_minutes": lit,
    }


def sun_calendar(
    latitude: float,
    longitude: float,
    start_date: str,
    timezone: str,
    step_days: int = 7,
    count: int = 4,
) -> Json:
    coordinates(latitude, longitude)
    in_range("step_days", step_days, 1, 60)
    in_range("count", count, 2, 10)
    days = []
    for i in range(count):
        on = day("start_date", start_date) + datetime.timedelta(days=i * step_days)
        sunrise, sunset, lit = _daylight(latitude, longitude, on, timezone)
        days.append(
            {
                "date": on.isoformat(),
                "sunrise": _hour(sunrise),
                "sunset": _hour(sunset),
                "daylight_minutes": lit,
            }
        )
    return {"timezone": timezone, "days": days}


def sun_position(latitude: float, longitude: float, utc_time: str) -> Json:
    coordinates(latitude, longitude)
    at = moment("utc_time", utc_time).replace(tzinfo=datetime.UTC)
    sun, observer = package("astral.sun"), package("astral").Observer(latitude, longitude)
    elevation = round(sun.elevation(observer, at), 1)
    return {
        "elevation_deg": elevation,
        "azimuth_deg": compass(sun.azimuth(observer, at)),
        "above_horizon": elevation > _HORIZON_DEG,
    }


def moon_phases(start_date: str, count: int = 4) -> Json:
    start = day("start_date", start_date)
    in_range("count", count, 1, 10)
    phase = package("astral.moon").phase
    quarter = _MOON_MONTH / len(_PHASES)
    found: list[Json] = []
    # astral's age of a day is that of its noon (UTC), to two hours: so a phase is
    # found between two noons.
    noon = datetime.datetime.combine(start, datetime.time(12))
    before = phase(start - _DAY)
    while len(found) < count:
        age = phase(noon.date())
        if int(age // quarter) != int(before // quarter):
            past = age % quarter / ((age - before) % _MOON_MONTH)
            on = (noon - past * _DAY).date()
            if on >= start:
                found.append(
                    {
                        "phase": _PHASES[int(age // quarter)],
                        "date": on.isoformat(),
                        "weekday": on.strftime("%A"),
                        "days_from_start": (on - start).days,
                    }
                )
        noon, before = noon + _DAY, age
    return {"phases": found}


_TIMEZONE = {**TIMEZONE, "description": "IANA time zone of the day and of the times given"}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "sun_times",
            "Dawn, sunrise, solar noon, sunset and dusk at a point on a day, as local times "
            "(null where there is none), and the minutes of daylight.",
            parameters(
                {
                    "latitude": LATITUDE,
                    "longitude": LONGITUDE,
                    "date": DATE,
                    "timezone": _TIMEZONE,
                }
            ),
        ),
        sun_times,
    ),
    (
        Tool(
            "sun_calendar",
            "Sunrise, sunset and minutes of daylight at a point on several days.",
            parameters(
                {
                    "latitude": LATITUDE,
                    "longitude": LONGITUDE,
                    "start_date": DATE,
                    "timezone": _TIMEZONE,
                },
                {
                    "step_days": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 60,
                        "default": 7,
                        "description": "Days from one row to the next, 1 to 60",
                    },
                    "count": {
                        "type": "integer",
                        "minimum": 2,
                        "maximum": 10,
                        "default": 4,
                        "description": "How many days to give, 2 to 10",
                    },
                },
            ),
        ),
        sun_calendar,
    ),
    (
        Tool(
            "sun_position",
            "Height of the sun above the horizon and its compass direction at a point and a "
            "moment.",
            parameters(
                {
                    "latitude": LATITUDE,
                    "longitude": LONGITUDE,
                    "utc_time": {"type": "string", "description": "UTC time as YYYY-MM-DDTHH:MM"},
                }
            ),
        ),
        sun_position,
    ),
    (
        Tool(
            "moon_phases",
            "The next new moons, quarters and full moons from a day on (UTC), to about three "
            "hours: near midnight the day may be the one beside it.",
            parameters(
                {"start_date": DATE},
                {
                    "count": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 10,
                        "default": 4,
                        "description": "How many phases to give, 1 to 10",
                    }
                },
            ),
        ),
        moon_phases,
    ),
)
