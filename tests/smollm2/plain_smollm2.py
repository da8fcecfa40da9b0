"""SmolLM2 with SAEs spliced in, in plain Hugging Face with hooks, one prompt at a time: the oracle of these tests.

It shares no code with the program. SAEs are JumpReLU: A = z [z > threshold], z = x W_enc + b_enc, and A W_dec + b_dec.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

Node = tuple[int, str, int]
"""Layer, position name, latent."""
Change = Callable[[int, str, Tensor], Tensor]
"""From layer, position name and activations `[latent]` to the activations that are decoded."""


class PlainSmolLM2:
    """The model in `folder`, the SAEs in `saes`, and ablation means over the corrupt prompts of `train`."""

    def __init__(self, folder: Path, saes: Path, layers: Collection[int], train: list[dict[str, Any]]) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.saes = {
            layer: {
                name: weight.float()
                for name, weight in load_file(
                    saes / f"blocks.{layer}.hook_resid_post" / "sae_weights.safetensors"
                ).items()
            }
            for layer in layers
        }
        self.means: dict[tuple[int, str], Tensor] = {}
        seen: dict[tuple[int, str], list[Tensor]] = defaultdict(list)

        def note(layer: int, position: str, activations: Tensor) -> Tensor:
            seen[layer, position].append(activations)
            return activations

        for row in train:
            self.logits(row["corrupt"], row["roles"], note)
        self.means = {key: torch.stack(values).mean(0) for key, values in seen.items()}

    def tokens(self, text: str, roles: list[str]) -> tuple[list[int], list[str]]:
        """Token ids behind BOS, and the role of each: that of its word."""
        ids, names = [1], [""]
        for number, (word, role) in enumerate(zip(text.split(), roles, strict=True)):
            own = self.tokenizer(f" {word}" if number else word, add_special_tokens=False).input_ids
            ids += own
            names += [role] * len(own)
        assert ids[1:] == self.tokenizer(text, add_special_tokens=False).input_ids
        return ids, names

    @torch.no_grad()
    def logits(self, text: str, roles: list[str], change: Change | None) -> Tensor:
        """Logits `[vocab]` behind the prompt, with the SAEs spliced in and `change` applied; M itself without one."""
        ids, names = self.tokens(text, roles)
        handles = []
        for layer, sae in self.saes.items() if change is not None else ():

            def spliced(_: Any, __: Any, output: Any, layer: int = layer, sae: dict[str, Tensor] = sae) -> Any:
                assert change is not None
                hidden = output[0] if isinstance(output, tuple) else output
                new = hidden.clone()
                for at in range(1, len(ids)):
                    z = hidden[0, at] @ sae["W_enc"] + sae["b_enc"]
                    activations = change(layer, names[at], z * (z > sae["threshold"]))
                    new[0, at] = activations @ sae["W_dec"] + sae["b_dec"]
                return (new, *output[1:]) if isinstance(output, tuple) else new

            handles.append(self.model.model.layers[layer].register_forward_hook(spliced))
        try:
            logits: Tensor = self.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            return logits
        finally:
            for handle in handles:
                handle.remove()

    def circuit(self, row: dict[str, Any], kept: Collection[Node], *, removed: bool = False) -> Tensor:
        """Logits with only `kept` at their own activations; with `removed` only these at their means."""
        latents: dict[tuple[int, str], list[int]] = defaultdict(list)
        for layer, position, latent in kept:
            latents[layer, position].append(latent)

        def change(layer: int, position: str, activations: Tensor) -> Tensor:
            own, mean = latents[layer, position], self.means[layer, position]
            result = activations.clone() if removed else mean.clone()
            result[own] = mean[own] if removed else activations[own]
            return result

        return self.logits(row["clean"], row["roles"], change)

    def difference(self, row: dict[str, Any], logits: Tensor) -> float:
        """Logit of the right answer minus that of the wrong one."""
        right, wrong = (self.tokenizer(row[key], add_special_tokens=False).input_ids for key in ("answer", "wrong"))
        assert len(right) == len(wrong) == 1
        return float(logits[right[0]] - logits[wrong[0]])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a prompts file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
