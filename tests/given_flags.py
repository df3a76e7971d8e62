"""Flags of a command under test, set as its command line would set them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from absl import flags
from absl.testing import flagsaver


@contextlib.contextmanager
def given(own: flags.FlagValues, **values: object) -> Iterator[None]:
    """The command's flags `own` with `values`, and as they were after it."""
    saved = flagsaver.save_flag_values(own)
    own.mark_as_parsed()
    try:
        for name, value in values.items():
            setattr(own, name, value)
        yield
    finally:
        flagsaver.restore_flag_values(saved, own)
