"""Frames name only tools and arguments that the recorded suite has."""

from __future__ import annotations

import re

from tooltrain.synthesis.frames import FRAMES


def test_frames_fit_the_recorded_tools(booking_environment):
    for name, frame in FRAMES.items():
        assert name in booking_environment.tools
        words = [*frame.ask, *frame.noun, *frame.noun_of.values(), *frame.optional.values()]
        named = {field for text in words for field in re.findall(r"\{(\w+)\}", text)} - {"pick"}
        assert named | frame.optional.keys() <= booking_environment.tools[name].properties.keys()
