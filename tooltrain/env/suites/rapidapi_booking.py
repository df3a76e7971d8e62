"""The live Booking.com endpoints that ComplexFuncBench was recorded from, on RapidAPI.

Schemas are those of the benchmark's own specification (`complexfuncbench.read_tools`), so
that what is recorded here and what is imported there are one suite. Paths: the endpoints
named in the released tool descriptions (horizon-rl/ToolOrchestrationReward,
environment/booking_api.json); host and header: RapidAPI's page of booking-com15.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

from tooltrain.env.recorder.http import HTTP, Credential, Endpoint, Parameter
from tooltrain.env.recorder.plan import (
    Field,
    Path,
    Plan,
    Rows,
    Source,
    Together,
    ToolPlan,
    Values,
)
from tooltrain.env.recorder.released import data_of
from tooltrain.env.schema import Tool
from tooltrain.errors import UserError

HOST = "booking-com15.p.rapidapi.com"
KEY_VARIABLE = "RAPID_API_KEY"  # the name that ComplexFuncBench and the release use
CITIES = (
    *("Paris", "London", "Rome", "Barcelona", "Amsterdam", "Berlin", "Vienna", "Prague"),
    *("Lisbon", "Dublin", "New York", "Los Angeles", "Chicago", "Miami", "San Francisco"),
    *("Tokyo", "Singapore", "Sydney", "Dubai", "Istanbul"),
)
_NIGHTS = (1, 2, 3, 5, 7)
_DAYS = 30

PATHS = {
    "Booking_Summary": "cars/bookingSummary",
    "Get_Attraction_Details": "attraction/getAttractionDetails",
    "Get_Availability": "attraction/getAvailability",
    "Get_Availability_Calendar": "attraction/getAvailabilityCalendar",
    "Get_Description_And_Info": "hotels/getDescriptionAndInfo",
    "Get_Filter": "hotels/getFilter",
    "Get_Flight_Details": "flights/getFlightDetails",
    "Get_Hotel_Details": "hotels/getHotelDetails",
    "Get_Hotel_Policies": "hotels/getHotelPolicies",
    "Get_Hotel_Review_Scores": "hotels/getHotelReviewScores",
    "Get_Hotel_Reviews_Tips": "hotels/getHotelReviews",
    "Get_Hotel_Reviews_Tips__Sort_Option": "hotels/getHotelReviewsSortOption",
    "Get_Min_Price": "flights/getMinPrice",
    "Get_Min_Price_Multi_Stops": "flights/getMinPriceMultiStops",
    "Get_Nearby_Cities": "hotels/getNearbyCities",
    "Get_Packages": "cars/getPackages",
    "Get_Popular_Attraction_Near_By": "hotels/getPopularAttractionNearBy",
    "Get_Question_And_Answer": "hotels/getQuestionAndAnswer",
    "Get_Room_Availability": "hotels/getAvailability",
    "Get_Room_List_With_Availability": "hotels/getRoomListWithAvailability",
    "Get_Seat_Map": "flights/getSeatMap",
    "Location_to_Lat_Long": "meta/locationToLatLong",
    "Payment_features_of_the_Hotel": "hotels/getPaymentFeatures",
    "Property_Children_Policies": "hotels/propertyChildrenPolicies",
    "Search_Attraction_Location": "attraction/searchLocation",
    "Search_Attractions": "attraction/searchAttractions",
    "Search_Car_Location": "cars/searchDestination",
    "Search_Car_Rentals": "cars/searchCarRentals",
    "Search_Flight_Location": "flights/searchDestination",
    "Search_Flights": "flights/searchFlights",
    "Search_Flights_Multi_Stops": "flights/searchFlightsMultiStops",
    "Search_Hotel_Destination": "hotels/searchDestination",
    "Search_Hotels": "hotels/searchHotels",
    "Search_Hotels_By_Coordinates": "hotels/searchHotelsByCoordinates",
    "Search_Taxi": "taxi/searchTaxi",
    "Taxi_Search_Location": "taxi/searchLocation",
    "Vehicle_Details": "cars/vehicleDetails",
    "Vehicle_Supplier_Details": "cars/vehicleSupplierDetails",
    "Vehicle_Supplier_Ratings": "cars/vehicleSupplierRatings",
    "Vehicle_Supplier_Review": "cars/vehicleSupplierReview",
}


def backend(tools: Iterable[Tool], base_url: str = f"https://{HOST}", **options: float) -> HTTP:
    """The endpoints as live tools, the key from RAPID_API_KEY. options: HTTP's.

    Raises UserError for a tool without a path, or when the key is not set.
    """
    endpoints = []
    for tool in tools:
        if tool.name not in PATHS:
            raise UserError(f"no path is known for {tool.name}; known: {', '.join(PATHS)}")
        legs = {"legs": Parameter("query", "json")} if "legs" in tool.properties else {}
        endpoints.append(Endpoint(tool, f"/api/v1/{PATHS[tool.name]}", parameters=legs))
    credentials = (Credential("X-RapidAPI-Key", KEY_VARIABLE),)
    headers = {"X-RapidAPI-Host": HOST}
    return HTTP(base_url, endpoints, credentials, headers=headers, read=data_of, **options)


def plan(
    first_day: datetime.date, seed: int = 0, *, cities: Sequence[str] = CITIES, breadth: int = 100
) -> Plan:
    """Chains of all 40 tools from city names on; about 30 x `breadth` requests.

    first_day: dates asked for are in the 30 days from it; the live API refuses past ones.
    """
    names = Values(tuple(cities))
    days = [first_day + datetime.timedelta(days=i) for i in range(_DAYS)]
    stays = tuple(
        (day.isoformat(), (day + datetime.timedelta(days=nights)).isoformat())
        for day in days
        for nights in _NIGHTS
    )
    day, times = Values(tuple(d.isoformat() for d in days)), Values(("08:00", "10:00", "15:00"))
    stay = Rows(("arrival_date", "departure_date"), stays)
    hotel = Field("Search_Hotels", ("hotels", "[]", "hotel_id"))
    hotels = (hotel, Field("Search_Hotels_By_Coordinates", ("result", "[]", "hotel_id")))
    airport = Field("Search_Flight_Location", ("[]", "id"))
    cabin = Values(("ECONOMY", "PREMIUM_ECONOMY", "BUSINESS", "FIRST"))
    slugs = (
        Field("Search_Attractions", ("products", "[]", "slug")),
        Field("Search_Attraction_Location", ("products", "[]", "productSlug")),
    )
    car = Together(
        ("search_key", "vehicle_id"),
        "Search_Car_Rentals",
        (),
        (("search_key",), ("search_results", "[]", "vehicle_id")),
    )
    destination = _pair("Search_Hotel_Destination", ("[]",), ("dest_id",), ("search_type",))
    place = ("geometry", "location")

    def tool(
        name: str,
        arguments: Mapping[str, Source | tuple[Source, ...]],
        *together: Together | Rows,
    ) -> ToolPlan:
        return ToolPlan(name, arguments, together, max_requests=breadth)

    def at(tool_name: str, latitude: Path, longitude: Path, prefix: str = "") -> Together:
        names = (f"{prefix}latitude", f"{prefix}longitude")
        return Together(names, tool_name, ("[]",), (latitude, longitude))

    car_place = (("coordinates", "latitude"), ("coordinates", "longitude"))
    look_ups = (
        *("Search_Attraction_Location", "Search_Car_Location", "Search_Flight_Location"),
        *("Search_Hotel_Destination", "Taxi_Search_Location", "Location_to_Lat_Long"),
    )
    of_hotel = (
        *("Get_Description_And_Info", "Get_Hotel_Details", "Get_Hotel_Policies"),
        *("Get_Hotel_Review_Scores", "Get_Hotel_Reviews_Tips__Sort_Option"),
        *("Get_Popular_Attraction_Near_By", "Get_Question_And_Answer"),
        *("Payment_features_of_the_Hotel", "Property_Children_Policies"),
    )
    of_car = (
        *("Booking_Summary", "Get_Packages", "Vehicle_Details", "Vehicle_Supplier_Details"),
        *("Vehicle_Supplier_Ratings", "Vehicle_Supplier_Review"),
    )
    return Plan(
        (
            *(tool(name, {"query": names}) for name in look_ups),
            *(tool(name, {"hotel_id": hotels}) for name in of_hotel),
            *(tool(name, {}, car) for name in of_car),
            tool(
                "Search_Attractions",
                {
                    "id": Field("Search_Attraction_Location", ("destinations", "[]", "id")),
                    "sortBy": Values(("trending", "attr_book_score", "lowest_price")),
                },
            ),
            tool("Get_Attraction_Details", {"slug": slugs}),
            tool("Get_Availability", {"slug": slugs, "date": day}),
            tool(
                "Get_Availability_Calendar",
                {
                    "id": (
                        Field("Search_Attractions", ("products", "[]", "id")),
                        Field("Search_Attraction_Location", ("products", "[]", "productId")),
                    )
                },
            ),
            tool("Get_Filter", {}, stay, destination),
            tool("Search_Hotels", {"adults": Values((1, 2, 3))}, stay, destination),
            tool(
                "Search_Hotels_By_Coordinates",
                {"radius": Values((10, 20, 50))},
                stay,
                at("Location_to_Lat_Long", (*place, "lat"), (*place, "lng")),
                at("Search_Hotel_Destination", ("latitude",), ("longitude",)),
            ),
            tool(
                "Get_Nearby_Cities",
                {},
                at("Location_to_Lat_Long", (*place, "lat"), (*place, "lng")),
                at("Taxi_Search_Location", ("latitude",), ("longitude",)),
            ),
            tool(
                "Get_Hotel_Reviews_Tips",
                {
                    "hotel_id": hotels,
                    "sort_option_id": Field(
                        "Get_Hotel_Reviews_Tips__Sort_Option", ("[]", "sort_option_id")
                    ),
                },
            ),
            tool("Get_Room_List_With_Availability", {"hotel_id": hotels}, stay),
            tool(
                "Get_Room_Availability", {"hotel_id": hotels}, Rows(("min_date", "max_date"), stays)
            ),
            tool(
                "Search_Flights",
                {"fromId": airport, "toId": airport, "departDate": day, "cabinClass": cabin},
            ),
            tool(
                "Get_Min_Price",
                {"fromId": airport, "toId": airport, "departDate": day, "cabinClass": cabin},
            ),
            # Their legs are objects of three values: no field of a response holds one.
            tool("Search_Flights_Multi_Stops", {"legs": _legs(days), "cabinClass": cabin}),
            tool("Get_Min_Price_Multi_Stops", {"legs": _legs(days), "cabinClass": cabin}),
            tool(
                "Get_Flight_Details",
                {
                    "token": (
                        Field("Search_Flights", ("flightOffers", "[]", "token")),
                        Field("Search_Flights_Multi_Stops", ("flightOffers", "[]", "token")),
                    )
                },
            ),
            tool(
                "Get_Seat_Map",
                {"offerToken": Field("Search_Flights", ("flightDeals", "[]", "offerToken"))},
            ),
            tool(
                "Search_Car_Rentals",
                {"pick_up_time": times, "drop_off_time": times},
                Rows(("pick_up_date", "drop_off_date"), stays),
                at("Search_Car_Location", *car_place, "pick_up_"),
                at("Search_Car_Location", *car_place, "drop_off_"),
            ),
            tool(
                "Search_Taxi",
                {
                    "pick_up_place_id": Field("Taxi_Search_Location", ("[]", "googlePlaceId")),
                    "drop_off_place_id": Field("Taxi_Search_Location", ("[]", "googlePlaceId")),
                    "pick_up_date": day,
                    "pick_up_time": times,
                },
            ),
        ),
        seed,
    )


def _pair(tool: str, element: Path, *fields: Path) -> Together:
    """Arguments called like the fields that they come from."""
    return Together(tuple(field[-1] for field in fields), tool, element, fields)


def _legs(days: Sequence[datetime.date]) -> Values:
    """Round trips over three airports, as the benchmark's own multi-stop requests are."""
    airports = ("LHR", "JFK", "HND", "SIN", "DXB", "SYD", "CDG")
    trips = []
    for i, day in enumerate(days):
        stops = [f"{airports[(i + step * 2) % len(airports)]}.AIRPORT" for step in range(3)]
        trips.append(
            [
                {
                    "fromId": stops[leg],
                    "toId": stops[(leg + 1) % 3],
                    "date": (day + datetime.timedelta(days=4 * leg)).isoformat(),
                }
                for leg in range(3)
            ]
        )
    return Values(tuple(trips))
