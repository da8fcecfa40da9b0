"""Tokens as text: put together they read as the tokenizer writes them, whatever kind of tokenizer it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from circuit_tui.core import demo
from circuit_tui.core.tasks.token_text import token_texts


def byte_level() -> Any:
    """Every byte is a token, and so is " the": half of a character is a token of its own."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate([*alphabet, "Ġt", "he", "Ġthe"])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ġ", "t"), ("h", "e"), ("Ġt", "he")]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner)


def sentence_piece() -> Any:
    """Words begin with a sign for the space, which a token alone loses."""
    vocabulary = {
        piece: number for number, piece in enumerate(["<unk>", "▁the", "▁key", "s", "▁", "k", "e", "y", "t", "h"])
    }
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")


BYTES, PIECES, WORDS = byte_level(), sentence_piece(), AutoTokenizer.from_pretrained(demo.model_dir())


@given(st.text(min_size=1, max_size=12))
def test_bytes_join_to_the_text(text: str) -> None:
    ids = BYTES(text).input_ids
    texts = token_texts(BYTES, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == BYTES.decode(ids) == text


@given(st.lists(st.integers(0, 258), min_size=1, max_size=8))
def test_any_bytes_join_to_what_the_tokenizer_says(ids: list[int]) -> None:
    texts = token_texts(BYTES, ids)
    assert len(texts) == len(ids)
    assert "".join(texts) == BYTES.decode(ids)


def test_subwords_keep_the_space_in_front_of_their_word() -> None:
    assert token_texts(PIECES, [1, 2, 3, 1]) == ("the", " key", "s", " the")
    assert token_texts(BYTES, BYTES("see the é").input_ids)[3:] == (" the", " ", "", "é")


@pytest.mark.parametrize("tokenizer", [PIECES, WORDS])
def test_joined_they_are_the_tokenizers_own_text(tokenizer: Any) -> None:
    ids = list(range(1, min(40, len(tokenizer))))
    assert "".join(token_texts(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_tokenizer_that_tidies_up_shows_its_tokens_alone() -> None:
    class Tidy:
        def decode(self, tokens: list[int]) -> str:
            return " ".join(str(token) for token in tokens).replace(" 9", "9!")

    class Odd:
        def decode(self, tokens: list[int]) -> str:
            return str(len(tokens))

    assert token_texts(Tidy(), [1, 9]) == ("1", "9!")
    assert token_texts(Odd(), [4, 5]) == ("1", "1")
