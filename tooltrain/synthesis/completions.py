"""Completions of an OpenAI-compatible endpoint, each kept in a file and asked for once.

The file is JSON lines of (key, model, text), the key a digest of the model, the messages
and the sampling options; it holds no address and no secret. A run that was stopped asks
only for what the file lacks; a last line that was cut off is asked for again.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence

from tooltrain.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
Messages = Sequence[Mapping[str, str]]


class Completions:
    """A chat model behind `base_url`; the key comes from the environment only.

    Thread-safe. asked, cached: how many completions were fetched and how many were in the
    file. Raises UserError without the extra `llm`, and when the endpoint refuses.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        base_url: str,
        model: str,
        temperature: float = 0.9,
        max_tokens: int = 400,
        timeout_s: float = 120.0,
        max_retries: int = 5,
    ):
        try:
            import openai
        except ImportError as error:
            raise UserError(
                "the openai client is not installed: pip install 'tooltrain[llm]'"
            ) from error
        self._failed = openai.OpenAIError
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=os.environ.get(KEY_VARIABLE) or "none",
            timeout=timeout_s,
            max_retries=max_retries,
        )
        self._options = {"temperature": temperature, "max_tokens": max_tokens}
        self._model = model
        self._lock = threading.Lock()
        self._path = pathlib.Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._texts = self._read()
        self.asked = self.cached = 0

    def _read(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        if not self._path.exists():
            return texts
        whole = self._path.read_bytes()
        kept = whole[: whole.rfind(b"\n") + 1]
        if len(kept) < len(whole):
            os.truncate(self._path, len(kept))
        for number, line in enumerate(kept.splitlines(), 1):
            try:
                record = json.loads(line)
                texts[record["key"]] = record["text"]
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self._path}, line {number} is no kept completion ({error!r}); repair or "
                    "move the file"
                ) from error
        return texts

    def complete(self, messages: Messages) -> str:
        """The text of one answer; of equal messages always the same one."""
        asked = json.dumps([self._model, self._options, list(messages)], sort_keys=True)
        key = hashlib.sha256(asked.encode()).hexdigest()
        with self._lock:
            if key in self._texts:
                self.cached += 1
                return self._texts[key]
        try:
            answer = self._client.chat.completions.create(
                model=self._model, messages=list(messages), **self._options
            )
            text = answer.choices[0].message.content or ""
        except self._failed as error:
            raise UserError(
                f"the endpoint gave no completion: {type(error).__name__}: {error}; check the "
                f"address, the model and {KEY_VARIABLE}, then run again: what was answered is "
                f"kept in {self._path}"
            ) from error
        line = json.dumps({"key": key, "model": self._model, "text": text}, ensure_ascii=False)
        with self._lock:
            self.asked += 1
            self._texts[key] = text
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        return text
