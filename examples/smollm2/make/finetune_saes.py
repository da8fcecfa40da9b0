"""Fine-tunes SAEs together, all spliced in, so that the model behind them says what it says without them.

    python finetune_saes.py MODEL text.safetensors saes finetuned --steps 460

The loss is KL to the plain model on short texts from BOS, and a share of the reconstruction error (Karvonen 2025,
"Revisiting End-To-End Sparse Autoencoder Training"). Thresholds stay. Decoder rows are normalised at the end, so that
each latent has a threshold of its own. The folders are JumpReLU SAEs in sae-lens' layout, as `train_saes.py` leaves
them; the result is written as float16.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

STEPS, ROWS, LENGTH = 460, 64, 32
RATE, RECONSTRUCTION = 2e-4, 0.3
SINK = 20.0
SHARE = 0.25
"""The share of tokens behind which the distributions are compared, for the vocabulary is large."""


class SplicedSaes:
    """SAEs by layer, `weights[layer]` with W_enc, b_enc, W_dec, b_dec and threshold, as hooks on a Llama."""

    def __init__(self, model: Any, weights: dict[int, dict[str, Tensor]]) -> None:
        self.model, self.weights = model, weights
        self.errors: dict[int, Tensor] = {}

    def parameters(self) -> list[Tensor]:
        """All that is trained: everything but the thresholds."""
        return [part for own in self.weights.values() for name, part in own.items() if name != "threshold"]

    def log_probs(self, ids: Tensor, read: Tensor, *, spliced: bool) -> Tensor:
        """Log-probabilities `[read, vocab]` behind the tokens that are true in `read` `[row, position]`."""
        layers = self.model.model.layers
        handles = [layers[layer].register_forward_hook(self._hook(layer)) for layer in self.weights if spliced]
        try:
            final = self.model.model(ids, use_cache=False).last_hidden_state[read]
            return self.model.lm_head(final).float().log_softmax(-1)
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, layer: int) -> Any:
        own = self.weights[layer]

        def splice(_: Any, __: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            x = hidden[:, 1:].float()
            z = x @ own["W_enc"] + own["b_enc"]
            rebuilt = (z * (z > own["threshold"])) @ own["W_dec"] + own["b_dec"]
            lengths = x.norm(dim=-1, keepdim=True)
            usual = lengths < SINK * lengths.median()
            spread = ((x - x.mean((0, 1))) * usual).square().sum().detach()
            self.errors[layer] = ((x.detach() - rebuilt) * usual).square().sum() / spread
            new = torch.cat([hidden[:, :1], torch.where(usual, rebuilt, x).to(hidden.dtype)], 1)
            return (new, *output[1:]) if isinstance(output, tuple) else new

        return splice


def finetune(model: Any, ids: Tensor, weights: dict[int, dict[str, Tensor]], steps: int, seed: int = 0) -> list[float]:
    """Fine-tunes `weights` in place on rows of `ids`; returns the KL of each step, in nats."""
    draw = torch.Generator().manual_seed(seed)
    saes = SplicedSaes(model.requires_grad_(False), weights)
    for part in saes.parameters():
        part.requires_grad_()
    optimizer = torch.optim.Adam(saes.parameters(), lr=RATE, betas=(0.9, 0.99))
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 20, 4 * (1 - step / steps))
        rows = ids[torch.randint(len(ids), (min(ROWS, len(ids)),), generator=draw), :LENGTH]
        read = torch.rand(rows.shape, generator=draw) < SHARE
        read[:, 0] = False
        read[0, 1] = True  # at least one
        with torch.no_grad():
            plain = saes.log_probs(rows, read, spliced=False)
        kl = F.kl_div(saes.log_probs(rows, read, spliced=True), plain, log_target=True, reduction="batchmean")
        loss = kl + RECONSTRUCTION * torch.stack(list(saes.errors.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(saes.parameters(), 1.0)
        optimizer.step()
        losses.append(float(kl.detach()))
    return losses


def normalised(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns the same SAE with decoder rows of length 1: what is divided there is multiplied into the encoder."""
    own = {name: part.detach() for name, part in weights.items()}
    lengths = own["W_dec"].norm(dim=1)
    return {
        "W_enc": own["W_enc"] * lengths,
        "b_enc": own["b_enc"] * lengths,
        "threshold": own["threshold"] * lengths,
        "W_dec": own["W_dec"] / lengths.unsqueeze(1),
        "b_dec": own["b_dec"],
    }


def read_sae(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns configuration and float32 weights of a JumpReLU SAE that subtracts nothing from its input."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = {name: part.float() for name, part in load_file(folder / "sae_weights.safetensors").items()}
    if config.get("apply_b_dec_to_input"):  # fold b_dec into the encoder's bias
        weights["b_enc"] = weights["b_enc"] - weights["b_dec"] @ weights["W_enc"]
        config["apply_b_dec_to_input"] = False
    return config, weights


def write_sae(config: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> None:
    """Writes an SAE as float16."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: part.half().contiguous() for name, part in weights.items()}, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({**config, "dtype": "float16"}))


def main() -> None:
    """Parses the command line, fine-tunes all SAEs of a folder, and writes them to another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("saes", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(given.model, dtype=torch.bfloat16).eval()
    found = {int(folder.name.split(".")[1]): read_sae(folder) for folder in sorted(given.saes.iterdir())}
    weights = {layer: own for layer, (_, own) in found.items()}
    finetune(model, load_file(given.text)["ids"], weights, given.steps)
    for layer, (config, _) in found.items():
        write_sae(config, normalised(weights[layer]), given.out / f"blocks.{layer}.hook_resid_post")


if __name__ == "__main__":
    main()
