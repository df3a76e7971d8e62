"""How values are stated in words: the forms the grammar writes and the checker knows.

Both sides read this one table, so a value that the grammar states is found again.
"""

from __future__ import annotations

import datetime
import re

from tooltrain.env.schema import number_text
from tooltrain.synthesis.frames import PHRASES
from tooltrain.types import Json

_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_TIME = re.compile(r"(\d\d):(\d\d)")
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
