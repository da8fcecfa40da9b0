"""Attribution on one prompt, against derivatives of a plain Hugging Face model under the same freezes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from edge_oracle import EdgeOracle, frozen_model
from naive import tap
from tiny.models_with_saes import TinySae, build_model_with
from tiny.problems import open_naive, open_problem
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.attribution.expand import expand
from circuit_tui.core.attribution.parts import AttributionPart, LatentTarget, LogitTarget, Target
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.errors import UserError

EARLY, LATE, LAST = "blocks.0.hook_resid_post", "blocks.2.hook_resid_pre", "blocks.2.hook_resid_post"
NORM = (("normalize_activations", "layer_norm"),)
CASES = {
    "gpt2": (TinySae(EARLY, "standard"), TinySae(LATE, "jumprelu"), TinySae(LAST, "gated")),
    "llama": (TinySae(EARLY, "topk-rescaled"), TinySae(LAST, "gated")),
    "gemma2": (TinySae(LATE, "jumprelu-centred"), TinySae(LAST, "standard", config=NORM)),
    "neox": (TinySae("blocks.0.hook_resid_pre", "standard", config=NORM), TinySae(LAST, "jumprelu")),
    "qwen3": (TinySae(EARLY, "standard"), TinySae(LAST, "topk-rescaled")),
}


class Opened:
    """A model as the program opens it, its run on one prompt, and the oracle's model."""

    def __init__(self, shape: str, folder: Path) -> None:
        built = build_model_with(shape, folder, CASES[shape])
        problem = open_problem(built, TASKS["index"])
        self.oracle = EdgeOracle(open_naive(built, problem), set())
        prompts = problem.prompt_sets["test"].clean
        self.tokens = prompts.tokens[0, : int(prompts.lengths[0])]
        self.run = PlainRun(problem.model, problem.sites, self.tokens, prompts.n_bos)

    def targets(self) -> list[Target]:
        found: list[Target] = [LogitTarget(6, 5), LogitTarget(4, 7, 9)]
        for site in self.run.on_stream:
            fires = self.run.stream_at(site).activations[1:].nonzero()
            token, latent = fires[len(fires) // 2].tolist()
            found.append(LatentTarget(site, latent, token + 1))
        return found

    def gradient(self, depth_hook: str | None, target: Target, last: int = 99, cut: Any = None) -> tuple[float, Tensor]:
        """The target's value, and its gradient `[position, d]` by the stream at a hook, or by the embeddings."""
        hf, seen = self.oracle.hf, dict[str, Tensor]()
        leaf: list[Tensor] = []

        def write(x: Tensor) -> Tensor:
            leaf.append(x.detach().requires_grad_())
            return leaf[0]

        def read(x: Tensor) -> None:
            seen["x"] = x

        name = depth_hook or "blocks.0.hook_resid_pre"
        handles = [tap(hf, name, write)]
        if isinstance(target, LatentTarget):
            handles.append(tap(hf, self.run.sites[target.site].hook, read))
        try:
            with frozen_model(hf), self.oracle._cut_heads(last, cut):
                logits = hf(self.tokens.unsqueeze(0), use_cache=False).logits[0]
                value = self._value(target, logits, seen)
                (slope,) = torch.autograd.grad(value, leaf[0], allow_unused=True) if value.requires_grad else (None,)
        finally:
            for handle in handles:
                handle.remove()
        return float(value.detach()), torch.zeros_like(leaf[0])[0] if slope is None else slope[0]

    def _value(self, target: Target, logits: Tensor, seen: dict[str, Tensor]) -> Tensor:
        if isinstance(target, LogitTarget):
            cap = getattr(self.oracle.hf.config, "final_logit_softcapping", None)
            row = logits[target.token] if cap is None else cap * torch.atanh(logits[target.token] / cap)
            return row[target.right] - (0 if target.wrong is None else row[target.wrong])
        sae, x = self.oracle.naive.saes[target.site], seen["x"][0]
        if sae.cfg.normalize_activations == "layer_norm":
            held = x.detach().std(-1, keepdim=True) + 1e-5
            return ((x - x.mean(-1, keepdim=True)) / held @ sae.W_enc)[target.token, target.latent]
        return self.oracle.pre_activation(target.site, x)[target.token, target.latent]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Opened]:
    @cache
    def made(shape: str) -> Opened:
        torch.manual_seed(0)
        return Opened(shape, tmp_path_factory.mktemp(f"dfa-{shape}"))

    return made


