"""The tokens of an answer behind a prompt."""

from __future__ import annotations

from typing import Any

_SPACE = "▁"  # how SentencePiece writes one; it also puts one before a text that has none


def continuation(tokenizer: Any, prompt: str, answer: str) -> list[int] | None:
    """The tokens that `answer` becomes behind those of `prompt`; None if no tokens read so.

    The two are tokenised together, because a tokenizer may treat the start of a text in its own way. Where the end of
    the prompt and the start of the answer become one token, the tokens of the answer alone are taken, provided that
    behind those of the prompt they still read as the whole text.
    """
    head, whole = (tokenizer.encode(text, add_special_tokens=False) for text in (prompt, prompt + answer))
    if whole[: len(head)] == head:
        return list(whole[len(head) :])
    text = tokenizer.decode(whole)
    for alone in (tokenizer.encode(answer, add_special_tokens=False), _without_leading_space(tokenizer, answer)):
        if alone and tokenizer.decode([*head, *alone]) == text:
            return list(alone)
    return None


def _without_leading_space(tokenizer: Any, answer: str) -> list[int]:
    """The answer's tokens without the space that SentencePiece puts before a text; empty where it puts none."""
    first, *rest = tokenizer.tokenize(answer) or [""]
    if answer.startswith(" ") or not first.startswith(_SPACE):
        return []
    bare = first.removeprefix(_SPACE)
    tokens = [bare, *rest] if bare else rest
    if any(token not in tokenizer.get_vocab() for token in tokens):
        return []
    return list(tokenizer.convert_tokens_to_ids(tokens))
