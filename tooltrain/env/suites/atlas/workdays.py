"""Public holidays and working days of countries and their subdivisions."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterator

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    DATE,
    FIRST_YEAR,
    LAST_YEAR,
    YEAR,
    choice,
    day,
    in_range,
    one_of,
    parameters,
)
from tooltrain.env.suites.atlas.data import country, package
from tooltrain.types import Json

_DAY = datetime.timedelta(days=1)
_DIRECTIONS = ("after", "before")
_MIN_BREAK_DAYS = 3


@functools.cache
def _subdivisions_known() -> dict[str, frozenset[str]]:
    """Subdivisions (without the country's code) whose holidays are known, by country."""
    listed = package("holidays").list_supported_countries(include_aliases=False)
    return {code: frozenset(subdivisions) for code, subdivisions in listed.items()}


def has_own_holidays(subdivision_code: str) -> bool:
    """Whether a calendar of the subdivision (ISO 3166-2) is known."""
    country_code, _, part = subdivision_code.partition("-")
    return part in _subdivisions_known().get(country_code, frozenset())


@dataclasses.dataclass(frozen=True)
class _Year:
    """holidays: names, in English where the package has them. working: by day of the year."""

    holidays: dict[datetime.date, str]
    working: tuple[bool, ...]


@functools.lru_cache(maxsize=8192)
def _calendar(country_code: str, subdivision_code: str | None, year: int) -> _Year:
    """Holidays and working days of a year.

    Raises ToolFailure when no calendar is known.
    """
    country(country_code)
    # The years beside the allowed ones: a break or a span may reach into them.
    in_range("year", year, FIRST_YEAR - 1, LAST_YEAR + 1)
    if country_code not in _subdivisions_known():
        raise ToolFailure(f"no calendar of public holidays of {country_code}")
    if subdivision_code is not None and not has_own_holidays(subdivision_code):
        raise ToolFailure(f"no calendar of holidays of {subdivision_code!r} of its own")
    part = subdivision_code.partition("-")[2] if subdivision_code else None
    found = package("holidays").country_holidays(
        country_code, subdiv=part, years=year, language="en_US", expand=False
    )
    first = datetime.date(year, 1, 1)
    days = (datetime.date(year + 1, 1, 1) - first).days
    return _Year(
        {on: name for on, name in sorted(found.items()) if on.year == year},
        tuple(found.is_working_day(first + i * _DAY) for i in range(days)),
    )


class _Calendar:
    """Holidays and working days of a country or a subdivision of it, years joined."""

    def __init__(self, country_code: str, subdivision_code: str | None = None):
        self._place = country_code, subdivision_code

    def year(self, year: int) -> list[tuple[datetime.date, str]]:
        found = list(_calendar(*self._place, year).holidays.items())
        if not found:
            raise ToolFailure(f"no public holidays known of {self._place[0]} in {year}")
        return found

    def reason(self, on: datetime.date) -> str | None:
        """Why `on` is off: a holiday's name or the weekday; None on a working day."""
        calendar = _calendar(*self._place, on.year)
        if calendar.working[on.timetuple().tm_yday - 1]:
            return None
        return calendar.holidays.get(on) or on.strftime("%A")

    def from_(self, on: datetime.date) -> Iterator[tuple[datetime.date, str]]:
        for year in range(on.year, LAST_YEAR + 1):
            yield from ((date, name) for date, name in self.year(year) if date >= on)


def list_holidays(country_code: str, year: int) -> Json:
    in_range("year", year, FIRST_YEAR, LAST_YEAR)
    return {"country_code": country_code, "year": year} | _listed(_Calendar(country_code), year)


def list_regional_holidays(subdivision_code: str, year: int) -> Json:
    in_range("year", year, FIRST_YEAR, LAST_YEAR)
    country_code = subdivision_code.partition("-")[0]
    calendar = _Calendar(country_code, subdivision_code)
    return {"subdivision_code": subdivision_code, "year": year} | _listed(calendar, year)


def _listed(calendar: _Calendar, year: int) -> dict[str, Json]:
    found = calendar.year(year)
    return {
        "total": len(found),
        "holidays": [
            {"date": on.isoformat(), "name": name, "weekday": on.strftime("%A")}
            for on, name in found
        ],
    }


def next_holidays(country_code: str, date: str, count: int = 3) -> Json:
    start = day("date", date)
    in_range("count", count, 1, 5)
    found = []
    for on, name in _Calendar(country_code).from_(start):
        found.append(
            {
                "date": on.isoformat(),
                "name": name,
                "weekday": on.strftime("%A"),
                "days_until": (on - start).days,
            }
        )
        if len(found) == count:
            break
    if not found:
        raise ToolFailure(f"no holiday of {country_code} known from {date} to {LAST_YEAR}")
    return {"country_code": country_code, "holidays": found}


def next_working_day(country_code: str, date: str, direction: str = "after") -> Json:
    calendar, start = _Calendar(country_code), day("date", date)
    step = _DAY if one_of("direction", direction, _DIRECTIONS) == "after" else -_DAY
    skipped, on = [], start + step
    while (reason := calendar.reason(on)) is not None:
        skipped.append({"date": on.isoformat(), "reason": reason})
        on += step
    return {
        "country_code": country_code,
        "date": on.isoformat(),
        "weekday": on.strftime("%A"),
        "days_away": abs((on - start).days),
        "skipped": skipped,
    }


def add_working_days(country_code: str, start_date: str, working_days: int) -> Json:
    calendar, start = _Calendar(country_code), day("start_date", start_date)
    in_range("working_days", working_days, 1, 250)
    on, left = start, working_days
    while left:
        on += _DAY
        left -= calendar.reason(on) is None
    return {
        "country_code": country_code,
        "date": on.isoformat(),
        "weekday": on.strftime("%A"),
        "calendar_days": (on - start).days,
    }


def count_working_days(country_code: str, start_date: str, days: int) -> Json:
    calendar, start = _Calendar(country_code), day("start_date", start_date)
    in_range("days", days, 1, 366)
    working = sum(calendar.reason(start + i * _DAY) is None for i in range(days))
    return {
        "country_code": country_code,
        "end_date": (start + (days - 1) * _DAY).isoformat(),
        "working_days": working,
        "days_off": days - working,
    }


def shared_holidays(country_code_1: str, country_code_2: str, year: int) -> Json:
    in_range("year", year, FIRST_YEAR, LAST_YEAR)
    first = _Calendar(country_code_1).year(year)
    second = dict(_Calendar(country_code_2).year(year))
    found = [
        {
            "date": on.isoformat(),
            "weekday": on.strftime("%A"),
            "name_1": name,
            "name_2": second[on],
        }
        for on, name in first
        if on in second
    ]
    if not found or country_code_1 == country_code_2:
        raise ToolFailure(
            f"no shared holidays of {country_code_1} and {country_code_2} in {year}: give two "
            "countries that have some in common"
        )
    return {"year": year, "total": len(found), "holidays": found}


def long_breaks(country_code: str, year: int) -> Json:
    in_range("year", year, FIRST_YEAR, LAST_YEAR)
    calendar = _Calendar(country_code)
    found, end = [], None
    for on, name in calendar.year(year):
        if end is not None and on <= end:
            continue
        start = end = on
        while calendar.reason(start - _DAY) is not None and start.year == year:
            start -= _DAY
        while calendar.reason(end + _DAY) is not None and end.year == year:
            end += _DAY
        days = (end - start).days + 1
        if days >= _MIN_BREAK_DAYS and calendar.reason(on) is not None:
            found.append(
                {
                    "start_date": start.isoformat(),
                    "end_date": end.isoformat(),
                    "days": days,
                    "holiday": name,
                }
            )
    if not found:
        raise ToolFailure(f"no break of {_MIN_BREAK_DAYS} days or more in {country_code} in {year}")
    return {"country_code": country_code, "year": year, "breaks": found}


_COUNT = {
    "type": "integer",
    "minimum": 1,
    "maximum": 5,
    "default": 3,
    "description": "How many holidays to give, 1 to 5",
}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "list_holidays",
            "Public holidays of a whole country in a year, in the order of their days.",
            parameters({"country_code": COUNTRY_CODE, "year": YEAR}),
        ),
        list_holidays,
    ),
    (
        Tool(
            "list_regional_holidays",
            "Public holidays in a state, province, canton or the like in a year, those of the "
            "whole country with them. Not every subdivision has a calendar of its own.",
            parameters(
                {
                    "subdivision_code": {
                        "type": "string",
                        "description": "ISO 3166-2 code of a subdivision, such as CH-ZH",
                    },
                    "year": YEAR,
                }
            ),
        ),
        list_regional_holidays,
    ),
    (
        Tool(
            "next_holidays",
            "The next public holidays of a country on or after a day, and how far off they are.",
            parameters({"country_code": COUNTRY_CODE, "date": DATE}, {"count": _COUNT}),
        ),
        next_holidays,
    ),
    (
        Tool(
            "next_working_day",
            "The first working day after or before a day, with the weekends and holidays between.",
            parameters(
                {"country_code": COUNTRY_CODE, "date": DATE},
                {"direction": choice(_DIRECTIONS, "Which way to look", "after")},
            ),
        ),
        next_working_day,
    ),
    (
        Tool(
            "add_working_days",
            "The day that is so many working days of a country after a day.",
            parameters(
                {
                    "country_code": COUNTRY_CODE,
                    "start_date": DATE,
                    "working_days": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 250,
                        "description": "How many working days to add, 1 to 250",
                    },
                }
            ),
        ),
        add_working_days,
    ),
    (
        Tool(
            "count_working_days",
            "How many of so many days in a row, the first one included, are working days.",
            parameters(
                {
                    "country_code": COUNTRY_CODE,
                    "start_date": DATE,
                    "days": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 366,
                        "description": "Length of the span in days, 1 to 366",
                    },
                }
            ),
        ),
        count_working_days,
    ),
    (
        Tool(
            "shared_holidays",
            "Days of a year that are public holidays in both of two countries.",
            parameters(
                {"country_code_1": COUNTRY_CODE, "country_code_2": COUNTRY_CODE, "year": YEAR}
            ),
        ),
        shared_holidays,
    ),
    (
        Tool(
            "long_breaks",
            "Stretches of three or more days off in a row around the public holidays of a year.",
            parameters({"country_code": COUNTRY_CODE, "year": YEAR}),
        ),
        long_breaks,
    ),
)
