"""A model made by hand, whose circuit is known.

Head 0.0 copies what the subject is from the first word to the second, head 1.0 moves it from there to the third, where
the answer reads it. Head 0.1 attends as 0.0 does and writes nothing; head 1.1 writes nothing either.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from sae_lens.saes.sae import SAEMetadata
from sae_lens.saes.standard_sae import StandardSAE, StandardSAEConfig

from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Pair, Task
from tiny.models import NOUNS, SPECIAL, VOCAB, WORDS, make_tokenizer
from tiny.models_with_saes import CPU, TinyModel
from tiny.problems import open_problem

# Each thing the stream can hold is a pair of dimensions with opposite signs: LayerNorm's mean is 0 throughout.
SUBJECT, FIRST, SECOND, THIRD, MOVED, ARRIVED, BOS, FILLER = range(8)
WIDTH, HEADS = 16, 2
LOUD = 9.0  # a product of query and key that leaves nothing to other tokens


def vector(thing: int, size: float = 1.0) -> torch.Tensor:
    direction = torch.zeros(WIDTH)
    direction[2 * thing], direction[2 * thing + 1] = size, -size
    return direction


def reader(thing: int) -> torch.Tensor:
    return vector(thing) / 2


def planted_model() -> transformers.GPT2LMHeadModel:
    config = transformers.GPT2Config(
        n_embd=WIDTH, n_layer=2, n_head=HEADS, n_inner=4, n_positions=8, vocab_size=VOCAB, tie_word_embeddings=False,
        bos_token_id=0, eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    for name, parameter in model.named_parameters():
        parameter.data.fill_(1.0 if "ln" in name and name.endswith("weight") else 0.0)
    embed = model.transformer.wte.weight.data
    tokens = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    embed[:] = vector(FILLER, 6.0)  # so large that what heads write hardly moves the scale of a norm
    embed[tokens["<bos>"]] += vector(BOS, 2.0)
    for number, noun in enumerate(NOUNS):
        embed[tokens[noun]] += vector(FIRST, 2.0) + vector(SUBJECT, 1.0 if number % 2 else -1.0)
    embed[tokens["near"]] += vector(SECOND, 2.0)
    embed[tokens["now"]] += vector(THIRD, 2.0)
    move(model, 0, 0, SECOND, FIRST, SUBJECT, MOVED)
    move(model, 0, 1, SECOND, FIRST, SUBJECT, None)
    move(model, 1, 0, THIRD, SECOND, MOVED, ARRIVED)
    model.lm_head.weight.data[tokens["runs"]] = vector(ARRIVED)
    model.lm_head.weight.data[tokens["run"]] = vector(ARRIVED, -1.0)
    return model


def move(
    model: transformers.GPT2LMHeadModel, layer: int, head: int, at: int, to: int, what: int, into: int | None
) -> None:
    """Makes a head attend from tokens with `at` to tokens with `to`, else to BOS, and move `what` into `into`."""
    attention, width = model.transformer.h[layer].attn, WIDTH // HEADS
    q, k, v = (part * WIDTH + head * width for part in range(3))
    attention.c_attn.weight.data[:, q] = reader(at) * LOUD * 4
    attention.c_attn.weight.data[:, k] = reader(to) * LOUD
    attention.c_attn.bias.data[q + 1] = LOUD
    attention.c_attn.weight.data[:, k + 1] = reader(BOS) * LOUD
    attention.c_attn.weight.data[:, v] = reader(what)
    if into is not None:
        attention.c_proj.weight.data[head * width] = vector(into)


def planted_task() -> Task:
    """The noun at the first word decides between two verbs."""
    pairs = [
        Pair(f"{one} near now", f"{other} near now", " runs", " run", split)  # type: ignore[arg-type]
        if index % 2
        else Pair(f"{other} near now", f"{one} near now", " run", " runs", split)  # type: ignore[arg-type]
        for split, (index, (other, one)) in itertools.product(("train", "test"), enumerate(PAIRS))
    ]
    return Task("planted", "", tuple(pairs))


PAIRS = [(NOUNS[index], NOUNS[index + 1]) for index in range(0, len(NOUNS), 2)] * 2


def sae_of_things(folder: Path, hook: str, things: Sequence[int]) -> Path:
    """Two latents for each of `things`: one that reads it when it is positive, one when it is negative."""
    sae = StandardSAE(
        StandardSAEConfig(
            d_in=WIDTH, d_sae=2 * len(things), apply_b_dec_to_input=False, metadata=SAEMetadata(hook_name=hook)
        )
    )
    signed = [(thing, sign) for thing in things for sign in (1, -1)]
    sae.W_enc.data = torch.stack([sign * reader(thing) for thing, sign in signed], 1)
    sae.W_dec.data = torch.stack([vector(thing, sign) for thing, sign in signed])
    sae.b_enc.data.zero_()
    sae.b_dec.data.zero_()
    sae.save_model(folder)
    return folder


def thing_latent(thing: int) -> int:
    """The latent that reads `thing` when it is positive, in an SAE of all things."""
    return 2 * thing


def planted_problem(folder: Path, hooks: Sequence[str], things: Sequence[Sequence[int]] | None = None) -> Problem:
    """The planted model and task, with SAEs at `hooks`, each of all things, or of some."""
    planted_model().save_pretrained(folder / "model")
    make_tokenizer().save_pretrained(folder / "model")
    saes = tuple(
        sae_of_things(folder / f"sae{index}", hook, range(8) if things is None else things[index])
        for index, hook in enumerate(hooks)
    )
    model = load_model(str(folder / "model"), CPU, torch.float32)
    model.verify(torch.arange(3, 11).reshape(2, 4), torch.tensor([3, 2]))
    sites = tuple(load_saes([], saes, CPU))
    check_fit(model, sites)
    return open_problem(TinyModel(folder / "model", saes, model, sites), planted_task(), "each", errors="keep")
