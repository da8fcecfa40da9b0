"""Models and SAEs of known shapes with random weights, built on the device, and problems made of them.

Only time and memory can be measured with them, and a search needs finite gradients: BOS gets an embedding like every
other token (`random_model`). JumpReLU thresholds are set so that about `L0` latents fire on a token.
The prompts come from one template with a few words to choose from at each place, as in real tasks.

What the prompts differ in is spread evenly over all latents that are random directions: a circuit then has thousands of
nodes, and the smallest says nothing. Where a whole search is measured, a few latents of each SAE carry it (`_carry`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.sae import SiteSae
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.problem import Problem, build_problem
from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.tasks.positions import align
from circuit_tui.core.tasks.task import Pair, Task
from circuit_tui.core.tasks.tokens import PromptSet, TokenizedPrompts

L0 = 50
SCALE = 0.25
"""At the full scale a latent that rounding lifts over its threshold lifts many at the next site: of 12 sites the last
have half of all latents firing on some prompts, four times as many candidates."""
PASS = 16
"""Prompts in a pass while a problem opens: all latents of all of them are in memory at once."""
CARRIED = 0.8
"""Share of what the prompts differ in at a site that a few latents carry, where there is to be a circuit to find."""


@dataclass(frozen=True)
class Shape:
    """A model and its SAEs: sites are `resid_post` of `layers`; `config` is what differs from the class's defaults."""

    layers: tuple[int, ...]
    d_sae: int
    config: dict[str, Any] = field(default_factory=dict)
    family: str = "GPT2Config"


def gemma_2(
    layers: int, width: int, heads: int, vocab: int, sites: tuple[int, ...], d_sae: int, head: int = 256
) -> Shape:
    """A shape of the family: half as many key-value heads as heads, an MLP four times as wide, both soft caps."""
    config = {
        "num_hidden_layers": layers, "hidden_size": width, "intermediate_size": 4 * width, "head_dim": head,
        "num_attention_heads": heads, "num_key_value_heads": heads // 2, "vocab_size": vocab,
        "query_pre_attn_scalar": head, "sliding_window": 4096, "max_position_embeddings": 8192,
        "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0,
    }  # fmt: skip
    return Shape(sites, d_sae, config, "Gemma2Config")


SHAPES = {
    "gpt2-small": Shape(tuple(range(12)), 24576),
    "gemma-2-2b-16k": gemma_2(26, 2304, 8, 256_000, (5, 12, 19), 16384),
    "gemma-2-2b-65k": gemma_2(26, 2304, 8, 256_000, (5, 12, 19), 65536),
    "gemma-2-9b-16k": gemma_2(42, 3584, 16, 256_000, (7, 14, 21, 40), 16384),
    "gemma-2-9b-131k": gemma_2(42, 3584, 16, 256_000, (7, 14, 21, 40), 131_072),
    # Not models that exist: the structure of 9B with a third of its layers, a quarter of its width and heads and an
    # eighth of its vocabulary and latents; and of 2B with a third of its layers, a third of its width, half its heads.
    "gemma-2-9b-scaled-down": gemma_2(14, 896, 4, 32_000, (2, 4, 7, 13), 16384),
    "gemma-2-2b-scaled-down": gemma_2(9, 768, 4, 32_000, (2, 4, 6), 8192, head=128),
    # The first four layers of GPT-2 small.
    "gpt2-4-layers": Shape((0, 1, 2, 3), 8192, {"n_layer": 4}),
    "gpt2-tiny": Shape((0, 1, 2), 1024, {"n_layer": 4, "n_embd": 128, "n_head": 4, "vocab_size": 512}),
    "gemma-2-tiny": gemma_2(4, 64, 2, 512, (1, 2), 512, head=32),
    # As many layers as 9B has.
    "gemma-2-tiny-deep": gemma_2(42, 32, 2, 512, (7, 14, 21, 40), 256, head=16),
    "gemma-2-tiny-deep-wide": gemma_2(42, 32, 2, 512, (7, 14, 21, 40), 1024, head=16),
}


def random_model(shape: Shape, device: torch.device, dtype: torch.dtype, shortcuts: bool = True) -> LanguageModel:
    """A model of this shape with random weights, made on `device`, with the shortcuts that a user's model takes.

    No token pads: the embedding of one that does is zero. At a BOS of zeros every norm of Gemma 2 divides by the root
    of its epsilon, twice a block, and gradients grow by 10^4 a block until they are NaN.
    """
    from transformer_lens.model_bridge import TransformerBridge

    torch.manual_seed(0)
    config = getattr(transformers, shape.family)(**shape.config, bos_token_id=0, eos_token_id=0, pad_token_id=None)
    words = {"<bos>": 0, **{f"w{index}": index for index in range(1, config.vocab_size)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<bos>")), bos_token="<bos>"
    )
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager")
    with tempfile.TemporaryDirectory() as folder:  # the bridge opens the tokenizer from where the model is named to be
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, hf_model=model, device=device, dtype=dtype)
    made = LanguageModel(bridge, "random", "", "", "none", tokenizer)
    tokens = template_tokens(2, 8, config.vocab_size).to(device)
    if not shortcuts:
        return made
    made.verify(tokens, torch.full((2,), 7, device=device))
    return made


