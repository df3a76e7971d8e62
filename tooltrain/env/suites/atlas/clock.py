"""Time zones: where they hold, their offsets and changes, times from one to another."""

from __future__ import annotations

import datetime
import functools
import importlib.resources
from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    DATE,
    FIRST_YEAR,
    LAST_YEAR,
    LATITUDE,
    LONGITUDE,
    TIMEZONE,
    YEAR,
    coordinates,
    day,
    in_range,
    moment,
    parameters,
)
from tooltrain.env.suites.atlas.data import country, package, zone
from tooltrain.types import Json

_UTC = datetime.UTC
_MINUTE = datetime.timedelta(minutes=1)


def minutes_of(delta: datetime.timedelta) -> int:
    """Whole minutes."""
    return round(delta / _MINUTE)


def offset_text(delta: datetime.timedelta) -> str:
    """+05:30"""
    minutes = minutes_of(delta)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def minute_text(time: datetime.datetime) -> str:
    """The form that arguments take: YYYY-MM-DDTHH:MM."""
    return time.strftime("%Y-%m-%dT%H:%M")


def localized(name: str, text: str, timezone: str) -> datetime.datetime:
    """The moment of a wall clock; of two alike (clocks set back) the earlier.

    Raises ToolFailure when the clock skips that time.
    """
    time = moment(name, text).replace(tzinfo=zone(timezone))
    if time.astimezone(_UTC).astimezone(zone(timezone)).replace(tzinfo=None) != time.replace(
        tzinfo=None
    ):
        raise ToolFailure(f"{name}: clocks in {timezone} skip {text}")
    return time


def zones_at(latitude: float, longitude: float) -> list[str]:
    """IANA zones that hold at a point, by name; two where they are disputed.

    Raises ToolFailure where none is known.
    """
    found = package("tzfpy").get_tzs(longitude, latitude)
    if not found:
        raise ToolFailure(f"no time zone known at {latitude}, {longitude}")
    return sorted(found)


def timezone_at(latitude: float, longitude: float) -> Json:
    coordinates(latitude, longitude)
    names = zones_at(latitude, longitude)
    return {
        "timezone": names[0],
        "other_timezones": names[1:],
        "at_sea": names[0].startswith("Etc/"),
    }


def get_timezone(timezone: str, date: str) -> Json:
    noon = datetime.datetime.combine(day("date", date), datetime.time(12), zone(timezone))
    return {
        "timezone": timezone,
        "date": date,
        "abbreviation": noon.tzname(),
        "utc_offset": offset_text(noon.utcoffset()),
        "utc_offset_minutes": minutes_of(noon.utcoffset()),
        "daylight_saving": bool(noon.dst()),
    }


def timezone_changes(timezone: str, year: int) -> Json:
    in_range("year", year, FIRST_YEAR, LAST_YEAR)
    changes = []
    at = datetime.datetime(year, 1, 1, tzinfo=_UTC)
    while at.year == year:
        after = at + datetime.timedelta(days=1)
        if _offset(at, timezone) != _offset(after, timezone):
            changes.append(_change(at, after, timezone))
        at = after
    if not changes:
        raise ToolFailure(f"clocks in {timezone} do not change in {year}")
    return {"timezone": timezone, "year": year, "changes": changes}


def _offset(at: datetime.datetime, timezone: str) -> datetime.timedelta:
    return at.astimezone(zone(timezone)).utcoffset()


