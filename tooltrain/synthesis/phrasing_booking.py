"""Phrasings of the booking tools."""

from __future__ import annotations

from collections.abc import Mapping

from tooltrain.synthesis.phrasing import Modifier, Phrasing, Suite

_FLIGHT_ORDER: Mapping[str, Modifier] = {
    "BEST": ("with the best ones first", "the best overall", "showing the best options first"),
    "CHEAPEST": ("cheapest first", "with the lowest fare first", "the cheapest ones"),
    "FASTEST": ("fastest first", "with the quickest ones on top", "the fastest ones"),
}
_CABIN: Mapping[str, Modifier] = {
    "ECONOMY": ("in economy", "in economy class", "flying economy"),
    "PREMIUM_ECONOMY": ("in premium economy", "flying premium economy"),
    "BUSINESS": ("in business class", "flying business"),
    "FIRST": ("in first class", "flying first class"),
}
_HOTEL_ORDER: Mapping[str, Modifier] = {
    "popularity": ("sorted by popularity", "the most popular first"),
    "price": ("cheapest first", "sorted by price"),
    "distance": ("sorted by distance", "closest first"),
    "upsort_bh": ("homes first", "with homes and apartments first"),
    "class_descending": ("most stars first", "by star rating from high to low"),
    "class_ascending": ("fewest stars first", "by star rating from low to high"),
}
_AREA: Mapping[str, Modifier] = {
    kind: (f"taking it as a {kind}", f"meaning the {kind}", f"by {kind}")
    for kind in ("city", "landmark", "district", "hotel", "region", "airport")
}
_STAY: tuple[Modifier, ...] = (
    (
        "from {arrival_date} to {departure_date}",
        "arriving {arrival_date} and leaving {departure_date}",
        "from {arrival_date} for {departure_date-arrival_date} night[s]",
        "with check-in on {arrival_date} and check-out on {departure_date}",
        "for {departure_date-arrival_date} night[s] from {arrival_date}",
        "between {arrival_date} and {departure_date}",
    ),
)
_GUESTS: tuple[Modifier, ...] = (
    ("for {adults} adult[s]", "with {adults} adult[s]", "sleeping {adults} adult[s]"),
    ("in {room_qty} room[s]", "with {room_qty} room[s]", "booking {room_qty} room[s]"),
    ("with children aged {children_age}", "bringing children of age {children_age}"),
)
_BUDGET: tuple[Modifier, ...] = (
    ("costing {price_min} to {price_max} dollars", "between {price_min} and {price_max} dollars"),
    ("for at least {price_min} dollars", "from {price_min} dollars up"),
    ("for at most {price_max} dollars", "within a budget of {price_max} dollars"),
)
_OF_HOTEL: tuple[Modifier, ...] = (("of {@hotel_id}", "for {@hotel_id}", "at {@hotel_id}"),)
_OF_CAR: tuple[Modifier, ...] = (("of {@vehicle_id}", "for {@vehicle_id}"),)


def _look_up(things: Modifier, elements: Modifier, **of: Modifier) -> Phrasing:
    query = ("{query}",)
    said = ("of {query}", "for {query}", "matching {query}", "in {query}", "under {query}")
    return Phrasing(things, (said, query), elements, element_of=of, place=True)


def _of_hotel(*things: str) -> Phrasing:
    return Phrasing(things, _OF_HOTEL, ("{@hotel_id}",), countable=False)


def _of_car(*things: str) -> Phrasing:
    return Phrasing(things, _OF_CAR, countable=False)


