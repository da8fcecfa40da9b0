"""What each way to make a step faster gains, in turn in one process, on a shape with random weights.

    python benchmarks/options.py [--shape gpt2-small] [--variants as-it-is,bfloat16,sdpa,…] [--prompts 16] [--length 16]
        [--rounds 5] [--device cuda] [--clock cpu] [--json FILE]

    as-it-is      float32, as a user has it
    bfloat16      the model in bfloat16; SAEs, masks and metrics stay float32 (`--dtype bfloat16`)
    one-band      positions padded to the one with the most candidates, not in several groups (`core/splice/nodes.py`)
    no-shortcuts  without the fast paths that `LanguageModel.verify` turns on
    sdpa          Hugging Face's attention with scaled_dot_product_attention in place of the bridge's (no soft cap)

Those that are not part of the program are made here. A step takes all `--prompts`; tokens a second at several numbers
of prompts say whether larger steps pay.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from bare_layers import bare_pass
from device_peak import peak_of
from in_turn import machine, measure
from search_step import SearchStep
from shapes import SHAPES, random_model, random_problem, random_sites, template_tokens

from circuit_tui.core.models.devices import pick_device
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.splice import nodes
from circuit_tui.core.splice.problem import Problem

VARIANTS = ("as-it-is", "bfloat16", "one-band", "no-shortcuts", "sdpa")


def use_sdpa(model: LanguageModel) -> None:
    """Lets Hugging Face's attention modules run themselves, with SDPA.

    Raises:
        ValueError: the scores are capped, which SDPA cannot do.
    """
    for block in model.bridge.blocks:
        inner = block.attn.original_component
        if getattr(inner, "attn_logit_softcapping", None):
            raise ValueError("attention with a soft cap")
        inner.config._attn_implementation = "sdpa"

        def forward(*args: Any, inner: Any = inner, **kwargs: Any) -> Any:
            kwargs.pop("output_attentions", None)
            return inner(*args, **kwargs | {"attention_mask": None})  # none: causal

        object.__setattr__(block.attn, "forward", forward)  # the bridge would set it on what it wraps


class Maker:
    """Makes steps of one shape: models differ, SAEs are shared."""

    def __init__(self, name: str, prompts: int, length: int, device: torch.device) -> None:
        self.shape, self.prompts, self.length, self.device = SHAPES[name], prompts, length, device
        model = random_model(self.shape, device, torch.float32)
        tokens = template_tokens(16, length, int(model.bridge.cfg.d_vocab)).to(device)
        self.sites = random_sites(model, self.shape, tokens)
        self._first: LanguageModel | None = model

    def problem(self, dtype: torch.dtype = torch.float32, shortcuts: bool = True, prompts: int = 0) -> Problem:
        """A problem of its own, with a model of its own."""
        if shortcuts and dtype == torch.float32 and self._first is not None:
            model, self._first = self._first, None
        else:
            model = random_model(self.shape, self.device, dtype, shortcuts)
        made = random_problem(self.shape, prompts or self.prompts, self.length, 1, model, self.sites)
        return replace(made, batch_size=None)

    def step(self, variant: str) -> tuple[Problem, Callable[[], None]]:
        """The step of one variant."""
        if variant == "bfloat16":
            problem = self.problem(torch.bfloat16)
        else:
            problem = self.problem(shortcuts=variant != "no-shortcuts")
        if variant == "sdpa":
            use_sdpa(problem.model)
        if variant != "one-band":
            return problem, SearchStep(problem)
        # All that the step's first calls pack; it packs no more until the search chooses other nodes.
        cost = dict(nodes.PADDED_GROUP_COST)
        nodes.PADDED_GROUP_COST.update(dict.fromkeys(cost, 1 << 60))
        step = SearchStep(problem)
        nodes.PADDED_GROUP_COST.update(cost)
        return problem, step


def main(argv: list[str] | None = None) -> int:
    """Parses the flags, measures, prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="gpt2-small")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--larger", default="", help="other numbers of prompts in a step, such as 32,64")
    parser.add_argument("--device")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: CPU time of this process")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    peak = peak_of(device, args.clock)
    maker = Maker(args.shape, args.prompts, args.length, device)
    runs: dict[str, Callable[[], object]] = {}
    for variant in args.variants.split(","):
        try:
            problem, step = maker.step(variant)
        except ValueError as error:
            print(f"{variant}: left out: {error}")
            continue
        runs[variant] = step
        if variant in ("as-it-is", "bfloat16"):
            runs[f"{variant}, bare"] = bare_pass(problem, "train", True)
    sizes = [int(part) for part in args.larger.split(",") if part]
    for size in sizes:
        runs[f"{size} prompts"] = SearchStep(maker.problem(prompts=size))
    found = measure(runs, args.rounds, device, peak, args.clock)
    first = next(iter(found.values())).median
    print(f"**{args.shape}**, {args.prompts} prompts of {args.length} tokens; {machine(device)}\n")
    print("| variant | median, ms | quarter points | tokens/s | extra memory, MB | against the first |")
    print("|---|--:|---|--:|--:|--:|")
    for name, one in found.items():
        prompts = int(name.split()[0]) if name.endswith(" prompts") else args.prompts
        print(
            f"| {name} | {one.median * 1e3:.0f} | {one.low * 1e3:.0f} to {one.high * 1e3:.0f} | "
            f"{prompts * args.length / one.median:.0f} | {one.extra_bytes / 1e6:.0f} | {one.median / first:.2f} |"
        )
    if args.json:
        args.json.write_text(json.dumps({name: one.as_json() for name, one in found.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
