"""The demo's numbers, computed by Hugging Face's own forward pass with torch hooks on its blocks.

This shares no code with the engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.demo import model_dir, sae_dirs
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.task import Pair, Task

Edit = Callable[[int, Tensor], Tensor]
"""Maps a site and its latents `[prompt, position without BOS, d_sae]` to the latents that are decoded."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of one split; `model`, `spliced` and `empty` are mean logit differences."""

    accuracy: float
    model: float
    spliced: float
    empty: float

    @property
    def faithfulness(self) -> float:
        """The faithfulness of the spliced model against the plain one."""
        return (self.spliced - self.empty) / (self.model - self.empty)


class Demo:
    """A model folder and SAE folders, by layer, loaded without the engine."""

    def __init__(self, model: Path, saes: tuple[Path, ...]) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self.model: Any = AutoModelForCausalLM.from_pretrained(model).eval()
        self.saes: list[Any] = [SAE.load_from_disk(folder) for folder in saes]

    def ids(self, prompts: list[str]) -> Tensor:
        """Returns token ids `[prompt, position]`, BOS first; the prompts have one length."""
        rows = [[self.tokenizer.bos_token_id, *self.tokenizer(prompt)["input_ids"]] for prompt in prompts]
        return torch.tensor(rows)

    @torch.no_grad()
    def logits(self, prompts: list[str], edit: Edit | None = None) -> Tensor:
        """Returns the last token's logits `[prompt, vocab]`; `edit` splices every SAE at all positions but BOS."""
        with ExitStack() as stack:
            if edit is not None:
                for site, sae in enumerate(self.saes):
                    layer = int(sae.cfg.metadata.hook_name.split(".")[1])

                    def splice(_module: Any, _inputs: Any, output: Any, site: int = site, sae: Any = sae) -> Any:
                        hidden = output[0] if isinstance(output, tuple) else output
                        hidden = hidden.clone()
                        hidden[:, 1:] = sae.decode(edit(site, sae.encode(hidden[:, 1:])))
                        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

                    stack.callback(self.model.transformer.h[layer].register_forward_hook(splice).remove)
            logits: Tensor = self.model(input_ids=self.ids(prompts), use_cache=False).logits[:, -1]
        return logits

    def logit_differences(self, pairs: tuple[Pair, ...], edit: Edit | None = None) -> Tensor:
        """Returns the logit of the answer minus that of the wrong answer after the clean prompts, `[pair]`."""
        logits = self.logits([pair.clean for pair in pairs], edit)
        answers = [[self.tokenizer(text)["input_ids"] for text in (pair.answer, pair.wrong)] for pair in pairs]
        chosen = logits.gather(1, torch.tensor(answers).squeeze(-1))
        return chosen[:, 0] - chosen[:, 1]

    def role_means(self, pairs: tuple[Pair, ...]) -> list[dict[str, Tensor]]:
        """Returns for each site the mean latents `[d_sae]` at each role over the corrupt prompts, all SAEs spliced."""
        kept: list[Tensor] = []

        def keep(_site: int, latents: Tensor) -> Tensor:
            kept.append(latents)
            return latents

        self.logits([pair.corrupt for pair in pairs], keep)
        means = []
        for latents in kept:
            rows: dict[str, list[Tensor]] = defaultdict(list)
            for row, pair in zip(latents, pairs, strict=True):
                for position, role in enumerate(pair.roles):
                    rows[role].append(row[position])
            means.append({role: torch.stack(values).mean(0) for role, values in rows.items()})
        return means

    def measure(self, task: Task, split: Any = "test") -> Numbers:
        """Returns the four numbers of one task and split."""
        pairs, means = task.split(split), self.role_means(task.split("train"))

        def empty(site: int, _latents: Tensor) -> Tensor:
            return torch.stack([torch.stack([means[site][role] for role in pair.roles]) for pair in pairs])

        plain = self.logit_differences(pairs)
        return Numbers(
            accuracy=float((plain > 0).float().mean()),
            model=float(plain.mean()),
            spliced=float(self.logit_differences(pairs, lambda _site, latents: latents).mean()),
            empty=float(self.logit_differences(pairs, empty).mean()),
        )


@pytest.fixture(scope="module")
def demo() -> Demo:
    return Demo(model_dir(), sae_dirs())


@pytest.mark.parametrize("name", tasks.DEMO_TASKS)
def test_the_demo_reaches_its_bounds(demo: Demo, name: str) -> None:
    """On the whole test split, 99% is right, the splice keeps 95% of it, and nothing is left without the latents."""
    numbers = demo.measure(tasks.builtin(name))
    assert numbers.accuracy >= 0.99
    assert 0.95 <= numbers.faithfulness <= 1.05
    assert abs(numbers.empty) < 0.1 * numbers.model


@pytest.mark.parametrize("name", tasks.DEMO_TASKS)
def test_the_model_can_do_the_unseen_template(demo: Demo, name: str) -> None:
    differences = demo.logit_differences(tasks.builtin(name).split("unseen"))
    assert float((differences > 0).float().mean()) >= 0.97
