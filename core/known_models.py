"""Models that open with a name alone: which released SAEs are spliced in when none are named, and where.

The layers of a model with an SAE after each of them are those of Caples et al. 2025 for Gemma 2 9B (7, 14, 21 and 40
of 42) at the same depths. Gemma 3's are the four that its release covers at every width.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One model. `names` are what ``--model`` may say for it beside `hub`, its name on the Hub."""

    hub: str
    names: tuple[str, ...]
    release: str
    layers: tuple[int, ...]
    width: str | None = None
    l0: str | None = None

    @property
    def gated(self) -> bool:
        """Whether the Hub wants its terms accepted first."""
        return self.hub.partition("/")[0] in ("google", "meta-llama")


KNOWN_MODELS: tuple[KnownModel, ...] = (
    KnownModel("openai-community/gpt2", ("gpt2", "gpt2-small"), "gpt2-small-res-jb", (2, 4, 6, 11)),
    # The SAEs are those of the deduplicated model, the only one of the two that has any.
    KnownModel(
        "EleutherAI/pythia-70m-deduped", ("pythia-70m", "pythia-70m-deduped"), "pythia-70m-deduped-res-sm", (1, 2, 3, 5)
    ),
    KnownModel("google/gemma-2-2b", ("gemma-2-2b",), "gemma-scope-2b-pt-res-canonical", (4, 8, 13, 24), "16k"),
    KnownModel("google/gemma-2-9b", ("gemma-2-9b",), "gemma-scope-9b-pt-res-canonical", (7, 14, 21, 40), "16k"),
    KnownModel("google/gemma-3-270m", ("gemma-3-270m",), "gemma-scope-2-270m-pt-res", (5, 9, 12, 15), "16k", "medium"),
    KnownModel(
        "google/gemma-3-1b-pt",
        ("gemma-3-1b", "gemma-3", "gemma-3-1b-pt"),
        "gemma-scope-2-1b-pt-res",
        (7, 13, 17, 22),
        "16k",
        "medium",
    ),
    KnownModel("google/gemma-3-1b-it", ("gemma-3-1b-it",), "gemma-scope-2-1b-it-res", (7, 13, 17, 22), "16k", "medium"),
    KnownModel("meta-llama/Llama-3.1-8B", ("llama-3.1-8b",), "llama_scope_lxr_8x", (5, 11, 16, 30)),
)


def known_model(name: str | None) -> KnownModel | None:
    """The model that ``--model`` names, upper and lower case alike; None if it is none of these."""
    wanted = (name or "").lower()
    return next((known for known in KNOWN_MODELS if wanted == known.hub.lower() or wanted in known.names), None)