_LEGS = (
    ("for the legs {legs}", "covering {legs}", "on the route {legs}", "going {legs}"),
    ("for {adults} adult[s]", "with {adults} adult[s]"),
    ("with children aged {children}", "plus children of age {children}"),
)
_RENTAL: tuple[Modifier, ...] = (
    (
        "picked up at {@pick_up_latitude}",
        "starting from {@pick_up_latitude}",
        "with pick-up at {@pick_up_latitude}",
    ),
    (
        "returned to {@drop_off_latitude}",
        "dropped off at {@drop_off_latitude}",
        "with drop-off at {@drop_off_latitude}",
    ),
    ("picked up at latitude {=pick_up_latitude} and longitude {=pick_up_longitude}",),
    ("dropped off at latitude {=drop_off_latitude} and longitude {=drop_off_longitude}",),
    (
        "from {pick_up_date} at {pick_up_time} until {drop_off_date} at {drop_off_time}",
        "collected on {pick_up_date} at {pick_up_time} and brought back on {drop_off_date} at "
        "{drop_off_time}",
        "from {pick_up_date} at {pick_up_time} for {drop_off_date-pick_up_date} day[s], back by "
        "{drop_off_time}",
    ),
)
_AROUND: tuple[Modifier, ...] = (
    ("around {@latitude}", "close to {@latitude}", "near {@latitude}", "by {@latitude}"),
    ("around latitude {=latitude} and longitude {=longitude}", "at {=latitude}, {=longitude}"),
)