def template_tokens(n_prompts: int, length: int, vocabulary: int) -> Tensor:
    """`[prompt, position]`: BOS, then at each place one of 1, 2 or 8 words."""
    draw = torch.Generator().manual_seed(1)
    # The words first: however many prompts there are, they are of one template.
    words = [torch.randint(1, vocabulary, ((1, 2, 8)[place % 3],), generator=draw) for place in range(length - 1)]
    columns = [torch.zeros(n_prompts, dtype=torch.long)]
    columns += [some[torch.randint(len(some), (n_prompts,), generator=draw)] for some in words]
    return torch.stack(columns, 1)


@torch.no_grad()
def random_sites(model: LanguageModel, shape: Shape, tokens: Tensor, carried: float = 0.0) -> list[Site]:
    """SAEs whose latents are random directions, float32.

    The threshold lets `L0` latents fire on a token. Random directions reconstruct badly, so the problems keep the
    errors, and the decoder has `SCALE` of the scale that fits: the stream then stays near the plain model's.
    `carried` is the share of what the prompts differ in that a few latents carry.
    """
    sites = []
    resid = model.embed(tokens)
    for layer in range(model.n_layers):
        resid = model.run_blocks(resid, layer, layer + 1)
        if layer not in shape.layers:
            continue
        config = JumpReLUSAEConfig(
            d_in=model.d_model, d_sae=shape.d_sae, apply_b_dec_to_input=False, device=str(model.device)
        )
        hook = config.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
        sae = JumpReLUSAE(config)
        x = resid[:, 1:].reshape(-1, model.d_model).float()
        directions = torch.nn.functional.normalize(torch.randn_like(sae.W_dec), dim=1)
        sae.W_enc.copy_(directions.t())
        sae.b_dec.copy_(x.mean(0))
        sae.b_enc.copy_(-(x.mean(0) @ sae.W_enc))
        z = (x[:64] @ sae.W_enc) + sae.b_enc
        sae.threshold.copy_(z.topk(min(L0, shape.d_sae // 8) + 1, dim=1)[0][:, -1].mean())
        fit = sae.encode(x[:256]) @ directions
        centred = x[:256] - x.mean(0)
        sae.W_dec.copy_(directions * SCALE * float((fit * centred).sum() / (fit * fit).sum()))
        if carried:
            _carry(sae, resid[:, 1:].float(), carried)
        sites.append(Site(hook, layer + 1, SiteSae(sae, "", hook, hook, hook, "")))
    return sites


def _carry(sae: JumpReLUSAE, resid: Tensor, share: float) -> None:
    """Gives the first latents what `resid` `[prompt, position, d_model]` differs in from prompt to prompt.

    As few principal directions as hold `share` of its variance at single positions become two latents each, one for
    either sign. The others write nothing along them, and fire as before.
    """
    differences = (resid - resid.mean(0)).reshape(-1, resid.shape[-1])
    _, sizes, directions = torch.linalg.svd(differences, full_matrices=False)
    count = int((sizes.square().cumsum(0) / sizes.square().sum() < share).sum()) + 1
    axes = directions[:count]
    sae.W_dec.sub_(sae.W_dec @ axes.t() @ axes)
    both = torch.cat([axes, -axes])
    sae.W_enc[:, : 2 * count] = both.t()
    sae.W_dec[: 2 * count] = both
    sae.b_enc[: 2 * count] = -(sae.b_dec @ both.t())
    sae.threshold[: 2 * count] = 0


def random_problem(
    shape: Shape, n_prompts: int, length: int, n_test: int = 64, model: LanguageModel | None = None,
    sites: list[Site] | None = None,
) -> Problem:  # fmt: skip
    """A problem with `n_prompts` train and `n_test` test prompts of `length` tokens.

    The right answer to a prompt is what the model likes best after it, the wrong one what it likes best after the
    corrupt prompt. `model` and `sites` are of this shape; on the CPU, in float32 and made now if not given.
    """
    model = model or random_model(shape, torch.device("cpu"), torch.float32)
    counts = {"train": n_prompts, "test": n_test}
    every = template_tokens(2 * sum(counts.values()), length, int(model.bridge.cfg.d_vocab)).to(model.device)
    sites = sites or random_sites(model, shape, every[:16])
    sets: Any = {}
    for split, count in counts.items():
        tokens, every = every[: 2 * count], every[2 * count :]
        sets[split] = _prompts(model, tokens, split)
    task = Task("random", "", tuple(pair for part in sets.values() for pair in part.pairs))
    return build_problem(model, sites, task, sets, align("each", sets, "random"), "mean", "keep", PASS, 0)


@torch.no_grad()
def _prompts(model: LanguageModel, tokens: Tensor, split: Any) -> PromptSet:
    count, length = len(tokens) // 2, tokens.shape[1]
    answer = torch.full((PASS,), length - 1, device=model.device)
    logits = [model.logits_from(model.embed(part), 0, answer[: len(part)]) for part in tokens.split(PASS)]
    best = torch.cat(logits).topk(2)[1]
    right, other = best[:count, 0], best[count:]
    wrong = torch.where(other[:, 0] == right, other[:, 1], other[:, 0])
    lengths = torch.full((count,), length, device=model.device)
    pairs = tuple(Pair(f"{split} {index}", f"{index}", "a", "b", split) for index in range(count))
    roles = tuple(() for _ in range(count))
    n_answer_tokens = torch.zeros_like(lengths)
    clean, corrupt = (TokenizedPrompts(part, lengths, 1, roles, n_answer_tokens) for part in tokens.split(count))
    single = [((one,), (other,)) for one, other in zip(right.tolist(), wrong.tolist(), strict=True)]
    return PromptSet(pairs, clean, corrupt, Answers.from_tokens(single, lengths.tolist(), 1, model.device))
