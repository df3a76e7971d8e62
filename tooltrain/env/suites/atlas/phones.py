"""Telephone numbers: examples of a country's kinds of numbers, and what a number tells."""

from __future__ import annotations

from collections.abc import Callable

from tooltrain.env.recorder.backend import ToolFailure
from tooltrain.env.schema import Tool
from tooltrain.env.suites.atlas.arguments import COUNTRY_CODE, parameters
from tooltrain.env.suites.atlas.data import country, package
from tooltrain.types import Json

_KINDS = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "voip",
    "personal_number",
    "pager",
    "uan",
    "voicemail",
)


def phone_examples(country_code: str) -> Json:
    country(country_code)
    phonenumbers = package("phonenumbers")
    found = []
    for kind in _KINDS:
        number = phonenumbers.example_number_for_type(
            country_code, getattr(phonenumbers.PhoneNumberType, kind.upper())
        )
        if number is not None:
            text = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
            found.append({"type": kind, "number": text, "digits": len(text) - 1})
    if not found:
        raise ToolFailure(f"no numbering plan known of {country_code}")
    return {
        "country_code": country_code,
        "calling_code": str(phonenumbers.country_code_for_region(country_code)),
        "examples": found,
    }


def parse_phone_number(number: str) -> Json:
    phonenumbers = package("phonenumbers")
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException as error:
        raise ToolFailure(f"{number!r} is no number in international form: {error}") from None
    if not phonenumbers.is_valid_number(parsed):
        raise ToolFailure(f"{number!r} is not a valid number of its country")
    kinds = {
        getattr(phonenumbers.PhoneNumberType, kind.upper()): kind
        for kind in (*_KINDS, "fixed_line_or_mobile", "unknown")
    }
    form = phonenumbers.PhoneNumberFormat
    region = phonenumbers.region_code_for_number(parsed)
    zones = package("phonenumbers.timezone").time_zones_for_number(parsed)
    return {
        "country_code": region,
        "calling_code": str(parsed.country_code),
        "type": kinds[phonenumbers.number_type(parsed)],
        "national_format": phonenumbers.format_number(parsed, form.NATIONAL),
        "international_format": phonenumbers.format_number(parsed, form.INTERNATIONAL),
        "location": package("phonenumbers.geocoder").description_for_number(parsed, "en") or None,
        "timezones": sorted(zones)[:5],
    }


TOOLS: tuple[tuple[Tool, Callable[..., Json]], ...] = (
    (
        Tool(
            "phone_examples",
            "A valid example of each kind of telephone number of a country, in international "
            "form, and its calling code.",
            parameters({"country_code": COUNTRY_CODE}),
        ),
        phone_examples,
    ),
    (
        Tool(
            "parse_phone_number",
            "Country, kind, location and time zones of a telephone number, and how it is written.",
            parameters(
                {
                    "number": {
                        "type": "string",
                        "description": "Number in international form, such as +41446681800",
                    }
                }
            ),
        ),
        parse_phone_number,
    ),
)
