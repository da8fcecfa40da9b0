"""Models that open by name alone, each with the released SAEs that it gets when none are named.

Where a release has an SAE after every layer, the layers are at the depths that Caples et al. 2025 use in Gemma 2 9B (7,
14, 21 and 40 of 42). Elsewhere they are the layers that the release covers at every width: four of each Gemma 3, three
of the larger Gemma 2.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelPreset:
    """One model, by its name on the Hub and by the short `names` that ``--model`` takes; and its default SAEs.

    These are the SAEs of `release` after `layers`, of `width` and `l0` where the release has several of a layer.
    """

    hub_name: str
    names: tuple[str, ...]
    release: str
    layers: tuple[int, ...]
    width: str | None = None
    l0: str | None = None

    @property
    def gated(self) -> bool:
        """Whether its terms have to be accepted on the Hub first."""
        return self.hub_name.partition("/")[0] in ("google", "meta-llama")


def _gemma_3(size: str, layers: tuple[int, ...]) -> tuple[ModelPreset, ModelPreset]:
    """The two models of one size: pretrained, which is named by the size alone, and instruction-tuned."""
    base, release = f"gemma-3-{size}", f"gemma-scope-2-{size}"
    # On the Hub the smallest has no -pt in its name. The family's name alone means the second smallest.
    hub = base if size == "270m" else f"{base}-pt"
    names = (base, "gemma-3", f"{base}-pt") if size == "1b" else (base, f"{base}-pt")
    return (
        ModelPreset(f"google/{hub}", names, f"{release}-pt-res", layers, "16k", "medium"),
        ModelPreset(f"google/{base}-it", (f"{base}-it",), f"{release}-it-res", layers, "16k", "medium"),
    )


PRESETS: tuple[ModelPreset, ...] = (
    ModelPreset("openai-community/gpt2", ("gpt2", "gpt2-small"), "gpt2-small-res-jb", (2, 4, 6, 11)),
    # Of the two, only the model trained on deduplicated data has SAEs.
    ModelPreset(
        "EleutherAI/pythia-70m-deduped", ("pythia-70m", "pythia-70m-deduped"), "pythia-70m-deduped-res-sm", (1, 2, 3, 5)
    ),
    ModelPreset("google/gemma-2-2b", ("gemma-2-2b",), "gemma-scope-2b-pt-res-canonical", (4, 8, 13, 24), "16k"),
    ModelPreset("google/gemma-2-9b", ("gemma-2-9b",), "gemma-scope-9b-pt-res-canonical", (7, 14, 21, 40), "16k"),
    ModelPreset("google/gemma-2-9b-it", ("gemma-2-9b-it",), "gemma-scope-9b-it-res-canonical", (9, 20, 31), "16k"),
    ModelPreset("google/gemma-2-27b", ("gemma-2-27b",), "gemma-scope-27b-pt-res-canonical", (10, 22, 34), "131k"),
    *_gemma_3("270m", (5, 9, 12, 15)),
    *_gemma_3("1b", (7, 13, 17, 22)),
    *_gemma_3("4b", (9, 17, 22, 29)),
    *_gemma_3("12b", (12, 24, 31, 41)),
    *_gemma_3("27b", (16, 31, 40, 53)),
    ModelPreset("meta-llama/Llama-3.1-8B", ("llama-3.1-8b",), "llama_scope_lxr_8x", (5, 11, 16, 30)),
)


def preset_of(name: str | None) -> ModelPreset | None:
    """The preset of the model that ``--model`` names, upper and lower case alike; None if it has none."""
    wanted = (name or "").lower()
    return next((preset for preset in PRESETS if wanted in (preset.hub_name.lower(), *preset.names)), None)
