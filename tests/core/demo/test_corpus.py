"""The language that the demo is trained on: seeded, within its vocabulary, correct, and without held-out prompts."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from circuit_tui.core.demo import sentences, sessions
from circuit_tui.core.demo.corpus import BOS_ID, DOCUMENT_LENGTH, PAD_ID, Corpus, vocabulary
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.builtin import lexicon


def test_a_seed_gives_the_same_documents_and_another_seed_others() -> None:
    first, again, other = Corpus(3).batch(50), Corpus(3).batch(50), Corpus(4).batch(50)
    assert first.equal(again)
    assert not first.equal(other)


def test_batches_start_with_bos_and_know_every_word() -> None:
    ids = Corpus(0).batch(500)
    assert ids.shape == (500, DOCUMENT_LENGTH)
    assert (ids[:, 0] == BOS_ID).all()
    assert not (ids[:, 1:] == BOS_ID).any()
    assert vocabulary()["<unk>"] not in ids
    # Padding only at the end.
    padded = (ids == PAD_ID).int()
    assert (padded.diff(dim=1) >= 0).all()


def test_the_language_uses_its_whole_vocabulary() -> None:
    assert len(Corpus(0).batch(20_000).unique()) == len(vocabulary()) - 1  # all but <unk>


def test_no_held_out_prompt_starts_a_document() -> None:
    held_out = {pair.clean for name in tasks.DEMO_TASKS for pair in tasks.builtin(name).pairs if pair.split != "train"}
    corpus = Corpus(1)
    for _ in range(20_000):
        words = corpus.words()
        assert not any(" ".join(words[:length]) in held_out for length in range(4, 22))


@pytest.mark.parametrize("kind", sessions.KINDS)
def test_python_agrees_with_every_session(kind: object) -> None:
    rng = random.Random(0)
    for _ in range(300):
        statement, *queries = [part.split() for part in " ".join(kind(rng, 3)).split(">>>")[1:]]  # type: ignore[operator]
        scope: dict[str, object] = {}
        exec(" ".join(statement), scope)
        for *query, printed in queries:
            try:
                expected = str(eval(" ".join(query).removeprefix("print"), scope))
            except LookupError:
                expected = lexicon.TRACEBACK
            assert printed == expected


def test_agreement_years_and_gender_hold() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        year = [word for word in sentences.years(rng) if word.isdigit()]
        assert int(year[1]) < int(year[3])
        words = sentences.pronoun(rng)
        name = next(word for word in words if word in lexicon.NAMES)
        assert ("she" in words) == (name in lexicon.WOMEN)
        words = sentences.prepositional_phrase(rng)
        verb = next(word for word in words if any(word in pair for pair in lexicon.VERBS))
        subject = next(word for word in words if any(word in pair for pair in lexicon.NOUNS))
        assert verb in {pair[subject.endswith("s")] for pair in lexicon.VERBS}


def test_receivers_are_mostly_the_one_named_once() -> None:
    rng, right = random.Random(0), Counter[bool]()
    for _ in range(1000):
        names = [word for word in sentences.gift(rng) if word in lexicon.NAMES]
        if names[2] in names[:2]:
            right[names[3] == names[1 - names.index(names[2])]] += 1
    assert right[True] > 0
    assert right[False] == 0
