"""Each family of models with each kind of SAE, at every kind of site at once: numbers and mask gradients.

The variants of SAE inputs (with `b_dec` subtracted or not, normalised, scaled) and the treatments of errors alternate
over all cells; weight processing is tested for all families.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import opened
from tiny.compare import assert_circuits_agree
from tiny.gradients import check_gradient
from tiny.models import make_model
from tiny.models_with_saes import CPU, TinyModel, TinySae, make_saes
from tiny.problems import open_naive, open_problem
from tiny.saes import TRANSCODERS
from tiny.tasks import make_task
from tiny.weight_processing import centre_writing_weights

from circuit_tui.core.choices import ERRORS
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.saes.load_saes import load_saes, processing_of
from circuit_tui.core.splice.problem import Problem

FAMILIES = ("gpt2", "neox", "llama", "gemma2", "gemma3", "gemma3-sighted", "qwen3")
KINDS = ("standard", "gated", "jumprelu", "topk", "batchtopk", "matryoshka")
# Variants of an SAE's input.
WAYS: dict[str, dict[str, object]] = {
    "raw": {"apply_b_dec_to_input": False},
    "less b_dec": {"apply_b_dec_to_input": True},
    "layer norm": {"normalize_activations": "layer_norm", "apply_b_dec_to_input": True},
    "constant norm": {"normalize_activations": "constant_norm_rescale", "apply_b_dec_to_input": False},
    "scaled": {"normalize_activations": "expected_average_only_in", "apply_b_dec_to_input": True},
}
POINTS = (
    "blocks.0.hook_resid_post",
    "blocks.1.attn.hook_z",
    "blocks.1.hook_attn_out",
    "blocks.1.hook_resid_mid",
    "blocks.1.hook_mlp_out",
    "blocks.2.hook_resid_pre",
)
READ, WRITE = "blocks.2.mlp.hook_in", "blocks.2.hook_mlp_out"
SCALE = 1.3
TASK = make_task((6, 5, 6, 7), (7, 5), turn=1)


@dataclass(frozen=True)
class Family:
    """A model, opened once."""

    folder: Path
    model: LanguageModel


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Family]:
    @cache
    def built(shape: str) -> Family:
        folder = make_model(shape, tmp_path_factory.mktemp(shape))
        return Family(folder, load_model(str(folder), CPU, torch.float32))

    return built


def check(tiny_model: TinyModel, problem: Problem, hf: Any = None) -> None:
    """Checks circuits, M_s and M without a circuit; then the gradient of every mask value, at every site."""
    naive = open_naive(tiny_model, problem, hf)
    assert_circuits_agree(tiny_model, Evaluator(problem, "test"), 0, naive)
    expected = check_gradient(problem, naive)
    for site in range(len(problem.sites)):
        assert bool(expected[slice(*problem.space.first[site : site + 2])].any()), site


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", FAMILIES)
def test_spliced_passes_and_gradients_are_those_of_plain_hooks(
    family: Callable[[str], Family], shape: str, kind: str, tmp_path: Path
) -> None:
    """Each variant of the input is at one of the sites, in each cell at another."""
    number = FAMILIES.index(shape) + KINDS.index(kind)
    # Where attention and MLP run in parallel there is nothing between them.
    points = [point for point in POINTS if shape != "neox" or not point.endswith("mid")]
    ways = [list(WAYS.values())[(index + number) % len(WAYS)] for index in range(len(points))]
    saes = [TinySae(hook, kind, config=tuple(way.items())) for hook, way in zip(points, ways, strict=True)]
    saes.append(TinySae(READ, TRANSCODERS[number % len(TRANSCODERS)], WRITE))
    own = family(shape)
    folders = make_saes(own.folder, tmp_path, saes)
    for folder, way in zip(folders, ways, strict=False):
        if way is WAYS["scaled"]:
            settings = json.loads((folder / "cfg.json").read_text())
            (folder / "cfg.json").write_text(json.dumps({**settings, "norm_scaling_factor": SCALE}))
    sites = tuple(load_saes([], folders, CPU))
    check_fit(own.model, sites)
    tiny_model = TinyModel(own.folder, folders, own.model, sites)
    check(tiny_model, open_problem(tiny_model, TASK, "shared", errors=ERRORS[number % len(ERRORS)]))


@pytest.mark.parametrize(
    "steps",
    [
        ("center_writing_weights",),
        ("fold_ln",),
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"),
    ],
)
@pytest.mark.parametrize("shape", FAMILIES)
def test_on_processed_weights_too(
    family: Callable[[str], Family], shape: str, steps: tuple[str, ...], tmp_path: Path
) -> None:
    """SAEs that ask for processing get it, and see the stream that its definition gives."""
    folder, wanted = family(shape).folder, dict.fromkeys(steps, True)
    metadata = (("model_from_pretrained_kwargs", wanted),)
    points = ("blocks.0.hook_resid_post", "blocks.1.hook_attn_out", "blocks.1.hook_mlp_out", "blocks.1.hook_resid_post")
    kinds = (KINDS[(FAMILIES.index(shape) + index) % len(KINDS)] for index in range(len(points)))
    saes = [TinySae(hook, kind, metadata=metadata) for hook, kind in zip(points, kinds, strict=True)]
    folders = make_saes(folder, tmp_path, saes)
    sites = tuple(load_saes([], folders, CPU))
    model = load_model(str(folder), CPU, torch.float32, processing_of(sites))
    assert model.processing == "+".join(steps)
    hf = copy.deepcopy(opened(folder, torch.float32)[0])
    if "center_writing_weights" in steps and shape in ("gpt2", "neox"):
        centre_writing_weights(hf)
    tiny_model = TinyModel(folder, folders, model, sites)
    problem = open_problem(tiny_model, TASK, "shared", errors="keep")
    model.verify(problem.prompt_sets["test"].clean.tokens, problem.prompt_sets["test"].clean.last)
    check(tiny_model, problem, hf)
