"""What the query grammar knows of the booking tools: how each is asked for in words.

`ask`: clauses that ask for the tool's result; `noun`: how its result is named when a
later call is made about it; `{argument}` stands for a stated value or, where the argument
is bound, for the noun of the call that it comes from; `{pick}` for how an element of a
list is chosen. `noun_of`: the noun where the later call takes this field (by its last
name), so that two ways to the same tool read differently. `optional`: words for
arguments that a call may leave out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Frame:
    ask: tuple[str, ...]
    noun: tuple[str, ...] = ()
    optional: Mapping[str, str] = dataclasses.field(default_factory=dict)
    noun_of: Mapping[str, str] = dataclasses.field(default_factory=dict)


# Words for enumerated values, where the value itself is not a phrase.
PHRASES: Mapping[str, str] = {
    "attr_book_score": "best rated",
    "lowest_price": "lowest price",
    "trending": "trending",
    "upsort_bh": "homes first",
    "class_descending": "most stars first",
    "class_ascending": "fewest stars first",
    "popularity": "popularity",
    "distance": "distance",
    "price": "price",
    "BEST": "best",
    "CHEAPEST": "cheapest",
    "FASTEST": "fastest",
    "ECONOMY": "economy",
    "PREMIUM_ECONOMY": "premium economy",
    "BUSINESS": "business",
    "FIRST": "first class",
    "sort_most_relevant": "most relevant",
    "sort_recent_desc": "newest first",
    "sort_score_desc": "highest score first",
}

_GUESTS = {
    "adults": ", {adults} adults",
    "room_qty": ", {room_qty} rooms",
    "children_age": ", children aged {children_age}",
}
_PRICES = {"price_min": ", at least {price_min} USD", "price_max": ", at most {price_max} USD"}
_FLIGHT = {
    "returnDate": ", returning {returnDate}",
    "adults": ", {adults} adults",
    "children": ", children aged {children}",
    "cabinClass": ", in {cabinClass}",
    "sort": ", the {sort} ones",
}
_PLACE = ("{query}{pick}",)

FRAMES: Mapping[str, Frame] = {
    "Search_Flight_Location": Frame(
        ("look up the airports of {query}", "which airports does {query} have"),
        _PLACE,
        noun_of={"name": "the airport of {query}{pick}"},
    ),
    "Search_Hotel_Destination": Frame(
        ("look up {query} as a place to stay", "is {query} a hotel destination"),
        _PLACE,
        noun_of={
            "latitude": "the hotel area {query}{pick}",
            "longitude": "the hotel area {query}{pick}",
        },
    ),
    "Search_Car_Location": Frame(
        ("find where cars are rented at {query}", "which car rental places are at {query}"), _PLACE
    ),
    "Taxi_Search_Location": Frame(
        ("find taxi stops at {query}", "where can a taxi stop at {query}"),
        _PLACE,
        noun_of={
            "latitude": "the taxi stop {query}{pick}",
            "longitude": "the taxi stop {query}{pick}",
        },
    ),
    "Search_Attraction_Location": Frame(
        ("what is there to visit in {query}", "look up sights of {query}"), _PLACE
    ),
    "Location_to_Lat_Long": Frame(
        ("what are the coordinates of {query}", "locate {query} on the map"), _PLACE
    ),
    "Search_Flights": Frame(
        (
            "find flights from {fromId} to {toId} on {departDate}",
            "I want to fly from {fromId} to {toId}, leaving {departDate}",
            "show me flights {fromId} to {toId}, departing {departDate}",
        ),
        ("the flights from {fromId} to {toId} on {departDate}",),
        _FLIGHT,
        {"name": "the airport where the flight from {fromId} to {toId} on {departDate} lands"},
    ),
    "Get_Min_Price": Frame(
        (
            "what is the lowest fare from {fromId} to {toId} on {departDate}",
            "find the minimum price of flying from {fromId} to {toId}, leaving {departDate}",
        ),
        ("the cheapest days from {fromId} to {toId} around {departDate}",),
        {"returnDate": ", returning {returnDate}", "cabinClass": ", in {cabinClass}"},
    ),
    "Search_Hotels": Frame(
        (
            "find hotels in {dest_id} from {arrival_date} to {departure_date}",
            "I need a hotel in {dest_id}, check-in {arrival_date}, check-out {departure_date}",
            "search stays in {dest_id} arriving {arrival_date} and leaving {departure_date}",
        ),
        ("{pick} hotel in {dest_id} from {arrival_date} to {departure_date}",),
        {**_GUESTS, **_PRICES, "sort_by": ", sorted by {sort_by}"}
        | {"categories_filter": ", with the filter {categories_filter}"},
    ),
    "Search_Hotels_By_Coordinates": Frame(
        (
            "find hotels around {latitude} from {arrival_date} to {departure_date}",
            "which hotels are close to {latitude}, arriving {arrival_date}, leaving "
            "{departure_date}",
        ),
        ("{pick} hotel around {latitude} from {arrival_date} to {departure_date}",),
        {"radius": ", within {radius} km", **_GUESTS, **_PRICES},
    ),
    "Get_Filter": Frame(
        (
            "which hotel filters are there for {dest_id} from {arrival_date} to {departure_date}",
            "list hotel filters in {dest_id}, {arrival_date} to {departure_date}",
        ),
        ("{pick} filter for {dest_id} from {arrival_date} to {departure_date}",),
        {**_GUESTS, "categories_filter": ", with the filter {categories_filter}"},
    ),
    "Search_Car_Rentals": Frame(
        (
            "rent a car at {pick_up_latitude} on {pick_up_date} at {pick_up_time}, back at "
            "{drop_off_latitude} on {drop_off_date} at {drop_off_time}",
            "I need a rental car from {pick_up_latitude}, {pick_up_date} {pick_up_time}, returned "
            "to {drop_off_latitude}, {drop_off_date} {drop_off_time}",
        ),
        (
            "{pick} car at {pick_up_latitude} on {pick_up_date} at {pick_up_time}, back at "
            "{drop_off_latitude} on {drop_off_date} at {drop_off_time}",
        ),
    ),
    "Search_Taxi": Frame(
        (
            "book a taxi from {pick_up_place_id} to {drop_off_place_id} on {pick_up_date} at "
            "{pick_up_time}",
            "I need a cab on {pick_up_date} at {pick_up_time}, from {pick_up_place_id} to "
            "{drop_off_place_id}",
        ),
    ),
    "Search_Attractions": Frame(
        ("list attractions in {id}", "find things to do in {id}", "which attractions has {id}"),
        ("{pick} attraction in {id}",),
        {"sortBy": ", {sortBy}"},
    ),
    "Get_Attraction_Details": Frame(
        ("tell me about {slug}", "give details of {slug}"), ("{slug}",)
    ),
    "Get_Availability": Frame(
        ("are there tickets for {slug}", "check tickets for {slug}"),
        (),
        {"date": " on {date}"},
    ),
    "Get_Availability_Calendar": Frame(
        ("on which days is {id} open", "show the calendar of {id}"), ()
    ),
    "Get_Nearby_Cities": Frame(
        ("which cities are near {latitude}", "find cities close to {latitude}"),
        ("{pick} city near {latitude}",),
    ),
    "Get_Popular_Attraction_Near_By": Frame(
        ("what is worth seeing near {hotel_id}", "list sights near {hotel_id}"),
        ("{pick} sight near {hotel_id}",),
    ),
    "Get_Hotel_Details": Frame(
        ("give details of {hotel_id}", "tell me all about {hotel_id}"), ("{hotel_id}",)
    ),
    "Get_Hotel_Policies": Frame(
        ("what are the policies of {hotel_id}", "which house rules has {hotel_id}"), ()
    ),
    "Get_Description_And_Info": Frame(
        ("describe {hotel_id}", "read me the description of {hotel_id}"), ()
    ),
    "Get_Hotel_Reviews_Tips": Frame(
        ("show guest reviews of {hotel_id}", "what do guests say about {hotel_id}"),
        (),
        {"sort_option_id": ", sorted by {sort_option_id}"},
    ),
    "Get_Hotel_Reviews_Tips__Sort_Option": Frame(
        ("how can reviews of {hotel_id} be sorted", "list review orders of {hotel_id}"),
        ("{pick} review order",),
    ),
    "Payment_features_of_the_Hotel": Frame(
        ("how can one pay at {hotel_id}", "which cards does {hotel_id} take"), ()
    ),
    "Property_Children_Policies": Frame(
        ("are children welcome at {hotel_id}", "what are the child rules of {hotel_id}"), ()
    ),
    "Get_Room_List_With_Availability": Frame(
        (
            "list free rooms of {hotel_id} from {arrival_date} to {departure_date}",
            "which rooms has {hotel_id} from {arrival_date} to {departure_date}",
        ),
        (),
        _GUESTS,
    ),
    "Get_Room_Availability": Frame(
        ("when is {hotel_id} free between {min_date} and {max_date}",),
        (),
        {"adults": ", {adults} adults", "room_qty": ", {room_qty} rooms"},
    ),
}
