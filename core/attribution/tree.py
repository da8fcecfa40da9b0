"""The attribution tree of a prompt: a target expanded, its largest latents expanded again, back to the embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from circuit_tui.core.attribution.expand import expand
from circuit_tui.core.attribution.parts import AttributionPart, Expansion, LatentTarget, LogitTarget, Target
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.prompting.prompt_problem import tokenize_prompt
from circuit_tui.core.prompting.report import FreePrompt
from circuit_tui.core.tasks.continuation import continuation


@dataclass(frozen=True, slots=True)
class Branch:
    """One part of an expansion, with the expansion of its latent where there is one."""

    part: AttributionPart
    tree: Tree | None


@dataclass(frozen=True, slots=True)
class Tree:
    """An expansion and its branches, in the order of its parts."""

    expansion: Expansion
    branches: tuple[Branch, ...]


def open_run(opened: OpenedProblem, text: str) -> PlainRun:
    """Returns M's run over the prompt `text`, which needs no positions.

    Raises:
        UserError: as `tokenize_prompt` and `PlainRun`.
    """
    prompt = FreePrompt(text)
    prompt.check()
    prompts = tokenize_prompt(opened, prompt).clean
    tokens = prompts.tokens[0, : int(prompts.lengths[0])]
    return PlainRun(opened.problem.model, opened.problem.sites, tokens, prompts.n_bos)


def find_target(run: PlainRun, of: str | None, minus: str | None = None, token: int | None = None) -> Target:
    """Returns the target that words name, at `token` (the last if None).

    `of` is a latent such as ``L2/45``, the text of a token, or None for the token that M finds likeliest. `minus` is
    the text of a token whose logit is subtracted.

    Raises:
        UserError: there is no such site, or a text is not one token.
    """
    at = len(run.tokens) - 1 if token is None else token
    short, slash, latent = (of or "").partition("/")
    if slash and latent.isdigit():
        sites = [index for index, site in enumerate(run.sites) if short in (site.short, site.hook)]
        if not sites:
            raise UserError(f"--of {of}: no SAE is at {short}; there are {', '.join(site.short for site in run.sites)}")
        if minus is not None:
            raise UserError("--minus: only of a token can another's logit be subtracted")
        return LatentTarget(sites[0], int(latent), at)
    if not 0 <= at < len(run.tokens):
        raise UserError(f"--at {at}: the prompt has tokens 0 to {len(run.tokens) - 1}")
    right = int(run.logits[at].argmax()) if of is None else _token(run, "--of", of)
    return LogitTarget(at, right, None if minus is None else _token(run, "--minus", minus))


def find_answer(run: PlainRun, prompt: FreePrompt) -> LogitTarget:
    """Returns the answer of `prompt` less its wrong one, behind its last token; without them the likeliest token.

    Of answers of several tokens the first that differ count, if they are the first of all.

    Raises:
        UserError: the answers begin with the same token.
    """
    at = len(run.tokens) - 1
    if prompt.answer is None or prompt.wrong is None:
        return LogitTarget(at, int(run.logits[at].argmax()))
    right, wrong = (continuation(run.model.tokenizer, prompt.text, answer) for answer in (prompt.answer, prompt.wrong))
    if not right or not wrong or right[0] == wrong[0]:
        raise UserError("the two answers begin with the same token, or with none: nothing to take apart")
    return LogitTarget(at, int(right[0]), int(wrong[0]))


def target_text(run: PlainRun, target: Target) -> str:
    """Returns a target in words: ``logit of Peter - James behind 12:to``, ``L2/45 at 3:and``."""
    behind = f"{target.token}:{run.texts[target.token].strip()}"
    if isinstance(target, LatentTarget):
        return f"{run.sites[target.site].short}/{target.latent} at {behind}"
    decode = run.model.tokenizer.decode
    minus = "" if target.wrong is None else f" - {decode([target.wrong]).strip()}"
    return f"logit of {decode([target.right]).strip()}{minus} behind {behind}"


def _token(run: PlainRun, flag: str, text: str) -> int:
    ids = run.model.tokenizer.encode(text, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == run.model.tokenizer.unk_token_id:
        raise UserError(f"{flag} {text!r}: not one token of the model's vocabulary (a leading space may be missing)")
    return int(ids[0])


def attribution_tree(run: PlainRun, target: Target, depth: int, n_parts: int) -> Tree:
    """Returns the tree of `target`: `depth` expansions deep, each with its `n_parts` largest parts and the rest as one.

    Raises:
        UserError: as `expand`.
    """
    expansion = expand(run, target, n_parts)
    return Tree(expansion, tuple(Branch(part, _below(run, part, depth - 1, n_parts)) for part in expansion.parts))


def _below(run: PlainRun, part: AttributionPart, depth: int, n_parts: int) -> Tree | None:
    if depth < 1 or part.kind != "latent":
        return None
    assert part.site is not None
    assert part.latent is not None
    assert part.token is not None
    return attribution_tree(run, LatentTarget(part.site, part.latent, part.token), depth, n_parts)
