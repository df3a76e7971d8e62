"""One process at a time, by the operating system's lock on an open file."""

from __future__ import annotations

import fcntl
from typing import IO


def acquire(file: IO | int) -> bool:
    """Takes the lock of an open file or descriptor, held until it is closed or the process dies;
    False while another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
