"""The method written a second time from its definitions: the oracle that the engine is checked against.

It uses nothing of the engine except the plain data of a `Task`: a Hugging Face model with forward hooks, SAEs as
sae-lens opens them, one prompt at a time and no padding. A node is named (site, position name, latent); `None` as a
position name means BOS, which is never spliced. A text may be a prompt followed by words of an answer, as in
`"the cat // runs now"`; an `AnswerPrefix` says how many words of which answer, and each word of an answer takes its own
pass.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE
from sae_lens.saes.sae import TrainingSAE
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.tasks.task import Pair, Task

Node = tuple[int, str, int]
AnswerPrefix = tuple[int, int]
"""(0 for the right answer or 1 for the wrong one, how many of its words stand behind the prompt)."""
NO_PREFIX: AnswerPrefix = (0, 0)
Edit = Callable[[Tensor, Tensor], Tensor]
"""From what the SAE reads and what is there, both `[token, d]`, to what will be there."""


def tap(hf: Any, name: str, at: Callable[[Tensor], Tensor | None]) -> Any:
    """Replaces the output `[prompt, token, d]` of a hook, by TransformerLens' name, by what `at` makes of it."""
    body = getattr(hf, hf.base_model_prefix)
    body = getattr(body, "language_model", body)  # where there is a vision tower
    _, layer, point = name.split(".", 2)
    block = (body.h if hasattr(body, "h") else body.layers)[int(layer)]
    attention = next(getattr(block, key) for key in ("attn", "self_attn", "attention") if hasattr(block, key))
    mix = next(getattr(attention, key) for key in ("c_proj", "o_proj", "dense") if hasattr(attention, key))

    def before(_: Any, args: Any, kwargs: Any) -> Any:
        x = args[0] if args else kwargs["hidden_states"]
        given = at(x)
        if given is None:
            return None
        return ((given, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": given})

    def after(_: Any, __: Any, out: Any) -> Any:
        given = at(out[0] if isinstance(out, tuple) else out)
        if given is None:
            return None
        return (given, *out[1:]) if isinstance(out, tuple) else given

    if point == "hook_resid_post":
        return block.register_forward_hook(after)
    if point == "hook_resid_pre":
        return block.register_forward_pre_hook(before, with_kwargs=True)
    if point in ("hook_z", "attn.hook_z"):
        return mix.register_forward_pre_hook(before, with_kwargs=True)
    if point in ("hook_mlp_in", "mlp.hook_in"):
        return block.mlp.register_forward_pre_hook(before, with_kwargs=True)
    # Gemma's blocks normalise once more what they add to the stream.
    gemma = hasattr(block, "post_feedforward_layernorm")
    if point == "ln2.hook_normalized":
        return before_mlp(block).register_forward_pre_hook(lambda _, args: normalised(args[0], at))
    if point == "hook_resid_mid":
        return between(block, at)
    if point == "hook_mlp_out":
        return (block.post_feedforward_layernorm if gemma else block.mlp).register_forward_hook(after)
    assert point == "hook_attn_out"
    return (block.post_attention_layernorm if gemma else attention).register_forward_hook(after)


def before_mlp(block: Any) -> Any:
    """The norm in front of the MLP."""
    names = ("ln_2", "pre_feedforward_layernorm", "post_attention_layernorm")
    return next(getattr(block, name) for name in names if hasattr(block, name))


def normalised(x: Tensor, at: Callable[[Tensor], Tensor | None]) -> None:
    """`at` sees the output of an RMS norm for `x` before its gain (no model here has a larger epsilon); read-only."""
    assert at(x * (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()) is None


def between(block: Any, at: Callable[[Tensor], Tensor | None]) -> Any:
    """`tap` between attention and MLP: on the input of the MLP's norm, and on the stream past both."""
    norm = before_mlp(block)
    moved: list[Tensor] = []

    def enter(_: Any, args: Any) -> Any:
        given = at(args[0])
        moved[:] = [] if given is None else [given - args[0]]
        return None if given is None else (given, *args[1:])

    def leave(_: Any, __: Any, out: Any) -> Any:
        if not moved:
            return None
        return (out[0] + moved[0], *out[1:]) if isinstance(out, tuple) else out + moved[0]

    return Handles([norm.register_forward_pre_hook(enter), block.register_forward_hook(leave)])


class Handles(list[Any]):
    """Several hooks that are removed as one."""

    def remove(self) -> None:  # type: ignore[override]
        for handle in self:
            handle.remove()


@lru_cache(maxsize=8)
def opened(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model of a folder and its tokenizer; nothing changes them."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=dtype)
    return model.eval().requires_grad_(False), AutoTokenizer.from_pretrained(folder)


def for_use(folder: Path) -> Path:
    """The folder of an SAE, or of the inference SAE made from a training checkpoint."""
    if json.loads((folder / "cfg.json").read_text())["architecture"] not in ("batchtopk", "matryoshka_batchtopk"):
        return folder
    TrainingSAE.load_from_disk(folder).save_inference_model(folder / "use")
    return folder / "use"


def open_sae(folder: Path, dtype: torch.dtype) -> Any:
    """The SAE in a folder; the inputs of one trained on scaled activations are scaled, and its outputs scaled back."""
    sae = SAE.load_from_disk(for_use(folder), dtype=str(dtype).removeprefix("torch."))
    sae.turn_off_forward_pass_hook_z_reshaping()
    factor = json.loads((folder / "cfg.json").read_text()).get("norm_scaling_factor")
    if factor is not None:
        encode, decode = sae.encode, sae.decode
        sae.encode, sae.decode = lambda x: encode(x * factor), lambda acts: decode(acts) / factor
    return sae


def rebuilt(sae: Any, x: Tensor, acts: Tensor) -> Tensor:
    """The output of an SAE or transcoder for activations `acts` when its input is `x`."""
    skip = getattr(sae, "W_skip", None)
    return sae.decode(acts) if skip is None else sae.decode(acts) + x @ skip.t()


class Naive:
    """Every number of a circuit on `task`.

    `drawn(split, prompt, answer, token)` names the source of a resampled token: a train prompt, and a token of it with
    the same answer (0 right, 1 wrong) behind it.
    """

    def __init__(
        self,
        folder: Path,
        sae_folders: Sequence[Path],
        task: Task,
        kind: str,
        ablation: str,
        errors: str,
        drawn: Callable[[str, int, int, int], tuple[int, int]] | None = None,
        dtype: torch.dtype = torch.float32,
        hf: Any = None,
    ) -> None:
        model, self.tokenizer = opened(folder, dtype)
        self.hf = hf or model
        self.saes = [open_sae(path, dtype) for path in sae_folders]
        self.outputs: dict[int, Tensor] = {}
        self.task, self.kind, self.ablation, self.errors, self.drawn = task, kind, ablation, errors, drawn
        self.has_roles = all(pair.roles for pair in task.pairs)
        train = task.split("train")
        self.roles = {role for pair in train for role in pair.roles}
        self.longest = max(len(text.split()) for pair in train for text in (pair.clean, pair.corrupt))
        self.several = any(len(text.split()) > 1 for pair in task.pairs for text in (pair.answer, pair.wrong))
        self.longest_answer = max(len(text.split()) - 1 for pair in train for text in (pair.answer, pair.wrong))
        self.known_lengths = sorted({len(pair.corrupt.split()) for pair in train})
        self.means: list[dict[Any, Tensor]] = []
        self.error_means: list[dict[Any, Tensor]] = []
        # The same text is needed many times.
        self.plain = cache(self._plain)
        self.spliced_until = cache(self._spliced_until)
        for _ in self.saes:
            self._compute_means()

    # -- text ---------------------------------------------------------------------------------------------------------

    def tokens(self, text: str) -> Tensor:
        ids = [self.tokenizer.convert_tokens_to_ids(word) for word in text.replace(" //", "").split()]
        return torch.tensor([[self.tokenizer.convert_tokens_to_ids("<bos>"), *ids]])

    def with_answer(self, pair: Pair, prompt: str, prefix: AnswerPrefix) -> str:
        """A prompt of `pair` followed by the first words of an answer."""
        words = (pair.answer, pair.wrong)[prefix[0]].split()[: prefix[1]]
        return " ".join([prompt, "//", *words]) if words else prompt

    def answered(self, pair: Pair, prompt: str) -> list[str]:
        """The texts that statistics are taken over: the prompt followed by each answer without its last word."""
        if not self.several:
            return [prompt]
        answers = enumerate((pair.answer, pair.wrong))
        return [self.with_answer(pair, prompt, (which, len(answer.split()) - 1)) for which, answer in answers]

    def names(self, pair: Pair, text: str) -> list[str | None]:
        """The position name of each token."""
        prompt, _, prefix = text.partition("//")
        n, n_answer = len(prompt.split()), len(prefix.split())
        if self.kind == "shared":
            return [None] + ["all"] * (n + n_answer)
        answers = [f"answer{min(index + 1, self.longest_answer)}" for index in range(n_answer)]
        if self.kind == "end":
            return [None, *(str(-min(n - index, self.longest)) for index in range(n)), *answers]
        # A role that no train prompt has is no position.
        roles = [role if role in self.roles else None for role in pair.roles]
        return [None, *(roles if self.has_roles else map(str, range(n))), *answers]

    def mean_groups(self, pair: Pair, text: str) -> list[Any]:
        """For each token, the group of tokens that its ablation mean is taken over."""
        if self.kind != "shared":
            return self.names(pair, text)
        prompt, _, prefix = text.partition("//")
        n = len(prompt.split())
        like = min(self.known_lengths, key=lambda known: (abs(known - n), known))
        answers = [min(index, self.longest_answer - 1) for index in range(len(prefix.split()))]
        return [None, *((like, min(index, like - 1)) for index in range(n)), *answers]

    # -- the model ----------------------------------------------------------------------------------------------------

    def run(self, tokens: Tensor, edits: dict[int, Edit]) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits after the last token, and the input at each site; `edits[site]` replaces the output there."""
        seen: dict[int, Tensor] = {}

        def read(site: int) -> Callable[[Tensor], None]:
            def at(x: Tensor) -> None:
                seen[site] = x[0]

            return at

        def write(site: int) -> Callable[[Tensor], Tensor]:
            def at(x: Tensor) -> Tensor:
                self.outputs[site] = x[0]
                return edits[site](seen[site], x[0]).unsqueeze(0) if site in edits else x

            return at

        handles = []
        for site, sae in enumerate(self.saes):
            name = sae.cfg.metadata.hook_name
            handles += [tap(self.hf, name, read(site))]
            handles += [tap(self.hf, sae.cfg.metadata.get("hook_name_out") or name, write(site))]
        try:
            return self.hf(tokens, use_cache=False).logits[0, -1], seen
        finally:
            for handle in handles:
                handle.remove()

    def _plain(self, text: str) -> tuple[Tensor, dict[int, Tensor]]:
        with torch.no_grad():
            return self.run(self.tokens(text), {})

    def replaced_output(self, site: int, x: Tensor, again: Callable[[], Any]) -> Tensor:
        """What a site's output replaces: its input; for a transcoder the output of the other hook, by `again`."""
        if self.saes[site].cfg.metadata.get("hook_name_out") is None:
            return x
        again()
        return self.outputs[site].detach()

    # -- the splice ---------------------------------------------------------------------------------------------------

    def error(self, site: int, pair: Pair, text: str) -> list[Any]:
        """The error that is added to the decoded activations at each token."""
        mean_groups = self.mean_groups(pair, text)
        if self.errors == "drop":
            return [0.0] * len(mean_groups)
        if self.errors == "mean":
            return [None if group is None else self.error_means[site][group] for group in mean_groups]
        x, sae = self.plain(text)[1][site], self.saes[site]
        output = self.replaced_output(site, x, lambda: self._plain(text))
        return list((output - rebuilt(sae, x, sae.encode(x))).detach())

    def edit(self, site: int, pair: Pair, text: str, change: Callable[[int, Tensor], Tensor]) -> Edit:
        """A splice that applies `change(token, activations)` to the activations of each token."""
        sae, errors, names = self.saes[site], self.error(site, pair, text), self.names(pair, text)

        def spliced(x: Tensor, output: Tensor) -> Tensor:
            acts = sae.encode(x)  # of all tokens: sae-lens decodes with the statistics of what it encoded last
            changed = [own if names[token] is None else change(token, own) for token, own in enumerate(acts)]
            made = rebuilt(sae, x, torch.stack(changed))
            rows = [kept if names[at] is None else made[at] + errors[at] for at, kept in enumerate(output)]
            return torch.stack(rows)

        return spliced

    def _spliced_until(self, pair: Pair, text: str, stop: int) -> tuple[Tensor, dict[int, Tensor]]:
        """M_s at the sites before `stop`."""
        edits = {site: self.edit(site, pair, text, lambda _, acts: acts) for site in range(stop)}
        with torch.no_grad():
            return self.run(self.tokens(text), edits)

    def _compute_means(self) -> None:
        """The means at the next site, under M_s on the source prompts, spliced at the sites before it."""
        site = len(self.means)
        acts, errors = defaultdict(list), defaultdict(list)
        source = "clean" if self.ablation == "clean-mean" else "corrupt"
        train = self.task.split("train")
        texts = [(pair, text) for pair in train for text in self.answered(pair, getattr(pair, source))]
        for pair, text in texts:
            resid = self.spliced_until(pair, text, site)[1][site]
            output = self.replaced_output(
                site, resid, lambda pair=pair, text=text: self._spliced_until(pair, text, site)
            )
            a = self.saes[site].encode(resid).detach()
            e = output - rebuilt(self.saes[site], resid, a).detach()
            for token, group in enumerate(self.mean_groups(pair, text)):
                if group is not None:
                    acts[group].append(a[token])
                    errors[group].append(e[token])
        # A position that no source prompt has is ablated to zero.
        nothing, no_error = torch.zeros_like(a[0]), torch.zeros_like(e[0])
        self.means.append(defaultdict(lambda: nothing))
        self.error_means.append(defaultdict(lambda: no_error))
        for group in acts:
            self.means[site][group] = torch.stack(acts[group]).mean(0)
            self.error_means[site][group] = torch.stack(errors[group]).mean(0)

    def reference(self, site: int, split: str, prompt: int, prefix: AnswerPrefix, token: int) -> Tensor:
        """The reference of an ablated latent, `[latent]`."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        if self.ablation == "zero":
            return torch.zeros(self.saes[site].cfg.d_sae, dtype=self.saes[site].W_dec.dtype)
        if self.ablation == "resample":
            assert self.drawn is not None
            # As long as the two answers agree they are one text.
            behind = max(0, token - len(pair.clean.split()))
            words = [answer.split()[:behind] for answer in (pair.answer, pair.wrong)]
            which = 0 if words[0] == words[1] else prefix[0]
            source, at = self.drawn(split, prompt, which, token)
            donor = self.task.split("train")[source]
            text = self.answered(donor, donor.corrupt)[which]
            resid = self.spliced_until(donor, text, site)[1][site][at]
            return self.saes[site].encode(resid).detach()
        return self.means[site][self.mean_groups(pair, self.with_answer(pair, pair.clean, prefix))[token]]

    # -- results -----------------------------------------------------------------------------------------------------

    def unspliced(self, split: str, prompt: int, prefix: AnswerPrefix = NO_PREFIX) -> Tensor:
        """Logits under M."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        return self.plain(self.with_answer(pair, pair.clean, prefix))[0]

    def spliced(self, split: str, prompt: int, prefix: AnswerPrefix = NO_PREFIX) -> Tensor:
        """Logits under M_s."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        return self.spliced_until(pair, self.with_answer(pair, pair.clean, prefix), len(self.saes))[0]

    def masked(
        self, split: str, prompt: int, mask: Callable[[int, str], Tensor], prefix: AnswerPrefix = NO_PREFIX
    ) -> Tensor:
        """Logits with A' = r + m * (A - r), m = `mask(site, position name)` `[latent]`."""
        return self.blended(split, prompt, mask, prefix)[0]

    def blended(
        self, split: str, prompt: int, mask: Callable[[int, str], Tensor], prefix: AnswerPrefix = NO_PREFIX
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """`masked`, and the input at each site."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        text = self.with_answer(pair, pair.clean, prefix)
        names = self.names(pair, text)

        def change(site: int) -> Callable[[int, Tensor], Tensor]:
            def blend(token: int, acts: Tensor) -> Tensor:
                name = names[token]
                assert name is not None
                reference = self.reference(site, split, prompt, prefix, token)
                return reference + mask(site, name) * (acts - reference)

            return blend

        edits = {site: self.edit(site, pair, text, change(site)) for site in range(len(self.saes))}
        return self.run(self.tokens(text), edits)

    def sae_inputs(self, split: str, prompt: int, nodes: set[Node]) -> dict[int, Tensor]:
        """The input `[token, d_in]` of each site's SAE with `nodes` kept and every other node ablated."""
        with torch.no_grad():
            return self.blended(split, prompt, self.hard_mask(nodes, invert=False))[1]

    def kept(
        self, split: str, prompt: int, nodes: set[Node], prefix: AnswerPrefix = NO_PREFIX, *, invert: bool = False
    ) -> Tensor:
        """Logits with `nodes` kept and every other node ablated, or the other way round."""
        with torch.no_grad():
            return self.masked(split, prompt, self.hard_mask(nodes, invert=invert), prefix)

    def hard_mask(self, nodes: set[Node], *, invert: bool) -> Callable[[int, str], Tensor]:
        """The mask that is 1 at `nodes` alone, or 0 there alone."""

        def mask(site: int, name: str) -> Tensor:
            own = torch.zeros_like(self.saes[site].W_dec[:, 0])
            own[[latent for s, position, latent in nodes if (s, position) == (site, name)]] = 1.0
            return 1.0 - own if invert else own

        return mask

    def log_probability(self, pair: Pair, which: int, ask: Callable[[AnswerPrefix], Tensor]) -> Tensor:
        """Log-probability of an answer as a whole; `ask` returns the logits after a part of it."""
        words = (pair.answer, pair.wrong)[which].split()
        tokens = [self.tokenizer.convert_tokens_to_ids(word) for word in words]
        rows = [ask((which, k)).double().log_softmax(-1)[token] for k, token in enumerate(tokens)]
        return torch.stack(rows).sum()

    def measure_answers(
        self, split: str, prompt: int, ask: Callable[[AnswerPrefix], Tensor]
    ) -> tuple[float, float, float]:
        """Logit difference of the answers, KL(M || this) along the right one, and its cross-entropy."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        right, wrong = (self.log_probability(pair, which, ask) for which in (0, 1))
        kl = 0.0
        for k in range(len(pair.answer.split())):
            p, q = (one((0, k)).double().softmax(-1) for one in (lambda s: self.unspliced(split, prompt, s), ask))
            kl += float((p * (p / q).log()).sum())
        return float(right - wrong), kl, float(-right)

    def measure(self, split: str, prompt: int, logits: Tensor) -> tuple[float, float, float]:
        """The same for answers of one token, from the logits after the prompt; the difference is that of the logits."""
        pair = self.task.split(split)[prompt]  # type: ignore[arg-type]
        right, wrong = (self.tokenizer.convert_tokens_to_ids(text.strip()) for text in (pair.answer, pair.wrong))
        return float(logits[right] - logits[wrong]), *self.measure_answers(split, prompt, lambda _: logits)[1:]
