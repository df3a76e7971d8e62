"""Text <-> ids, and training a byte-level BPE whose values look the same wherever they stand.

Text from outside (a query, a tool's response, a value) can hold anything, also the spelling
of a control token: `encode` never makes a control id of it. Those come only from `Control`
parts, which the chat template writes.

Copying a value from a query or a response into a call can only be learned by a small
policy if the value has the same tokens in each place. So digits stand alone, JSON
punctuation around quotes is split from what it quotes, and a word keeps the space
before it. Measured on a probe: with an ordinary GPT-2 split a 0.7M-parameter policy
does not learn to copy at all.

    {"query": "New York", "adults": 12}
    {" · query · ": " · New ·  York · ", " · adults · ":  · 1 · 2 · }
"""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterable, Sequence

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from tooltrain.errors import UserError

PAD, START, END = "<|pad|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END, "<tools>", "</tools>", "<tool_call>", "</tool_call>")
SPECIAL += ("<tool_response>", "</tool_response>")

_SPLIT = (
    r'\}, \{"|[{\[]*"(?:: (?:[{\[]*")?|, "|[}\]]+)?|, "|[}\]]+'  # JSON around quotes
    r"|\d| ?\p{L}+(?:_+\p{L}+)*|\s|[^\s\p{L}\d]"
)


class Control(str):
    """The text of a control token, as the chat template itself writes it."""

    __slots__ = ()


class Tokenizer:
    """Text <-> ids over a `tokenizers` model.

    The model's added tokens are the control tokens (turn marks, tool tags, padding), `end`
    the one that ends a turn. A model that does not know a tag spells it as ordinary text.

    Raises UserError if `end` or `pad` is no control token of the model, or if ordinary text
    could become a control id.
    """

    def __init__(self, model: tokenizers.Tokenizer, *, end: str = END, pad: str = PAD):
        self._model = model
        added = model.get_added_tokens_decoder()
        self.control_ids = {token.content: id_ for id_, token in sorted(added.items())}
        missing = [token for token in (end, pad) if token not in self.control_ids]
        if missing:
            raise UserError(
                f"the tokenizer lacks the special tokens {missing}; it has "
                f"{list(self.control_ids)[:20]}: name the token that ends a turn and the one that "
                "pads as this tokenizer spells them"
            )
        self.pad_id = self.control_ids[pad]
        self.eos_id = self.control_ids[end]
        self._plain = _without_added_tokens(model)
        control = set(self.control_ids.values())
        for token in self.control_ids:
            if not control.isdisjoint(self.encode(token)):
                raise UserError(
                    f"this tokenizer makes a control id of the ordinary text {token!r}, so that a "
                    "tool's response could end a turn; use one whose merges do not spell it"
                )

    @property
    def vocab_size(self) -> int:
        return self._model.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Ids of text from outside; a control token spelled in it becomes ordinary ids."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def encode_parts(self, parts: Iterable[str]) -> list[int]:
        """Ids of a rendered template: `Control` parts are control ids, the rest is text.

        Text parts that touch are joined first, so what stands between two control tokens has
        the ids that it has in the whole text.
        """
        ids: list[int] = []
        text: list[str] = []
        for part in parts:
            control = self.control_ids.get(part) if isinstance(part, Control) else None
            if control is None:
                text.append(part)
                continue
            if text:
                ids += self.encode("".join(text))
                text.clear()
            ids.append(control)
        return ids + self.encode("".join(text)) if text else ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, control tokens included; bytes that are no UTF-8 become U+FFFD."""
        return self._model.decode(list(map(int, ids)), skip_special_tokens=False)

    def word_pieces(self) -> list[str]:
        """Texts of the ids that are letters alone, without a space before them: what names
        are made of, so that a made-up name exercises every piece that a real one may have."""
        control = set(self.control_ids.values())
        texts = {self.decode([i]).strip() for i in range(self.vocab_size) if i not in control}
        return sorted(text for text in texts if text.isalpha() and len(text) < 9)

    def save(self, path: str | os.PathLike[str]) -> None:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._model.save(str(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Reads a `tokenizer.json` that `train_tokenizer` made. Raises UserError when there is
        none. For a published model's see `tokenizer_files.load_tokenizer`."""
        if not pathlib.Path(path).is_file():
            raise UserError(
                f"no tokenizer at {path}; `python -m tooltrain.cli.synthesize` trains one"
            )
        return cls(tokenizers.Tokenizer.from_file(str(path)))


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE of at most `vocab_size` ids; the same texts give the same ids.

    Raises UserError if that is less than the 256 bytes and the special tokens need.
    """
    if vocab_size < 256 + len(SPECIAL):
        raise UserError(
            f"a vocabulary of {vocab_size} ids was asked for; the bytes and the special tokens "
            f"alone are {256 + len(SPECIAL)}: set config.tokenizer.vocab_size to that or more"
        )
    model = tokenizers.Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    model.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    return Tokenizer(model)


def _without_added_tokens(model: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """The same model with nothing but its merges.

    (`Tokenizer.encode_special_tokens` would leave in those that are not marked special, as
    Qwen3's `<tool_call>` and `<tool_response>`.)
    """
    described = json.loads(model.to_str())
    described["added_tokens"] = []
    described["post_processor"] = None
    return tokenizers.Tokenizer.from_str(json.dumps(described))
