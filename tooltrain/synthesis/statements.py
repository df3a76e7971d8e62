"""How values are stated in words: the forms the grammar writes and the checker knows.

Both sides read this one table, so a value that the grammar states is found again.
"""

from __future__ import annotations

import datetime
import random
import re

from tooltrain.env.schema import number_text
from tooltrain.synthesis.frames import PHRASES
from tooltrain.synthesis.wordings import MONTHS, NUMBER_WORDS, WEEKDAYS
from tooltrain.types import Json

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_TIME = re.compile(r"(\d\d):(\d\d)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)")
_LIST = re.compile(r"\d+(,\d+)+")


def forms(value: Json) -> list[str]:
    """Ways to state a scalar in a query, the plain one first; empty for what cannot be.

    >>> forms("2024-11-05")
    ['2024-11-05', 'November 5, 2024', '5 November 2024']
    """
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return []
    if not isinstance(value, str):
        return [number_text(value)]
    if match := _DATE.fullmatch(value):
        try:
            date = datetime.date(*map(int, match.groups()))
        except ValueError:
            return [value]
        month = date.strftime("%B")
        return [value, f"{month} {date.day}, {date.year}", f"{date.day} {month} {date.year}"]
    if match := _TIME.fullmatch(value):
        hour, minute = int(match[1]), match[2]
        if minute == "00" and hour < 24:
            return [value, f"{(hour - 1) % 12 + 1} {'AM' if hour < 12 else 'PM'}"]
        return [value]
    if value in PHRASES:
        return [PHRASES[value]]
    if _LIST.fullmatch(value):
        ages = value.split(",")
        return [f"{', '.join(ages[:-1])} and {ages[-1]}", value]
    return [value] if value.strip() else []


def states(query: str, value: Json) -> bool:
    """True if the query states the value in one of its forms, as whole words."""
    return any(
        re.search(rf"(?<![\w-]){re.escape(form)}(?![\w-])", query, re.IGNORECASE)
        for form in forms(value)
    )


def is_name(value: Json) -> bool:
    """True for a value whose end a reader cannot see in a sentence, so that it is quoted."""
    return isinstance(value, str) and forms(value) == [value] and not _TIME.fullmatch(value)


# --- more forms, of the varied grammar ---------------------------------------------------

_OPAQUE_CHARS = 9  # of one word with letters and digits mixed; "E40" and "A320neo" are words
_SLUG_HYPHENS = 3
_MANY_DIGITS = 5  # of a whole number that no one says aloud: an id
_PLAIN_PLACE = re.compile(r"([A-Z]{3})\.(AIRPORT|CITY)")


def is_opaque(value: Json) -> bool:
    """True for what only a machine says: tokens, ids, keys with `::` or `=`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) >= 10**_MANY_DIGITS and value % 1_000 != 0
    if not isinstance(value, str) or _DATE.match(value) or _PLAIN_PLACE.fullmatch(value):
        return False
    if value.lstrip("+-").isdigit():
        return len(value.lstrip("+-")) > _MANY_DIGITS
    if "::" in value or "==" in value:
        return True
    return any(
        len(word) >= _OPAQUE_CHARS and _mixed(word) for word in re.split(r"[\s,/()]+", value)
    )


def _mixed(word: str) -> bool:
    if word.count("-") >= _SLUG_HYPHENS and word == word.lower():
        return True
    letters, digits = sum(c.isalpha() for c in word), sum(c.isdigit() for c in word)
    return digits >= 2 and letters >= 2 and not word[0].isdigit()


def spoken_date(date: datetime.date, rng: random.Random) -> str:
    """One of the forms in which people write a date; each states it in full."""
    month, day = MONTHS[date.month - 1], date.day
    ending = "th" if 10 <= day % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    way = rng.randrange(8)
    if way == 0:
        return date.isoformat()
    if way == 1:
        return f"{month} {day}, {date.year}"
    if way == 2:
        return f"{day} {month} {date.year}"
    if way == 3:
        return f"{month[:3]} {day}, {date.year}"
    if way == 4:
        return f"the {day}{ending} of {month} {date.year}"
    if way == 5:
        return f"{month} {day}{ending}, {date.year}"
    if way == 6:
        return f"{WEEKDAYS[date.weekday()]}, {day} {month} {date.year}"
    return f"{day} {month[:3]} {date.year}"


def spoken(value: Json, rng: random.Random) -> str | None:
    """A scalar in one of many forms that `readings` reads back; None for what has none."""
    if isinstance(value, bool) or value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, int) and 0 < value <= 12 and rng.random() < 0.4:
        return NUMBER_WORDS[value]
    if not isinstance(value, str):
        return number_text(value)
    if match := _DATE.fullmatch(value):
        try:
            return spoken_date(datetime.date(*map(int, match.groups())), rng)
        except ValueError:
            return None
    if match := _MOMENT.fullmatch(value):
        date, time = spoken(match[1], rng), spoken(match[2], rng)
        return f"{date} at {time}" if date and time else None
    if match := _TIME.fullmatch(value):
        hour, minute = int(match[1]), int(match[2])
        if hour > 23 or minute > 59:
            return None
        if value == "12:00" and rng.random() < 0.3:
            return "noon"
        twelve, half = (hour - 1) % 12 + 1, "AM" if hour < 12 else "PM"
        minutes = f":{match[2]}" if minute else ""
        return rng.choice((value, f"{twelve}{minutes} {half}", f"{twelve}{minutes}{half.lower()}"))
    if match := _PLAIN_PLACE.fullmatch(value):
        code = match[1]
        return rng.choice((f"airport {code}", f"{code} airport", f"{code}"))
    if _LIST.fullmatch(value.replace(" ", "")):
        ages = [age.strip() for age in value.split(",")]
        return f"{', '.join(ages[:-1])} and {ages[-1]}"
    if not value.strip():
        return None
    if value in PHRASES:
        return PHRASES[value]
    if "," in value or not value[0].isupper() or rng.random() < 0.35:
        return f'"{value}"' if '"' not in value else value
    return value
