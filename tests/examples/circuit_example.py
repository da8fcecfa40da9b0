"""A small circuit file that tests of the file and of the commands share."""

from __future__ import annotations

import json
from typing import Any

HEX = "0123456789abcdef" * 4
METRICS = {
    "faithfulness": 0.96,
    "faithfulness_spliced": 0.98,
    "completeness": None,
    "kl": 0.125,
    "accuracy": 1.0,
    "logit_diff": 3.5,
    "cross_entropy": 0.5,
    "per_prompt_iqr": [-0.25, 0.5],
}


def node(position: str, latent: int, effect: float | None = 0.25) -> dict[str, Any]:
    stats = {"mean_clean": 1.5, "mean_corrupt": 0.0, "max": 2.0, "frequency": 0.5, "effect": effect}
    return {"position": position, "latent": latent, "label": "", "stats": stats}


def example() -> dict[str, Any]:
    """A small valid file as plain data, new each time and sharing nothing."""
    sae = {"release": "circuit-tui/demo", "id": "blocks.0", "path": None, "revision": ""}
    sae |= {"weights_sha256": HEX, "d_sae": 512, "architecture": "jumprelu"}
    data = {
        "schema": "circuit-tui/circuit/2",
        "created": "2026-11-21T03:00:00Z",
        "versions": {"circuit_tui": "0.1.0", "torch": "2.13.0", "transformer_lens": "3.9.0", "sae_lens": "6.54.12"},
        "seed": 0,
        "method": {
            "name": "mask",
            "settings": {"steps": 300, "lr": 0.02, "anneal": True, "loss": "ld"},
            "target": 0.95,
            "reached": True,
            "edited": False,
            "warnings": ["Train and test part by 0.04."],
        },
        "model": {
            "name": "circuit-tui/demo",
            "revision": "",
            "dtype": "float32",
            "weights_sha256": HEX,
            "processing": "none",
        },
        "task": {
            "name": "sva-rc",
            "source": {"kind": "builtin", "name": "sva-rc", "path": None},
            "prompts_sha256": HEX,
            "chat": False,
            "chat_date": None,
            "bos": True,
            "tokens_sha256": "",
            "positions_kind": "each",
            "positions": ["subject", "verb"],
            "n_train": 128,
            "n_test": 128,
        },
        "sites": [
            {"hook": "blocks.0.hook_resid_post", "sae": sae, "nodes": [node("subject", 3), node("verb", 3)]},
            {"hook": "blocks.1.hook_resid_post", "sae": sae, "nodes": []},
        ],
        "ablation": {"kind": "mean", "errors": "drop", "source": "corrupt train prompts"},
        "size": 2,
        "metrics": dict.fromkeys(("train", "test", "plain", "spliced", "empty"), METRICS),
    }
    copied: dict[str, Any] = json.loads(json.dumps(data))  # a deep copy would keep the shared parts shared
    return copied
