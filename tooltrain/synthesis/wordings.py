"""Words for values: the one table that the grammar writes from and the checker reads by.

Only data and its inverse; `statements` writes with it, `readings` reads with it.
"""

from __future__ import annotations

from collections.abc import Mapping

NUMBER_WORDS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
TENS: Mapping[str, int] = {
    **{"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50},
    **{"sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90},
}
ORDINALS: tuple[str, ...] = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth"),
    "tenth",
)
MONTHS: tuple[str, ...] = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
WEEKDAYS: tuple[str, ...] = (
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)

# Further words for enumerated values than `frames.PHRASES` and the value's own spelling.
WORDINGS: Mapping[str, tuple[str, ...]] = {
    "attr_book_score": ("top rated", "highest rated", "best-rated", "by rating", "best reviewed"),
    "lowest_price": ("lowest priced", "cheapest", "cheapest first", "by price", "least expensive"),
    "trending": ("trending", "most popular", "in vogue right now", "popular right now"),
    "popularity": ("by popularity", "most popular", "popular"),
    "distance": ("by distance", "closest first", "nearest first", "closest", "nearest"),
    "price": ("by price", "cheapest first", "lowest price", "cheapest"),
    "upsort_bh": ("homes first", "homes and apartments first"),
    "class_descending": ("most stars first", "star rating from high to low"),
    "class_ascending": ("fewest stars first", "star rating from low to high"),
    "BEST": ("best", "best overall"),
    "CHEAPEST": ("cheapest", "least expensive", "lowest price", "lowest fare"),
    "FASTEST": ("fastest", "quickest", "shortest travel time"),
    "ECONOMY": ("economy", "economy class", "coach"),
    "PREMIUM_ECONOMY": ("premium economy", "premium economy class"),
    "BUSINESS": ("business", "business class"),
    "FIRST": ("first class",),
    "sort_most_relevant": ("most relevant", "most relevant first", "by relevance"),
    "sort_recent_desc": ("newest first", "most recent first", "latest first", "most recent"),
    "sort_score_desc": ("highest score first", "best scores first", "highest scores first"),
    **{"AF": ("africa",), "AN": ("antarctica",), "AS": ("asia",), "EU": ("europe",)},
    **{"NA": ("north america",), "OC": ("oceania",), "SA": ("south america",)},
    "sort_score_asc": ("lowest score first", "worst scores first"),
}

# How a person says that an element has the least or the greatest of a field: by what the
# field's name holds. The first words are for the least value.
SUPERLATIVES: tuple[tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    (("price", "amount", "fare", "cost", "fee"), ("cheapest",), ("most expensive", "priciest")),
    (("rating", "score", "average", "stars"), ("worst rated",), ("best rated", "highest rated")),
    (("distance", "km", "miles"), ("nearest", "closest"), ("farthest", "most distant")),
    (("duration", "minutes", "hours"), ("shortest", "quickest"), ("longest",)),
    (("population", "inhabitants"), ("least populous",), ("most populous", "largest")),
    (("reviews", "total", "count"), ("least reviewed",), ("most reviewed",)),
    (("elevation", "altitude"), ("lowest lying",), ("highest lying",)),
)


def superlatives(field: str, greatest: bool) -> tuple[str, ...]:
    """Words for the element with the least (or greatest) value of `field`.

    >>> superlatives("publicAmount", False)
    ('cheapest',)
    """
    low = field.lower()
    for parts, least, most in SUPERLATIVES:
        if any(part in low for part in parts):
            return most if greatest else least
    name = spaced(field)
    return (f"highest {name}", f"greatest {name}") if greatest else (f"lowest {name}",)


def spaced(name: str) -> str:
    """The words of an identifier: camel case and underscores taken apart.

    >>> spaced("publicAmount"), spaced("PREMIUM_ECONOMY")
    ('public amount', 'premium economy')
    """
    words: list[str] = []
    start = 0
    for i in range(1, len(name) + 1):
        at_end = i == len(name)
        if at_end or name[i] in "_-. " or (name[i].isupper() and name[i - 1].islower()):
            if piece := name[start:i].strip("_-. "):
                words.append(piece)
            start = i
    return " ".join(words).lower()
