"""The demo's language as token ids: its vocabulary, its tokenizer, and batches of random documents.

No document starts with a prompt of the test and unseen splits of the built-in tasks: held-out prompts were never read.
"""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuit_tui.core.demo import sentences, sessions
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.builtin import lexicon

BOS, PAD, UNK = "<bos>", "<pad>", "<unk>"
BOS_ID, PAD_ID = 0, 1
DOCUMENT_LENGTH = 36
"""Tokens in a document, BOS included; longer ones are cut."""
N_QUERIES = 3
P_SESSION = 0.5
"""The share of documents that are Python sessions."""


def vocabulary() -> dict[str, int]:
    """Returns the id of every word of the language: the three special tokens, then the words in alphabetical order."""
    flat: set[str] = set()
    for value in vars(lexicon).values():
        if isinstance(value, tuple):
            for entry in value:
                flat.update(entry if isinstance(entry, tuple) else (entry,))
    flat.update(opening.lower() for opening in lexicon.OPENINGS)
    flat.update(sentences.FUNCTION_WORDS + sessions.SYMBOLS)
    return {word: index for index, word in enumerate((BOS, PAD, UNK, *sorted(flat)))}


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer with one token for each whitespace-separated word. Like GPT-2's, it adds no BOS by itself."""
    inner = Tokenizer(WordLevel(vocabulary(), unk_token=UNK))
    inner.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=PAD,
        unk_token=UNK,
        clean_up_tokenization_spaces=False,
    )


class Corpus:
    """An endless, seeded stream of documents of `DOCUMENT_LENGTH` tokens."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._ids = vocabulary()
        self._held_out = {
            tuple(prompt.split())
            for name in tasks.names()
            for pair in tasks.builtin(name).pairs
            if pair.split != "train"
            for prompt in (pair.clean, pair.corrupt)
            # greater-than has few corrupt prompts: without them no document would have the year 01.
            if not (name == "greater-than" and prompt == pair.corrupt)
        }
        self._lengths = sorted({len(prompt) for prompt in self._held_out})

    def words(self) -> list[str]:
        """Returns one document without BOS: a Python session, or sentences until the document is full."""
        while True:
            document = self._session() if self._rng.random() < P_SESSION else self._text()
            if not any(tuple(document[:length]) in self._held_out for length in self._lengths):
                return document[: DOCUMENT_LENGTH - 1]

    def _session(self) -> list[str]:
        (kind,) = self._rng.choices(list(sessions.KINDS), weights=list(sessions.KINDS.values()))
        return kind(self._rng, N_QUERIES)

    def _text(self) -> list[str]:
        document: list[str] = []
        while len(document) < DOCUMENT_LENGTH - 1:
            (kind,) = self._rng.choices(list(sentences.KINDS), weights=list(sentences.KINDS.values()))
            document += kind(self._rng)
        return document

    def batch(self, size: int) -> Tensor:
        """Returns ids `[size, DOCUMENT_LENGTH]`: each row is BOS and one document, padded on the right."""
        ids = torch.full((size, DOCUMENT_LENGTH), PAD_ID)
        ids[:, 0] = BOS_ID
        for row in range(size):
            document = [self._ids[word] for word in self.words()]
            ids[row, 1 : 1 + len(document)] = torch.tensor(document)
        return ids
