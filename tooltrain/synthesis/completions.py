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

from tooltrain.env.recorder.secrets import Secrets
from tooltrain.errors import UserError

KEY_VARIABLE = "OPENAI_API_KEY"
_OPTIONS = {"temperature": 0.9, "max_tokens": 400}
_TIMEOUT_S = 120.0
_MAX_RETRIES = 5
Messages = Sequence[Mapping[str, str]]


class Completions:
    """A chat model behind `base_url`; the key comes from the environment only.

    Thread-safe. asked, cached: how many completions were fetched and how many were in the
    file. Raises UserError without the extra `llm`, and when the endpoint refuses or answers
    without a completion.
    """

    def __init__(self, path: str | os.PathLike[str], *, base_url: str, model: str):
        try:
            import openai
        except ImportError as error:
            raise UserError(
                "the openai client is not installed: pip install 'tooltrain[llm]'"
            ) from error
        self._failed = openai.OpenAIError
        key = os.environ.get(KEY_VARIABLE)
        self._secrets = Secrets((key,) if key else ())
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key or "none", timeout=_TIMEOUT_S, max_retries=_MAX_RETRIES
        )
        self._base_url, self._model = base_url, model
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
        asked = json.dumps([self._model, _OPTIONS, list(messages)], sort_keys=True)
        key = hashlib.sha256(asked.encode()).hexdigest()
        with self._lock:
            if key in self._texts:
                self.cached += 1
                return self._texts[key]
        text = self._asked_for(messages)
        line = json.dumps({"key": key, "model": self._model, "text": text}, ensure_ascii=False)
        with self._lock:
            self.asked += 1
            if key not in self._texts:  # another thread's answer may have come first
                self._texts[key] = text
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            return self._texts[key]

    def _asked_for(self, messages: Messages) -> str:
        try:
            answer = self._client.chat.completions.create(
                model=self._model, messages=list(messages), **_OPTIONS
            )
        except self._failed as error:
            raise self._none_came(f"{type(error).__name__}: {error}") from None
        # The client returns a body that is not JSON as text, and does not check one that is.
        choices = getattr(answer, "choices", None)
        if not choices or choices[0].message is None:
            raise self._none_came("an answer without choices")
        return choices[0].message.content or ""

    def _none_came(self, what: str) -> UserError:
        return UserError(
            self._secrets.redact(
                f"the endpoint gave no completion: {what} ({self._model} at {self._base_url}); "
                f"check the address, the model and {KEY_VARIABLE}, then run again: what was "
                f"answered is kept in {self._path}"
            )
        )