def _source_hook(run: PlainRun, target: Target) -> str | None:
    end = 99 if isinstance(target, LogitTarget) else run.sites[target.site].depth
    before = [site for site in run.sites if site.depth < end]
    return before[-1].hook if before else None


def _written(run: PlainRun, part: AttributionPart) -> Tensor:
    """What a part is in the stream at its token, by sae-lens' own decoder."""
    assert part.token is not None
    if part.kind == "embedding":
        return run.streams[0][part.token]
    assert part.site is not None
    sae, x = run.sites[part.site].sae, run.streams[run.sites[part.site].depth]
    acts = sae.encode(x)
    if part.kind == "error":
        return x[part.token] - sae.rebuild(acts, x)[part.token]
    without = acts.clone()
    without[part.token, part.latent] = 0
    return (sae.rebuild(acts, x) - sae.rebuild(without, x))[part.token]


@pytest.mark.parametrize("shape", CASES)
def test_parts_are_slopes_under_the_freezes_and_add_up(opened: Callable[[str], Opened], shape: str) -> None:
    case = opened(shape)
    run = case.run
    for target in case.targets():
        expansion = expand(run, target)
        value, slope = case.gradient(_source_hook(run, target), target)
        scale = max(1.0, abs(value), max(abs(part.value) for part in expansion.parts))
        assert expansion.total == pytest.approx(expansion.value, abs=2e-4 * scale)
        normalised = isinstance(target, LatentTarget) and run.sites[target.site].sae.transform is not None
        if not normalised:  # there the oracle's value lacks the encoder's bias
            assert expansion.value == pytest.approx(value, abs=2e-4 * scale)
        by_source: dict[Any, list[AttributionPart]] = {}
        for part in expansion.parts:
            if part.kind in ("latent", "error", "embedding"):
                by_source.setdefault((part.kind, part.site, part.latent, part.token), []).append(part)
        assert by_source
        for parts in by_source.values():
            token = parts[0].token
            assert token is not None
            expected = float((_written(run, parts[0]) * slope[token]).sum())
            assert sum(part.value for part in parts) == pytest.approx(expected, abs=2e-4 * scale)


@pytest.mark.parametrize("shape", ["llama", "gemma2", "neox"])
def test_a_part_through_a_head_is_what_goes_when_that_head_is_cut_last(
    opened: Callable[[str], Opened], shape: str
) -> None:
    case = opened(shape)
    run = case.run
    target = case.targets()[-1] if shape != "neox" else LatentTarget(1, *_fires(run, 1))
    expansion = expand(run, target)
    hook = _source_hook(run, target)
    heads = {part.head for part in expansion.parts if part.head is not None}
    assert len({block for block, _ in heads}) >= (2 if shape != "gemma2" else 1)
    _, past = case.gradient(hook, target, last=-1)
    slopes = {
        head: case.gradient(hook, target, head[0])[1] - case.gradient(hook, target, head[0], head)[1] for head in heads
    }
    scale = max(1.0, max(abs(part.value) for part in expansion.parts))
    for part in expansion.parts:
        if part.kind not in ("latent", "error", "embedding"):
            continue
        assert part.token is not None
        slope = past if part.head is None else slopes[part.head]
        assert part.value == pytest.approx(float((_written(run, part) * slope[part.token]).sum()), abs=2e-4 * scale)


def _fires(run: PlainRun, site: int) -> tuple[int, int]:
    token, latent = run.stream_at(site).activations[1:].nonzero()[-1].tolist()
    return latent, token + 1


def test_the_rest_stands_as_one_part_and_the_sum_stays(opened: Callable[[str], Opened]) -> None:
    run = opened("gpt2").run
    target = LogitTarget(6, 5)
    whole, cut = expand(run, target), expand(run, target, 3)
    (others,) = [part for part in cut.parts if part.kind == "others"]
    assert others.count == sum(part.kind not in ("block", "constant") for part in whole.parts) - 3
    assert cut.total == pytest.approx(whole.total, abs=1e-4)
    assert cut.unexplained == pytest.approx(whole.unexplained, abs=1e-5)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        (LogitTarget(7, 5), "token 7: the prompt has tokens 0 to 6"),
        (LatentTarget(0, 10_000, 3), "the SAE has"),
    ],
)
def test_a_target_that_is_not_there_is_refused(opened: Callable[[str], Opened], target: Target, says: str) -> None:
    with pytest.raises(UserError, match=says):
        expand(opened("gpt2").run, target)