TOOLS: Mapping[str, Phrasing] = {
    # --- places -----------------------------------------------------------------------
    "Search_Flight_Location": _look_up(
        ("airports", "airports and cities to fly to", "places with an airport"),
        ("airport",),
        name=("the airport of {place}", "the airport at {place}"),
    ),
    "Search_Hotel_Destination": _look_up(
        ("places to stay", "destinations", "hotel areas", "spots to sleep"), ("destination",)
    ),
    "Search_Car_Location": _look_up(
        ("car rental places", "places that rent out cars", "rental stations"), ("rental place",)
    ),
    "Taxi_Search_Location": _look_up(
        ("taxi stops", "places where a taxi can stop", "pick-up points for taxis"), ("taxi stop",)
    ),
    "Search_Attraction_Location": _look_up(
        ("sights", "places worth a visit", "things to visit", "points of interest"), ("sight",)
    ),
    "Location_to_Lat_Long": _look_up(
        ("coordinates", "map positions", "geographical coordinates"), ("position",)
    ),
    "Get_Nearby_Cities": Phrasing(
        ("cities", "towns", "other cities", "urban areas"), _AROUND, ("city", "town")
    ),
    # --- flights ----------------------------------------------------------------------
    "Search_Flights": Phrasing(
        ("flights", "flight options", "plane tickets", "connections by air", "air tickets"),
        (
            ("from {fromId} to {toId}", "to {toId} from {fromId}", "out of {fromId} into {toId}"),
            (
                "leaving {departDate} and returning {returnDate}",
                "out on {departDate} and back on {returnDate}",
                "from {departDate} until {returnDate}",
            ),
            ("on {departDate}", "leaving {departDate}", "departing {departDate}"),
            ("for {adults} adult[s]", "with {adults} adult[s]", "seating {adults} adult[s]"),
            ("with children aged {children}", "plus children of age {children}"),
        ),
        ("flight", "connection", "flight option"),
        element_of={
            "name": (
                "the airport where {pick} flight lands",
                "the arrival airport of {pick} flight",
            )
        },
        choices={"sort": _FLIGHT_ORDER, "cabinClass": _CABIN},
    ),
    "Search_Flights_Multi_Stops": Phrasing(
        ("flights with several stops", "multi-city flights", "flights leg by leg"),
        _LEGS,
        ("itinerary", "multi-city flight"),
        choices={"sort": _FLIGHT_ORDER, "cabinClass": _CABIN},
    ),
    "Get_Min_Price": Phrasing(
        ("lowest fares", "minimum prices of a flight", "cheapest fares by day", "price minimums"),
        (
            ("from {fromId} to {toId}", "to {toId} from {fromId}", "out of {fromId} into {toId}"),
            (
                "leaving {departDate} and returning {returnDate}",
                "out on {departDate} and back on {returnDate}",
            ),
            ("around {departDate}", "leaving {departDate}", "departing {departDate}"),
        ),
        ("day",),
        choices={"cabinClass": _CABIN},
    ),
    "Get_Min_Price_Multi_Stops": Phrasing(
        ("lowest fares", "minimum prices", "cheapest fares leg by leg"),
        _LEGS[:1],
        ("itinerary",),
        choices={"cabinClass": _CABIN},
    ),
    "Get_Flight_Details": Phrasing(
        ("full details", "particulars", "times and terms", "flight details"),
        (("of {@token}", "for {@token}", "about {@token}"),),
        ("{@token}",),
        countable=False,
    ),
    "Get_Seat_Map": Phrasing(
        ("seats", "free seats on the plan", "seat positions", "seating options"),
        (("of {@offerToken}", "on {@offerToken}", "aboard {@offerToken}"),),
    ),
    # --- hotels -----------------------------------------------------------------------
    "Search_Hotels": Phrasing(
        ("hotels", "places to stay", "rooms for the night", "lodgings", "hotel offers"),
        (
            ("in {@dest_id}", "around {@dest_id}", "at {@dest_id}", "for {@dest_id}"),
            *_STAY,
            *_GUESTS,
            *_BUDGET,
            ("under the filter {@categories_filter}", "narrowed by {@categories_filter}"),
        ),
        ("hotel", "place to stay", "hotel on the list"),
        choices={"sort_by": _HOTEL_ORDER, "search_type": _AREA},
    ),
    "Search_Hotels_By_Coordinates": Phrasing(
        ("hotels", "places to stay", "lodgings", "hotel offers nearby"),
        (
            *_AROUND,
            *_STAY,
            ("within {radius} kilometres", "at most {radius} km away", "in a {radius} km radius"),
            *_GUESTS,
            *_BUDGET,
        ),
        ("hotel", "place to stay", "hotel on the list"),
    ),
    "Get_Filter": Phrasing(
        ("hotel filters", "ways to narrow down hotels", "filters for hotels"),
        (
            ("in {@dest_id}", "for {@dest_id}", "at {@dest_id}"),
            *_STAY,
            *_GUESTS,
            ("under the filter {@categories_filter}", "narrowed by {@categories_filter}"),
        ),
        ("filter", "hotel filter"),
        choices={"search_type": _AREA},
    ),
    "Get_Hotel_Details": _of_hotel("full details", "main facts", "complete particulars"),
    "Get_Hotel_Policies": _of_hotel("house rules", "policies", "check-in rules"),
    "Get_Description_And_Info": _of_hotel("descriptions", "written descriptions"),
    "Get_Hotel_Review_Scores": _of_hotel("review scores", "ratings by topic", "score details"),
    "Get_Question_And_Answer": _of_hotel("questions and answers", "answers to guest questions"),
    "Payment_features_of_the_Hotel": _of_hotel("ways to pay", "accepted cards", "payment options"),
    "Property_Children_Policies": _of_hotel("rules about children", "child policies"),
    "Get_Hotel_Reviews_Tips": Phrasing(
        ("guest reviews", "reviews by guests", "opinions of past guests"),
        (*_OF_HOTEL, ("in {@sort_option_id}", "using {@sort_option_id}")),
        countable=False,
        choices={
            "sort_option_id": {
                "sort_most_relevant": ("most relevant first", "sorted by relevance"),
                "sort_recent_desc": ("newest first", "the most recent first", "latest first"),
                "sort_score_desc": ("highest score first", "with the best scores first"),
                "sort_score_asc": ("lowest score first", "with the worst scores first"),
            }
        },
    ),
    "Get_Hotel_Reviews_Tips__Sort_Option": Phrasing(
        ("review orders", "ways to sort the reviews", "orders for guest reviews"),
        _OF_HOTEL,
        ("review order",),
    ),
    "Get_Popular_Attraction_Near_By": Phrasing(
        ("sights", "popular sights", "things worth seeing", "landmarks"),
        (("near {@hotel_id}", "close to {@hotel_id}", "around {@hotel_id}"),),
        ("sight", "landmark"),
    ),
    "Get_Room_List_With_Availability": Phrasing(
        ("free rooms", "rooms still available", "bookable rooms", "vacant rooms"),
        (*_STAY, *_GUESTS, ("in {@hotel_id}", "at {@hotel_id}", "of {@hotel_id}")),
        ("room",),
    ),
    "Get_Room_Availability": Phrasing(
        ("free days", "days with vacancies", "dates with free rooms"),
        (
            (
                "between {min_date} and {max_date}",
                "from {min_date} to {max_date}",
                "no earlier than {min_date} and no later than {max_date}",
            ),
            *_GUESTS[:2],
            ("at {@hotel_id}", "of {@hotel_id}", "in {@hotel_id}"),
        ),
    ),
    # --- cars and taxis ---------------------------------------------------------------
    "Search_Car_Rentals": Phrasing(
        ("rental cars", "cars for hire", "car hire offers", "cars to rent"),
        _RENTAL,
        ("car", "rental car", "car on offer"),
    ),
    "Booking_Summary": _of_car("booking summaries", "summaries of the booking"),
    "Get_Packages": _of_car("insurance packages", "cover packages", "packages on offer"),
    "Vehicle_Details": _of_car("vehicle details", "technical details", "full particulars"),
    "Vehicle_Supplier_Details": _of_car("details of the supplier", "facts on the rental company"),
    "Vehicle_Supplier_Ratings": _of_car("ratings of the supplier", "rental company's ratings"),
    "Vehicle_Supplier_Review": _of_car("reviews of the supplier", "rental company's reviews"),
    "Search_Taxi": Phrasing(
        ("taxis", "cabs", "taxi rides", "taxi offers", "rides by taxi"),
        (
            (
                "from {@pick_up_place_id} to {@drop_off_place_id}",
                "to {@drop_off_place_id} from {@pick_up_place_id}",
                "taking me from {@pick_up_place_id} to {@drop_off_place_id}",
            ),
            (
                "on {pick_up_date} at {pick_up_time}",
                "leaving at {pick_up_time} on {pick_up_date}",
                "for {pick_up_date} at {pick_up_time}",
            ),
        ),
        ("taxi", "ride"),
    ),
    # --- attractions ------------------------------------------------------------------
    "Search_Attractions": Phrasing(
        ("attractions", "things to do", "activities", "tours and activities", "outings"),
        (("in {@id}", "around {@id}", "for {@id}", "at {@id}"),),
        ("attraction", "activity", "outing"),
        choices={
            "sortBy": {
                "trending": ("trending first", "with the trending ones on top", "now trending"),
                "attr_book_score": ("best rated first", "sorted by rating", "top rated first"),
                "lowest_price": ("cheapest first", "sorted by price", "lowest priced first"),
            }
        },
    ),
    "Get_Attraction_Details": Phrasing(
        ("details", "full details", "particulars", "practical facts"),
        (("of {@slug}", "about {@slug}", "on {@slug}", "for {@slug}"),),
        ("{@slug}",),
        countable=False,
    ),
    "Get_Availability": Phrasing(
        ("tickets", "free places", "bookable tickets", "admission slots"),
        (("on {date}", "for {date}"), ("for {@slug}", "to {@slug}", "at {@slug}")),
        ("ticket",),
    ),
    "Get_Availability_Calendar": Phrasing(
        ("open days", "days with admission", "calendar days", "bookable days"),
        (("of {@id}", "for {@id}", "at {@id}"),),
    ),
}

_CONTEXTS = (
    (
        *("I'm planning", "I am organising", "We are preparing", "I'm putting together"),
        *("I've started to plan", "We're thinking about", "I have to arrange", "We want to book"),
        *("My partner and I are planning", "I'm helping my parents with", "I'm sorting out"),
        *("Our group is planning", "My manager asked me to arrange", "Our club is preparing"),
    ),
    (
        *(" a trip", " a holiday", " a journey", " a getaway", " a short break", " a tour"),
        *(" a long journey", " a vacation", " a quick visit", " a well-earned break"),
        *(" a relaxed holiday", " an outing", " a stay away from home", " a reunion"),
    ),
    (
        *("", " with my family", " with friends", " with colleagues", " for work", " on my own"),
        *(" for our anniversary", " with my sister", " for a wedding", " for a conference"),
        *(" to celebrate a birthday", " after a busy season", " with a few old friends"),
    ),
    (
        *(".", " and need some help.", ", so I have a request.", " and want to get it right."),
        *(", and I could use a hand.", " and there are still things to sort out.", ", roughly."),
        *(" and would rather not do it all myself.", ", as usual in a hurry."),
    ),
)

BOOKING = Suite(TOOLS, _CONTEXTS)
