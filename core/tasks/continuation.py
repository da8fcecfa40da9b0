"""The tokens of a text behind another."""

from __future__ import annotations

from typing import Any

_SPACE = "▁"  # how SentencePiece writes one, also in front of a text that has none


def continuation(tokenizer: Any, prompt: str, answer: str) -> list[int] | None:
    """The tokens that `answer` is behind those of `prompt`; None if there are none that read so.

    The two are tokenised together, because a tokenizer may treat the start of a text apart. Where the end of the prompt
    and the start of the answer make one token together, the answer's own tokens serve if prompt and answer, put after
    each other, still read as the whole.
    """
    head, whole = (tokenizer.encode(text, add_special_tokens=False) for text in (prompt, prompt + answer))
    if whole[: len(head)] == head:
        return list(whole[len(head) :])
    read = tokenizer.decode(whole)
    for own in (tokenizer.encode(answer, add_special_tokens=False), _glued(tokenizer, answer)):
        if own and tokenizer.decode([*head, *own]) == read:
            return list(own)
    return None


def _glued(tokenizer: Any, answer: str) -> list[int]:
    """The answer's own tokens without the space that SentencePiece puts before a text; empty where it puts none."""
    first, *rest = tokenizer.tokenize(answer) or [""]
    if answer.startswith(" ") or not first.startswith(_SPACE):
        return []
    bare = first.removeprefix(_SPACE)
    tokens = [bare, *rest] if bare else rest
    if any(token not in tokenizer.get_vocab() for token in tokens):
        return []
    return list(tokenizer.convert_tokens_to_ids(tokens))
