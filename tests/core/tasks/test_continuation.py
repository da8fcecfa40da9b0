"""The answer's tokens where its start and the end of the prompt become one token, as with SentencePiece."""

from __future__ import annotations

import pytest
from tiny.models import make_tokenizer
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from circuit_tui.core.tasks.continuation import continuation


@pytest.fixture(scope="module")
def pieces() -> PreTrainedTokenizerFast:
    """A tokenizer that prefers ``Mary'`` and ``s`` to ``Mary`` and ``'s``."""
    vocabulary = [
        *(("<unk>", 0.0), ("▁", -9.0), ("▁Mary", -2.0), ("▁Mary'", -2.1), ("s", -2.0), ("'s", -6.0), ("▁'s", -5.0)),
        *(
            ("▁She", -2.0),
            ("She", -7.0),
            ("'", -7.0),
            ("▁Mary'sShe", -1.0),
            ("▁was", -2.0),
            ("▁a", -3.0),
            ("▁b", -3.0),
            ("▁ab", -3.0),
        ),
    ]
    raw = Tokenizer(Unigram(vocabulary, unk_id=0))
    raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    raw.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")


@pytest.mark.parametrize(
    ("prompt", "answer", "expected"),
    [
        ("Mary", " was", ["▁was"]),
        # Alone it would be the piece with a leading space, which is another token.
        ("Mary", "'s", ["'s"]),
        ("Mary's", "She", ["She"]),
        ("Mary", "'sShe", ["'s", "She"]),
    ],
)
def test_the_piece_that_reads_as_it_was_written(
    pieces: PreTrainedTokenizerFast, prompt: str, answer: str, expected: list[str]
) -> None:
    found = continuation(pieces, prompt, answer)
    assert found is not None
    assert pieces.convert_ids_to_tokens(found) == expected
    head = pieces.encode(prompt, add_special_tokens=False)
    assert pieces.decode([*head, *found]) == prompt + answer


def test_where_no_piece_reads_so(pieces: PreTrainedTokenizerFast) -> None:
    """The rest of ``▁ab`` after ``▁a`` is no token; ``▁b`` would read as another word."""
    assert pieces.tokenize("ab") == ["▁ab"]
    assert pieces.tokenize("b") == ["▁b"]
    assert continuation(pieces, "a", "b") is None


def test_whole_words_are_behind_whole_words() -> None:
    words = make_tokenizer()
    assert continuation(words, "the old", " cat") == words.convert_tokens_to_ids(["cat"])