def _change(low: datetime.datetime, high: datetime.datetime, timezone: str) -> Json:
    """The one change between two moments, found to the minute."""
    before = _offset(low, timezone)
    while high - low > _MINUTE:
        middle = low + _MINUTE * ((high - low) // _MINUTE // 2)
        low, high = (middle, high) if _offset(middle, timezone) == before else (low, middle)
    local = high.astimezone(zone(timezone))
    return {
        "date": (high + before).date().isoformat(),
        "utc_time": minute_text(high),
        "new_abbreviation": local.tzname(),
        "new_utc_offset_minutes": minutes_of(local.utcoffset()),
        "shift_minutes": minutes_of(local.utcoffset() - before),
    }


@functools.cache
def _zones_of() -> dict[str, tuple[tuple[str, float, float, str], ...]]:
    """(zone, latitude, longitude, where) of each country's zones, from tzdata's zone.tab."""
    table = importlib.resources.files(package("tzdata.zoneinfo")) / "zone.tab"
    found: dict[str, list[tuple[str, float, float, str]]] = {}
    for line in table.read_text().splitlines():
        if not line.startswith("#"):
            code, at, name, *where = line.split("\t")
            cut = max(at.rfind("+"), at.rfind("-"))
            entry = (name, _degrees(at[:cut]), _degrees(at[cut:]), where[0] if where else "")
            found.setdefault(code, []).append(entry)
    return {code: tuple(entries) for code, entries in found.items()}


def _degrees(text: str) -> float:
    """Degrees of ±DDMM, ±DDDMM, ±DDMMSS or ±DDDMMSS (ISO 6709)."""
    digits = text[1:]
    whole = len(digits) - (4 if len(digits) > 5 else 2)
    rest = digits[whole:].ljust(4, "0")
    degrees = int(digits[:whole]) + int(rest[:2]) / 60 + int(rest[2:]) / 3600
    return round(-degrees if text[0] == "-" else degrees, 5)


def list_timezones(country_code: str, date: str) -> Json:
    country(country_code)
    noon = datetime.datetime.combine(day("date", date), datetime.time(12), _UTC)
    if country_code not in _zones_of():
        raise ToolFailure(f"no time zone listed for {country_code}")
    return {
        "country_code": country_code,
        "timezones": [
            {
                "timezone": name,
                "region": where or None,
                "utc_offset_minutes": minutes_of(_offset(noon, name)),
                "latitude": latitude,
                "longitude": longitude,
            }
            for name, latitude, longitude, where in _zones_of()[country_code]
        ],
    }


def convert_time(local_time: str, from_timezone: str, to_timezone: str) -> Json:
    time = localized("local_time", local_time, from_timezone)
    there = time.astimezone(zone(to_timezone))
    return {
        "local_time": minute_text(there),
        "date": there.date().isoformat(),
        "weekday": there.strftime("%A"),
        "timezone": to_timezone,
        "utc_time": minute_text(time.astimezone(_UTC)),
        "difference_minutes": minutes_of(there.utcoffset() - time.utcoffset()),
        "day_shift": (there.date() - time.date()).days,
    }


def shared_working_hours(
    date: str,
    timezone_1: str,
    timezone_2: str,
    start_hour: int = 9,
    end_hour: int = 17,
) -> Json:
    on = day("date", date)
    in_range("start_hour", start_hour, 0, 22)
    in_range("end_hour", end_hour, start_hour + 1, 23)
    first = _hours(on, timezone_1, start_hour, end_hour)
    best = None
    for shift in (-1, 0, 1):  # the other's day may have another date
        second = _hours(on + datetime.timedelta(days=shift), timezone_2, start_hour, end_hour)
        start, end = max(first[0], second[0]), min(first[1], second[1])
        if start < end and (best is None or end - start > best[1] - best[0]):
            best = start, end
    if best is None:
        raise ToolFailure(
            f"no common hours between {start_hour}:00 and {end_hour}:00 in {timezone_1} and "
            f"{timezone_2} on {date}"
        )
    start, end = best
    return {
        "shared_minutes": minutes_of(end - start),
        "start_utc_time": minute_text(start),
        "end_utc_time": minute_text(end),
        "start_local_time_1": minute_text(start.astimezone(zone(timezone_1))),
        "start_local_time_2": minute_text(start.astimezone(zone(timezone_2))),
    }


def _hours(
    on: datetime.date, timezone: str, start: int, end: int
) -> tuple[datetime.datetime, datetime.datetime]:
    """Beginning and end, in UTC, of a zone's working hours on its own day."""
    at = (datetime.datetime.combine(on, datetime.time(h), zone(timezone)) for h in (start, end))
    return tuple(time.astimezone(_UTC) for time in at)


_LOCAL_TIME = {"type": "string", "description": "Local date and time as YYYY-MM-DDTHH:MM"}
_HOUR = {"type": "integer", "minimum": 0, "maximum": 23}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "timezone_at",
            "The IANA time zone that holds at a point, on land or at sea.",
            parameters({"latitude": LATITUDE, "longitude": LONGITUDE}),
        ),
        timezone_at,
    ),
    (
        Tool(
            "get_timezone",
            "Offset from UTC, abbreviation and daylight saving of a time zone on a day at noon.",
            parameters({"timezone": TIMEZONE, "date": DATE}),
        ),
        get_timezone,
    ),
    (
        Tool(
            "timezone_changes",
            "When the clocks of a time zone change in a year, and by how many minutes.",
            parameters({"timezone": TIMEZONE, "year": YEAR}),
        ),
        timezone_changes,
    ),
    (
        Tool(
            "list_timezones",
            "Time zones of a country with their offsets from UTC on a day and the coordinates "
            "of their main places.",
            parameters({"country_code": COUNTRY_CODE, "date": DATE}),
        ),
        list_timezones,
    ),
    (
        Tool(
            "convert_time",
            "What the clocks of one time zone show at a local time of another, with the UTC time.",
            parameters(
                {
                    "local_time": _LOCAL_TIME,
                    "from_timezone": {**TIMEZONE, "description": "IANA time zone of local_time"},
                    "to_timezone": {**TIMEZONE, "description": "IANA time zone to convert to"},
                }
            ),
        ),
        convert_time,
    ),
    (
        Tool(
            "shared_working_hours",
            "When the working hours of two time zones overlap on a day of the first.",
            parameters(
                {
                    "date": DATE,
                    "timezone_1": {**TIMEZONE, "description": "IANA time zone of the date"},
                    "timezone_2": {**TIMEZONE, "description": "The other IANA time zone"},
                },
                {
                    "start_hour": {
                        **_HOUR,
                        "default": 9,
                        "description": "Hour at which work begins in both, 0 to 22",
                    },
                    "end_hour": {
                        **_HOUR,
                        "default": 17,
                        "description": "Hour at which work ends in both, 1 to 23",
                    },
                },
            ),
        ),
        shared_working_hours,
    ),
)
