"""Languages of countries, names of things in a language, dates and numbers of a locale."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas import locales as cldr
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    CURRENCY_CODE,
    DATE,
    LOCALE,
    choice,
    day,
    in_range,
    limit,
    one_of,
    parameters,
)
from tooltrain.env.suites.atlas.data import countries, country, package
from tooltrain.types import Json

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STYLES = ("short", "medium", "long", "full")
_SCOPES = {"I": "individual", "M": "macrolanguage", "S": "special"}
_TYPES = {
    "A": "ancient",
    "C": "constructed",
    "E": "extinct",
    "H": "historical",
    "L": "living",
    "S": "special",
}


@functools.cache
def _speakers() -> dict[str, list[tuple[float, str, str | None]]]:
    """(share of the inhabitants, country, status) of each language, most people first."""
    about = package("babel.languages").get_territory_language_info
    found: dict[str, list[tuple[float, str, str | None]]] = {}
    for code in countries():
        for language, row in (about(code) or {}).items():
            entry = (row["population_percent"], code, row["official_status"])
            found.setdefault(language, []).append(entry)
    for entries in found.values():
        entries.sort(key=lambda e: (-e[0] * countries()[e[1]].population, e[1]))
    return found


def list_languages(country_code: str, limit: int = 5) -> Json:
    country(country_code)
    in_range("limit", limit, 1, 10)
    about = package("babel.languages").get_territory_language_info(country_code)
    if not about:
        raise ToolFailure(f"no languages known of {country_code}")
    english = cldr.locale("en")
    found = sorted(about.items(), key=lambda item: (-item[1]["population_percent"], item[0]))
    return {
        "country_code": country_code,
        "total": len(found),
        "languages": [
            {
                "language_code": code,
                "name": english.languages.get(code.partition("_")[0], code),
                "population_percent": row["population_percent"],
                "official_status": row["official_status"],
                "locale": _locale(code, country_code),
            }
            for code, row in found[:limit]
        ],
    }


def _locale(language: str, country_code: str) -> str | None:
    """The locale of a language in a country, None when CLDR has none."""
    locale = f"{language}_{country_code}"
    return locale if locale in cldr.known_locales() else None


def get_language(language_code: str) -> Json:
    base = language_code.partition("_")[0]
    languages = package("pycountry").languages
    known = languages.get(**{"alpha_2" if len(base) == 2 else "alpha_3": base})
    if known is None or (language_code != base and language_code not in _speakers()):
        raise ToolFailure(f"no language with ISO 639 code {language_code!r}")
    native = None
    if language_code in cldr.known_locales():
        native = cldr.locale(language_code).get_display_name(cldr.locale(language_code))
    speakers = _speakers().get(language_code, [])
    return {
        "language_code": language_code,
        "iso639_3": known.alpha_3,
        "name": known.name,
        "native_name": native,
        "scope": _SCOPES[known.scope],
        "type": _TYPES[known.type],
        "total_countries": len(speakers),
        "spoken_in": [
            {
                "country_code": code,
                "name": countries()[code].name,
                "population_percent": share,
                "official_status": status,
            }
            for share, code, status in speakers[:5]
        ],
    }


def translate_country(country_code: str, locale: str) -> Json:
    country(country_code)
    return {"country_code": country_code, **_translated("territories", country_code, locale)}


def translate_language(language_code: str, locale: str) -> Json:
    return {"language_code": language_code, **_translated("languages", language_code, locale)}


def translate_currency(currency_code: str, locale: str) -> Json:
    return {"currency_code": currency_code, **_translated("currencies", currency_code, locale)}


def _translated(kind: str, code: str, locale: str) -> dict[str, Json]:
    """Name of a code in a locale's language and in English, by CLDR."""
    there = cldr.locale(locale)
    english, local = (getattr(of, kind) for of in (cldr.locale("en"), there))
    if code not in english:
        raise ToolFailure(f"CLDR knows no {code!r} among the {kind}")
    if code not in local:
        raise ToolFailure(f"CLDR has no name of {code} in {locale}")
    return {"name": local[code], "english_name": english[code], "locale": str(there)}


def get_locale(locale: str) -> Json:
    found = cldr.locale(locale)
    numbers, dates = package("babel.numbers"), package("babel.dates")
    return {
        "locale": str(found),
        "english_name": found.get_display_name(cldr.locale("en")),
        "native_name": found.get_display_name(found),
        "language_code": found.language,
        "script_code": found.script,
        "country_code": found.territory,
        "text_direction": {"ltr": "left to right", "rtl": "right to left"}[found.text_direction],
        "decimal_symbol": numbers.get_decimal_symbol(found),
        "group_symbol": numbers.get_group_symbol(found),
        "first_day_of_week": _WEEKDAYS[found.first_week_day],
        "date_pattern": dates.get_date_format("short", found).pattern,
        "time_pattern": dates.get_time_format("short", found).pattern,
    }


def format_date(date: str, locale: str, style: str = "long") -> Json:
    on, there = day("date", date), cldr.locale(locale)
    one_of("style", style, _STYLES)
    dates = package("babel.dates")
    return {
        "text": dates.format_date(on, style, there),
        "weekday": dates.format_date(on, "EEEE", there),
        "month": dates.format_date(on, "LLLL", there),
        "week_of_year": int(dates.format_date(on, "w", there)),
        "day_of_year": on.timetuple().tm_yday,
    }


_LANGUAGE_CODE = {"type": "string", "description": "ISO 639 code of a language, such as de or gsw"}

TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "list_languages",
            "Languages spoken in a country, the most spoken first, with the share of the "
            "inhabitants, official status and CLDR locale.",
            parameters({"country_code": COUNTRY_CODE}, {"limit": limit(5, 10, "languages")}),
        ),
        list_languages,
    ),
    (
        Tool(
            "get_language",
            "ISO 639 names and kind of a language, and the countries with most of its speakers.",
            parameters({"language_code": _LANGUAGE_CODE}),
        ),
        get_language,
    ),
    (
        Tool(
            "translate_country",
            "Name of a country in the language of a locale.",
            parameters({"country_code": COUNTRY_CODE, "locale": LOCALE}),
        ),
        translate_country,
    ),
    (
        Tool(
            "translate_language",
            "Name of a language in the language of a locale.",
            parameters({"language_code": _LANGUAGE_CODE, "locale": LOCALE}),
        ),
        translate_language,
    ),
    (
        Tool(
            "translate_currency",
            "Name of a currency in the language of a locale.",
            parameters({"currency_code": CURRENCY_CODE, "locale": LOCALE}),
        ),
        translate_currency,
    ),
    (
        Tool(
            "get_locale",
            "How a locale writes: direction, decimal and group symbols, patterns of date and "
            "time, first day of the week.",
            parameters({"locale": LOCALE}),
        ),
        get_locale,
    ),
    (
        Tool(
            "format_date",
            "A day written as is usual in a locale, with the local names of weekday and month.",
            parameters(
                {"date": DATE, "locale": LOCALE},
                {"style": choice(_STYLES, "How much to write out", "long")},
            ),
        ),
        format_date,
    ),
)
