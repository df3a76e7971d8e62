"""Currencies: of countries, through time; amounts in words of a locale."""

from __future__ import annotations

import datetime
import decimal
import functools
from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas import locales as cldr
from tooltrain.env.suites.atlas.arguments import (
    COUNTRY_CODE,
    CURRENCY_CODE,
    LOCALE,
    in_range,
    parameters,
)
from tooltrain.env.suites.atlas.data import countries, country, package
from tooltrain.types import Json

_MAX_AMOUNT = 1e12
_SHOWN_COUNTRIES = 5
# Stands for "now", which an answer must not depend on: the day up to which currencies are listed.
_TODAY = datetime.date(2026, 1, 1)


@functools.cache
def _users() -> dict[str, list[str]]:
    """Codes of the countries that use a currency, the most populous first."""
    found: dict[str, list[str]] = {}
    for c in sorted(countries().values(), key=lambda c: (-c.population, c.code)):
        if c.currency_code:
            found.setdefault(c.currency_code, []).append(c.code)
    return found


def get_currency(currency_code: str) -> Json:
    known = package("pycountry").currencies.get(alpha_3=currency_code)
    if known is None or known.alpha_3 != currency_code:
        raise ToolFailure(f"no currency with ISO 4217 code {currency_code!r}")
    users = _users().get(currency_code, [])
    numbers = package("babel.numbers")
    return {
        "currency_code": currency_code,
        "iso_numeric": known.numeric,
        "name": known.name,
        "symbol": numbers.get_currency_symbol(currency_code, cldr.locale("en_US")),
        "decimals": numbers.get_currency_precision(currency_code),
        "total_countries": len(users),
        "used_in": [
            {
                "country_code": code,
                "name": countries()[code].name,
                "population": countries()[code].population,
            }
            for code in users[:_SHOWN_COUNTRIES]
        ],
    }


def list_currencies(country_code: str, since_year: int = 2026) -> Json:
    country(country_code)
    in_range("since_year", since_year, 1900, _TODAY.year)
    numbers = package("babel.numbers")
    found = numbers.get_territory_currencies(
        country_code,
        start_date=datetime.date(since_year, 1, 1),
        end_date=_TODAY,
        include_details=True,
    )
    if not found:
        raise ToolFailure(f"no currency known of {country_code} since {since_year}")
    return {
        "country_code": country_code,
        "currencies": [
            {
                "currency_code": row["currency"],
                "name": numbers.get_currency_name(row["currency"], locale=cldr.locale("en")),
                "from_date": row["from"].isoformat() if row["from"] else None,
                "to_date": row["to"].isoformat() if row["to"] else None,
                "in_use": row["to"] is None,
            }
            for row in sorted(found, key=lambda row: (str(row["from"]), row["currency"]))
        ],
    }


def format_amount(amount: float, currency_code: str, locale: str = "en_US") -> Json:
    in_range("amount", amount, -_MAX_AMOUNT, _MAX_AMOUNT)
    numbers = package("babel.numbers")
    if currency_code not in cldr.locale("en").currencies:
        raise ToolFailure(f"no currency with ISO 4217 code {currency_code!r}")
    exact = decimal.Decimal(repr(amount))
    spoken = cldr.locale(locale)
    return {
        "text": numbers.format_currency(exact, currency_code, locale=spoken),
        "in_words_of_currency": numbers.format_currency(
            exact, currency_code, locale=spoken, format_type="name"
        ),
        "symbol": numbers.get_currency_symbol(currency_code, spoken),
        "currency_code": currency_code,
        "locale": str(spoken),
    }


TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "get_currency",
            "Name, number, symbol and decimals of a currency, and the most populous countries "
            "that use it.",
            parameters({"currency_code": CURRENCY_CODE}),
        ),
        get_currency,
    ),
    (
        Tool(
            "list_currencies",
            "Currencies that a country has used since a year, oldest first, with their dates.",
            parameters(
                {"country_code": COUNTRY_CODE},
                {
                    "since_year": {
                        "type": "integer",
                        "minimum": 1900,
                        "maximum": _TODAY.year,
                        "default": _TODAY.year,
                        "description": "Leave out currencies that ended before this year",
                    }
                },
            ),
        ),
        list_currencies,
    ),
    (
        Tool(
            "format_amount",
            "An amount of money written as is usual in a locale, with the currency's symbol and "
            "with its name.",
            parameters(
                {
                    "amount": {"type": "number", "description": "Amount in the currency"},
                    "currency_code": CURRENCY_CODE,
                },
                {"locale": {**LOCALE, "default": "en_US"}},
            ),
        ),
        format_amount,
    ),
)
