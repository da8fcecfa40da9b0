"""Tokens as text that reads as the prompt does when it is put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def token_texts(tokenizer: Any, tokens: Sequence[int]) -> tuple[str, ...]:
    """Returns the text of each token; joined they are the tokenizer's own text of all `tokens`.

    A token alone reads otherwise in many tokenizers: SentencePiece's lose the space in front of them, those of words
    have none, and half of a character is no text. The bytes of one character are shown at its last token.
    """
    texts: list[str] = []
    before = ""
    for count in range(1, len(tokens) + 1):
        whole = str(tokenizer.decode(list(tokens[:count])))
        # An unfinished character is decoded to a replacement sign, which the next token takes back.
        shown = whole.rstrip("\ufffd") if count < len(tokens) else whole
        if not shown.startswith(before):  # a tokenizer that tidies up what it has written
            return tuple(str(tokenizer.decode([token])) for token in tokens)
        texts.append(shown[len(before) :])
        before = shown
    return tuple(texts)
