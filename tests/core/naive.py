"""The method, written a second time from its definitions, to check the engine against.

Nothing of the engine is used but the plain data of a `Task`: a Hugging Face model with forward hooks, SAEs as
sae-lens opens them, one prompt at a time and no padding. A node is named (site, position name, latent); `None` as a
position name means BOS, which is left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.task import Pair, Task

Node = tuple[int, str, int]
Edit = Callable[[Tensor], Tensor]


class Naive:
    """Everything asked of a circuit on `task`. `drawn(split, prompt, token)` names the source of a resampled token."""

    def __init__(
        self,
        folder: Path,
        sae_folders: Sequence[Path],
        task: Task,
        kind: str,
        ablation: str,
        errors: str,
        drawn: Callable[[str, int, int], tuple[int, int]] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.saes = [SAE.load_from_disk(path, dtype=str(dtype).removeprefix("torch.")) for path in sae_folders]
        self.hooks = [sae.cfg.metadata.hook_name.split(".") for sae in self.saes]
        self.task, self.kind, self.ablation, self.errors, self.drawn = task, kind, ablation, errors, drawn
        self.has_roles = all(pair.roles for pair in task.pairs)
        train = task.split("train")
        self.longest = max(len(text.split()) for pair in train for text in (pair.clean, pair.corrupt))
        self.known_lengths = sorted({len(pair.corrupt.split()) for pair in train})
        self.means: list[dict[Any, Tensor]] = []
        self.error_means: list[dict[Any, Tensor]] = []
        # The same text is asked for many times.
        self.plain = cache(self._plain)
        self.spliced_until = cache(self._spliced_until)
        for _ in self.saes:
            self._survey()

    # -- text ---------------------------------------------------------------------------------------------------------

    def tokens(self, text: str) -> Tensor:
        ids = [self.tokenizer.convert_tokens_to_ids(word) for word in text.split()]
        return torch.tensor([[self.tokenizer.convert_tokens_to_ids("<bos>"), *ids]])

    def names(self, pair: Pair, text: str) -> list[str | None]:
        """The position name of each token."""
        n = len(text.split())
        if self.kind == "shared":
            return [None] + ["all"] * n
        if self.kind == "end":
            return [None] + [str(-min(n - index, self.longest)) for index in range(n)]
        return [None, *(pair.roles if self.has_roles else map(str, range(n)))]

    def cells(self, pair: Pair, text: str) -> list[Any]:
        """Over which tokens the mean is taken that each token gets."""
        if self.kind != "shared":
            return self.names(pair, text)
        n = len(text.split())
        like = min(self.known_lengths, key=lambda known: (abs(known - n), known))
        return [None] + [(like, min(index, like - 1)) for index in range(n)]

    # -- the model ----------------------------------------------------------------------------------------------------

    def run(self, tokens: Tensor, edits: dict[int, Edit]) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits after the last token, and the residual that reached each site; `edits[site]` replaces it there."""
        seen: dict[int, Tensor] = {}

        def at(site: int, resid: Tensor) -> Tensor:
            seen[site] = resid[0]
            return edits[site](resid[0]).unsqueeze(0) if site in edits else resid

        def post(site: int) -> Callable[..., Any]:
            def hook(_: Any, __: Any, out: Any) -> Any:
                return (at(site, out[0]), *out[1:]) if isinstance(out, tuple) else at(site, out)

            return hook

        def pre(site: int) -> Callable[..., Any]:
            def hook(_: Any, args: Any, kwargs: Any) -> Any:
                return (at(site, args[0]), *args[1:]), kwargs

            return hook

        body = getattr(self.hf, self.hf.base_model_prefix)
        layers = body.h if hasattr(body, "h") else body.layers
        handles = []
        for site, (_, layer, name) in enumerate(self.hooks):
            block = layers[int(layer)]
            if name == "hook_resid_post":
                handles.append(block.register_forward_hook(post(site)))
            else:
                handles.append(block.register_forward_pre_hook(pre(site), with_kwargs=True))
        try:
            return self.hf(tokens, use_cache=False).logits[0, -1], seen
        finally:
            for handle in handles:
                handle.remove()

    def _plain(self, text: str) -> tuple[Tensor, dict[int, Tensor]]:
        with torch.no_grad():
            return self.run(self.tokens(text), {})

    # -- the splice ---------------------------------------------------------------------------------------------------

    def error(self, site: int, pair: Pair, text: str) -> list[Any]:
        """What is added to the decoded activations at each token."""
        cells = self.cells(pair, text)
        if self.errors == "drop":
            return [0.0] * len(cells)
        if self.errors == "mean":
            return [None if cell is None else self.error_means[site][cell] for cell in cells]
        x = self.plain(text)[1][site]
        sae = self.saes[site]
        return list((x - sae.decode(sae.encode(x))).detach())

    def edit(self, site: int, pair: Pair, text: str, change: Callable[[int, Tensor], Tensor]) -> Edit:
        """A splice in which the activations of each token go through `change(token, activations)`."""
        sae, errors, names = self.saes[site], self.error(site, pair, text), self.names(pair, text)

        def spliced(resid: Tensor) -> Tensor:
            rows = []
            for token, row in enumerate(resid):
                if names[token] is not None:
                    row = sae.decode(change(token, sae.encode(row))) + errors[token]
                rows.append(row)
            return torch.stack(rows)

        return spliced

    def _spliced_until(self, pair: Pair, text: str, stop: int) -> tuple[Tensor, dict[int, Tensor]]:
        """M_s at the sites before `stop`."""
        edits = {site: self.edit(site, pair, text, lambda _, acts: acts) for site in range(stop)}
        with torch.no_grad():
            return self.run(self.tokens(text), edits)

    def _survey(self) -> None:
        """The means of the next site: M_s on the source prompts, spliced at the sites before it."""
        site = len(self.means)
        acts, errors = defaultdict(list), defaultdict(list)
        for pair in self.task.split("train"):
            text = pair.clean if self.ablation == "clean-mean" else pair.corrupt
            resid = self.spliced_until(pair, text, site)[1][site]
            a = self.saes[site].encode(resid).detach()
            e = resid - self.saes[site].decode(a).detach()
            for token, cell in enumerate(self.cells(pair, text)):
                if cell is not None:
                    acts[cell].append(a[token])
                    errors[cell].append(e[token])
        # A position that no source prompt has is ablated to zero.
        nothing, no_error = torch.zeros_like(a[0]), torch.zeros_like(e[0])
        self.means.append(defaultdict(lambda: nothing))
        self.error_means.append(defaultdict(lambda: no_error))
        for cell in acts:
            self.means[site][cell] = torch.stack(acts[cell]).mean(0)
            self.error_means[site][cell] = torch.stack(errors[cell]).mean(0)

    def reference(self, site: int, split: str, prompt: int, token: int) -> Tensor:
        """What an ablated latent is replaced by, `[latent]`."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        if self.ablation == "zero":
            return torch.zeros(self.saes[site].cfg.d_sae, dtype=self.saes[site].W_dec.dtype)
        if self.ablation == "resample":
            assert self.drawn is not None
            source, at = self.drawn(split, prompt, token)
            donor = self.task.split("train")[source]
            resid = self.spliced_until(donor, donor.corrupt, site)[1][site][at]
            return self.saes[site].encode(resid).detach()
        return self.means[site][self.cells(pair, pair.clean)[token]]

    # -- what is asked ------------------------------------------------------------------------------------------------

    def spliced(self, split: str, prompt: int) -> Tensor:
        """Logits under M_s."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        return self.spliced_until(pair, pair.clean, len(self.saes))[0]

    def masked(self, split: str, prompt: int, mask: Callable[[int, str], Tensor]) -> Tensor:
        """Logits with A' = r + m * (A - r), m = `mask(site, position name)` `[latent]`."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        names = self.names(pair, pair.clean)

        def change(site: int) -> Callable[[int, Tensor], Tensor]:
            def blend(token: int, acts: Tensor) -> Tensor:
                name = names[token]
                assert name is not None
                reference = self.reference(site, split, prompt, token)
                return reference + mask(site, name) * (acts - reference)

            return blend

        edits = {site: self.edit(site, pair, pair.clean, change(site)) for site in range(len(self.saes))}
        return self.run(self.tokens(pair.clean), edits)[0]

    def kept(self, split: str, prompt: int, nodes: set[Node], *, invert: bool = False) -> Tensor:
        """Logits with `nodes` kept and every other node ablated, or the other way round."""

        def mask(site: int, name: str) -> Tensor:
            own = torch.zeros_like(self.saes[site].W_dec[:, 0])
            own[[latent for s, position, latent in nodes if (s, position) == (site, name)]] = 1.0
            return 1.0 - own if invert else own

        with torch.no_grad():
            return self.masked(split, prompt, mask)

    def measure(self, split: str, prompt: int, logits: Tensor) -> tuple[float, float, float]:
        """Logit difference, KL(M || this) and cross-entropy of the right answer."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        right, wrong = (self.tokenizer.convert_tokens_to_ids(text.strip()) for text in (pair.answer, pair.wrong))
        p, q = self.plain(pair.clean)[0].double().softmax(-1), logits.double().softmax(-1)
        kl = float((p * (p / q).log()).sum())
        return float(logits[right] - logits[wrong]), kl, float(-q[right].log())
