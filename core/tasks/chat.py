"""A prompt as the user's turn of a chat, in the format that the model's tokenizer has for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.chat_date import fixed_date

BEFORE, AFTER = "before", "after"
"""The roles of the template's own tokens, in front of the prompt and behind it."""


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """The text that the model reads; `text[start:stop]` is the prompt itself."""

    text: str
    start: int
    stop: int


def render_plain(prompt: str) -> RenderedPrompt:
    """The prompt as it is."""
    return RenderedPrompt(prompt, 0, len(prompt))


def render_chat(prompt: str, tokenizer: Any, place: str) -> RenderedPrompt:
    """The prompt as a user's message, up to where the model's answer begins; `place` says where it is from.

    Raises:
        UserError: the tokenizer has no chat template, or one that changes the prompt.
    """
    if not tokenizer.chat_template:
        raise UserError("--chat: the model's tokenizer has no chat template; take a model tuned for chat")
    message = [{"role": "user", "content": prompt}]
    try:
        with fixed_date():
            text = str(tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True))
    except Exception as error:  # a template is a program of its own
        raise UserError(f"--chat: the model's chat template fails: {error}") from error
    stripped = prompt.strip()  # templates strip too
    start = text.rfind(stripped)
    if start < 0:
        raise UserError(f"--chat: {place}: the model's chat template changes the prompt {prompt!r}")
    return RenderedPrompt(text, start, start + len(stripped))
