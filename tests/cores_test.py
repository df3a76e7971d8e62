"""What test files import leaves the process that runs them as it was."""

import os

import pytest


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system pins no processes")
def test_no_import_keeps_the_tests_to_one_core(cores_at_start):
    assert os.sched_getaffinity(0) == cores_at_start
