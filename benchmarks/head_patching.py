"""Plain activation patching of heads, to hold the heads of edges and of attributions against.

    python benchmarks/head_patching.py [--task sva-rc] [--model FOLDER] [--prompts N]

For each head of the plain model: the share of the logit difference, clean to corrupt, that goes when the head's output
at all tokens of the first N clean test prompts is that of the corrupt ones. The last column is the same with the output
at the read tokens alone. Hugging Face's own model with one hook; no SAE. --model is a folder of weights for --task
smollm2-…, such as the one that `make smollm2` makes; the demo's by default.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core import demo
from circuit_tui.core.tasks.builtin import builtin


class Patching:
    """One model, and prompts of one length with answers of one token.

    Args:
        folder: of the model.
        clean, corrupt: `[prompt, position]`.
        right, wrong: `[prompt]`.
    """

    def __init__(self, folder: Path, clean: Tensor, corrupt: Tensor, right: Tensor, wrong: Tensor) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32
        ).eval()
        self._clean, self._corrupt, self._right, self._wrong = clean, corrupt, right, wrong
        self.n_heads = int(self._model.config.num_attention_heads)
        self._outputs = [
            block.attn.c_proj if hasattr(block, "attn") else block.self_attn.o_proj for block in self._blocks()
        ]
        self.n_layers = len(self._outputs)
        self._seen: dict[int, Tensor] = {}
        self.corrupt_difference = self._run(self._corrupt, self._keep)
        self.clean_difference = self._run(self._clean, lambda at: lambda z: z)

    def _blocks(self) -> Any:
        body = self._model.base_model
        return body.h if hasattr(body, "h") else body.layers

    def _keep(self, at: int) -> Callable[[Tensor], Tensor]:
        def keep(z: Tensor) -> Tensor:
            self._seen[at] = z
            return z

        return keep

    def _run(self, tokens: Tensor, change: Callable[[int], Callable[[Tensor], Tensor]]) -> float:
        def before(at: int) -> Any:
            return lambda _, args: (change(at)(args[0]),)

        handles = [output.register_forward_pre_hook(before(at)) for at, output in enumerate(self._outputs)]
        with torch.no_grad():
            logits = self._model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1]
        for handle in handles:
            handle.remove()
        difference = logits.gather(1, self._right.unsqueeze(1)) - logits.gather(1, self._wrong.unsqueeze(1))
        return float(difference.mean())

    def share(self, layer: int, head: int, tokens: slice) -> float:
        """The share of the logit difference that goes with the corrupt output of a head at `tokens`."""

        def change(at: int) -> Callable[[Tensor], Tensor]:
            def patched(z: Tensor) -> Tensor:
                if at != layer:
                    return z
                width = z.shape[-1] // self.n_heads
                z = z.clone()
                z[:, tokens, head * width : (head + 1) * width] = self._seen[at][
                    :, tokens, head * width : (head + 1) * width
                ]
                return z

            return patched

        gap = self.clean_difference - self.corrupt_difference
        return (self.clean_difference - self._run(self._clean, change)) / gap


def main() -> None:
    """Prints one line for each head, those that matter most first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="sva-rc")
    parser.add_argument("--model", type=Path, default=demo.model_dir())
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--top", type=int, default=12, help="how many heads to print")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    pairs = builtin(args.task).split("test")[: args.prompts]
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]

    def ids(text: str, start: list[int]) -> list[int]:
        return start + tokenizer.encode(text, add_special_tokens=False)

    clean, corrupt = ([ids(getattr(pair, side), bos) for pair in pairs] for side in ("clean", "corrupt"))
    if len({len(row) for row in clean + corrupt}) > 1:
        parser.error("the prompts have several lengths: take fewer of them")
    right, wrong = ([ids(getattr(pair, name), [])[0] for pair in pairs] for name in ("answer", "wrong"))
    patching = Patching(args.model, *(torch.tensor(each) for each in (clean, corrupt, right, wrong)))
    print(f"logit difference {patching.clean_difference:.3f} clean, {patching.corrupt_difference:.3f} corrupt")
    shares = {
        head: patching.share(*head, slice(None))
        for head in itertools.product(range(patching.n_layers), range(patching.n_heads))
    }
    print("head    all tokens   read token")
    for (layer, head), share in sorted(shares.items(), key=lambda item: -abs(item[1]))[: args.top]:
        print(f"{layer}.{head:<6} {share:+.3f}       {patching.share(layer, head, slice(-1, None)):+.3f}")


if __name__ == "__main__":
    main()
