"""One optimisation step of a mask, against the published recipe written plainly and against the bare layers.

    python benchmarks/mask_step.py [--shape gpt2-small] [--prompts 16] [--steps 5] [--json FILE]

Three things in turn in one process, on the same random weights, prompts and sites:

    ours       the step of the search (`circuit_tui.core.search`): candidates only, prefix and constants kept
    published  the recipe of Caples et al. 2025 with sae-lens SAEs in plain hooks: every latent at every position has a
               parameter, each step runs the whole model, encodes and decodes in full, both for M_s and for the mask
    bare       forward and backward of the layers after the first site, no SAE at all

Shapes have random weights: only time is measured. JumpReLU thresholds are set so that about `L0` latents fire on a
token. The prompts come from one template with a few words to choose from at each place, as in real tasks.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from circuit_tui.core.alignment import align
from circuit_tui.core.load_model import load_model
from circuit_tui.core.model import LanguageModel
from circuit_tui.core.problem import Problem, build_problem
from circuit_tui.core.sae import SiteSae
from circuit_tui.core.search.hard_mask import hard_mask
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.site import Site
from circuit_tui.core.task import Pair, Task
from circuit_tui.core.tokens import PromptSet, Side

L0 = 50


@dataclass(frozen=True)
class Shape:
    """A model and SAE shape: sites are `resid_post` of `layers`."""

    config: dict[str, int]
    layers: tuple[int, ...]
    d_sae: int


SHAPES = {
    "gpt2-small": Shape({}, tuple(range(12)), 24576),
    "gpt2-tiny": Shape({"n_layer": 4, "n_embd": 128, "n_head": 4, "vocab_size": 512}, (0, 1, 2), 1024),
}


def random_model(shape: Shape) -> LanguageModel:
    """GPT-2 of this shape with random weights, loaded as a user's folder would be."""
    torch.manual_seed(0)
    config = GPT2Config(**shape.config, bos_token_id=0, eos_token_id=0)
    words = {"<bos>": 0, **{f"w{index}": index for index in range(1, config.vocab_size)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<bos>")), bos_token="<bos>"
    )
    with tempfile.TemporaryDirectory() as folder:
        GPT2LMHeadModel(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load_model(folder, torch.device("cpu"), torch.float32)


def template_tokens(n_prompts: int, length: int, vocabulary: int) -> Tensor:
    """`[prompt, position]`: BOS, then at each place one of 1, 2 or 8 words."""
    generator = torch.Generator().manual_seed(1)
    columns = [torch.zeros(n_prompts, dtype=torch.long)]
    for place in range(length - 1):
        words = torch.randint(1, vocabulary, ((1, 2, 8)[place % 3],), generator=generator)
        columns.append(words[torch.randint(len(words), (n_prompts,), generator=generator)])
    return torch.stack(columns, 1)


@torch.no_grad()
def random_sites(model: LanguageModel, shape: Shape, tokens: Tensor) -> list[Site]:
    """SAEs whose latents are random directions.

    The threshold lets `L0` latents fire on a token, the decoder's scale fits the reconstruction. It is a poor one, so
    the benchmark keeps the errors: the stream then stays like the plain model's.
    """
    sites = []
    resid = model.embed(tokens)
    for layer in range(model.n_layers):
        resid = model.blocks(resid, layer, layer + 1)
        if layer not in shape.layers:
            continue
        config = JumpReLUSAEConfig(d_in=model.d_model, d_sae=shape.d_sae, apply_b_dec_to_input=False)
        hook = config.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
        sae = JumpReLUSAE(config)
        x = resid[:, 1:].reshape(-1, model.d_model)
        directions = torch.nn.functional.normalize(torch.randn_like(sae.W_dec), dim=1)
        sae.W_enc.copy_(directions.t())
        sae.b_dec.copy_(x.mean(0))
        sae.b_enc.copy_(-(x.mean(0) @ sae.W_enc))
        z = (x @ sae.W_enc + sae.b_enc)[:64]
        sae.threshold.copy_(z.topk(L0 + 1, dim=1)[0][:, -1].mean())
        fit = sae.encode(x) @ directions
        centred = x - x.mean(0)
        sae.W_dec.copy_(directions * float((fit * centred).sum() / (fit * fit).sum()))
        sites.append(Site(hook, layer + 1, SiteSae(sae, "", hook, hook, hook, "")))
    return sites


def random_problem(shape: Shape, n_prompts: int, length: int) -> tuple[Problem, Tensor]:
    """A problem of this shape and its clean tokens `[prompt, position]`."""
    model = random_model(shape)
    tokens = template_tokens(2 * n_prompts, length, int(model.bridge.cfg.d_vocab))
    sites = random_sites(model, shape, tokens[: max(8, n_prompts)])
    lengths = torch.full((n_prompts,), length)
    pairs = tuple(Pair(f"{index}", f"{index}", "a", "b") for index in range(n_prompts))
    roles = tuple(() for _ in range(n_prompts))
    clean, corrupt = (Side(part, lengths, 1, roles) for part in (tokens[:n_prompts], tokens[n_prompts:]))
    answers = torch.randint(1, int(model.bridge.cfg.d_vocab), (2, n_prompts))
    prompts = PromptSet(pairs, clean, corrupt, answers[0], answers[1])
    sets: Any = {"train": prompts, "test": prompts}
    problem = build_problem(
        model, sites, Task("random", "", pairs), sets, align("each", sets, "random"), "mean", "keep", None, 0
    )
    return problem, tokens[:n_prompts]


def our_step(problem: Problem) -> Callable[[], None]:
    """The step of the default search, on all prompts."""
    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    theta = torch.full((len(problem.space),), 0.3, requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.03)
    prompts = torch.arange(len(problem.splits["train"]))

    def step() -> None:
        batch = problem.batch("train", prompts)
        mask = hard_mask(theta)
        loss = masked.logit_difference(mask, batch).mean().abs() + 1e-4 * mask.sum()
        masked.forget(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def published_step(problem: Problem, tokens: Tensor) -> Callable[[], None]:
    """Plain hooks on the bridge, full encode and decode, M_s run again in each step."""
    bridge, prompts = problem.model.bridge, problem.sets["train"]
    length = tokens.shape[1]
    thetas = [torch.ones(length, site.sae.d_sae, requires_grad=True) for site in problem.sites]
    means = [
        table.values.new_zeros(length, site.sae.d_sae)
        for table, site in zip(problem.tables, problem.sites, strict=True)
    ]
    for mean, table in zip(means, problem.tables, strict=True):
        mean[1:] = table.values
    optimiser = torch.optim.Adam(thetas, lr=0.05)
    rows = torch.arange(len(tokens))
    errors = problem.splits["train"].errors

    def difference(masks: list[Tensor] | None) -> Tensor:
        def hook(index: int) -> Callable[..., Tensor]:
            def splice(resid: Tensor, hook: Any) -> Tensor:
                sae = problem.sites[index].sae.sae
                acts = sae.encode(resid)
                if masks is not None:
                    acts = means[index] + masks[index] * (acts - means[index])
                out = sae.decode(acts) + errors[index]
                return torch.cat([resid[:, :1], out[:, 1:]], 1)

            return splice

        hooks = [(site.hook.replace("hook_resid_post", "hook_out"), hook(i)) for i, site in enumerate(problem.sites)]
        logits = bridge.run_with_hooks(tokens, fwd_hooks=hooks, return_type="logits")[:, -1]
        return logits[rows, prompts.right] - logits[rows, prompts.wrong]

    def step() -> None:
        with torch.no_grad():
            full = difference(None).mean()
        masks = [torch.sigmoid(theta * 10.0) for theta in thetas]
        loss = (full - difference(masks).mean()).abs()
        loss = loss + 0.05 * sum(mask.sum() for mask in masks) / len(masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def bare_step(problem: Problem) -> Callable[[], None]:
    """Forward and backward of the blocks after the first site."""
    batch = problem.batch("train", torch.arange(len(problem.splits["train"])))
    resid = batch.prefix.clone().requires_grad_()

    def step() -> None:
        resid.grad = None
        end = problem.model.blocks(resid, problem.sites[0].depth, problem.model.n_layers)
        batch.logit_difference(problem.model.logits(end, batch.answer)).mean().backward()

    return step


def main() -> int:
    """Parses the flags, times the three in turn, prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-small")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json")
    args = parser.parse_args()
    problem, tokens = random_problem(SHAPES[args.shape], args.prompts, args.length)
    steps = {"ours": our_step(problem), "published": published_step(problem, tokens), "bare": bare_step(problem)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(args.steps + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if round_:  # the first of each warms up
                seconds[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    report = {
        "shape": args.shape, "prompts": args.prompts, "tokens": args.length, "sites": len(problem.sites),
        "candidates": len(problem.space), "threads": torch.get_num_threads(), "seconds": median,
        "range": {name: (min(values), max(values)) for name, values in seconds.items()},
        "published_over_ours": median["published"] / median["ours"], "ours_over_bare": median["ours"] / median["bare"],
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    if args.json:
        with open(args.json, "w") as file:
            json.dump(report, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
