"""Plain activation patching of heads on the demo's model, to hold the heads of edges against.

    python benchmarks/head_patching.py [--task sva-rc]

For each head of the plain model: the share of the logit difference, clean to corrupt, that goes when the head's output
at all tokens of the clean test prompts is that of the corrupt ones. Hugging Face's own model with one hook; no SAE.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from circuit_tui.core import demo
from circuit_tui.core.opening.open_problem import open_problem
from circuit_tui.core.opening.request import OpenRequest


def main() -> None:
    """Prints one line for each head, those that matter most first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sva-rc")
    problem = open_problem(OpenRequest(task=parser.parse_args().task), lambda stage: None).problem
    prompts, answers = problem.prompt_sets["test"], problem.splits["test"].answers
    model = AutoModelForCausalLM.from_pretrained(demo.model_dir(), attn_implementation="eager").eval()
    n_heads = model.config.n_head
    seen: dict[int, Tensor] = {}

    def difference(tokens: Tensor, layer: int | None = None, head: int = 0) -> float:
        def hook(at: int) -> Any:
            def before(_: Any, args: Any) -> Any:
                z = args[0]
                if layer is None:
                    seen[at] = z
                elif at == layer:
                    parts = list(z.split(z.shape[-1] // n_heads, dim=-1))
                    parts[head] = seen[at].split(z.shape[-1] // n_heads, dim=-1)[head]
                    return (torch.cat(parts, -1),)
                return None

            return before

        handles = [
            block.attn.c_proj.register_forward_pre_hook(hook(at)) for at, block in enumerate(model.transformer.h)
        ]
        with torch.no_grad():
            logits = model(tokens).logits[answers.read_rows, answers.read_columns]
        for handle in handles:
            handle.remove()
        return float(answers.logit_difference(logits).mean())

    clean, corrupt = difference(prompts.clean.tokens), difference(prompts.corrupt.tokens)  # the last keeps `seen`
    shares = {
        (layer, head): (clean - difference(prompts.clean.tokens, layer, head)) / (clean - corrupt)
        for layer in range(model.config.n_layer)
        for head in range(n_heads)
    }
    for (layer, head), share in sorted(shares.items(), key=lambda item: -abs(item[1])):
        print(f"{layer}.{head}  {share:+.3f}")


if __name__ == "__main__":
    main()
