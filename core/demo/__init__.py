"""The bundled demo: a Hugging Face model folder, sae-lens folders, and the scripts that trained them."""

from __future__ import annotations

from pathlib import Path

MODEL_NAME = "circuit-tui-demo"
SITES: tuple[str, ...] = tuple(f"blocks.{layer}.hook_resid_post" for layer in range(3))
"""The hooks with an SAE, by layer. The last layer has none, because after it only the answer position counts."""

_HERE = Path(__file__).parent


def model_dir() -> Path:
    """Returns the folder of the bundled model (config.json, model.safetensors, tokenizer.json)."""
    return _HERE / "model"


def sae_dirs() -> tuple[Path, ...]:
    """Returns the folders of the bundled SAEs (cfg.json, sae_weights.safetensors), in the order of `SITES`."""
    return tuple(_HERE / "saes" / hook for hook in SITES)


def text_path() -> Path:
    """Returns the path of a text in the demo's language that no training has seen; a blank line ends a document."""
    return _HERE / "text.txt"
