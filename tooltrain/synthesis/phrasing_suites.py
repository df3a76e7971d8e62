"""The phrasings of each suite that the varied grammar can speak about."""

from __future__ import annotations

from collections.abc import Mapping

from tooltrain.synthesis.phrasing import Suite
from tooltrain.synthesis.phrasing_atlas import ATLAS
from tooltrain.synthesis.phrasing_booking import BOOKING

SUITES: Mapping[str, Suite] = {"atlas": ATLAS, "booking": BOOKING}
