"""The first two calls of a booking chain, as several tests want them."""

from tooltrain.types import Binding, GoldCall

# A place in Rome, and the hotels there for two adults.
SEARCHED = (
    GoldCall("Search_Hotel_Destination", {"query": "Rome"}),
    GoldCall(
        "Search_Hotels",
        {
            "dest_id": -126693,
            "search_type": "city",
            "arrival_date": "2024-11-10",
            "departure_date": "2024-11-13",
            "adults": 2,
        },
        (0,),
        (
            Binding("dest_id", 0, ("data", 0, "dest_id"), "first"),
            Binding("search_type", 0, ("data", 0, "search_type"), "first"),
        ),
    ),
)
