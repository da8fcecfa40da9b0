"""Push, tokens and pair differences, against the plain Hugging Face model and the oracle's activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem
from tiny.sessions import make_session, settle
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.latents import top_tokens as top_tokens_module
from circuit_tui.core.latents.top_tokens import LISTED_TOKENS
from circuit_tui.core.session.session import Session

NAMES = ("gpt2-each", "llama-shared", "gemma2-end")


def norm_of(hf: Any) -> Any:
    body = getattr(hf, hf.base_model_prefix)
    return next(getattr(body, name) for name in ("ln_f", "norm") if hasattr(body, name))


def gain_of(hf: Any) -> Tensor:
    return norm_of(hf).weight.detach() + (1.0 if "gemma" in hf.config.model_type else 0.0)


def centred(hf: Any, x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True) if hf.config.model_type == "gpt2" else x


def final_scale(naive: Naive, text: str) -> Tensor:
    """The final norm's scale after the last token of `text` under the plain model."""
    seen: list[Tensor] = []
    handle = norm_of(naive.hf).register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1].detach()))
    naive._plain(text)
    handle.remove()
    epsilon = 1e-5 if naive.hf.config.model_type == "gpt2" else naive.hf.config.rms_norm_eps
    return (centred(naive.hf, seen[0]).pow(2).mean() + epsilon).sqrt()


def decoded(naive: Naive, site: int, latent: int) -> Tensor:
    """What one unit of a latent adds to the output of its SAE."""
    nothing = torch.zeros(1, naive.saes[site].cfg.d_sae)
    one = nothing.clone()
    one[0, latent] = 1.0
    return (naive.saes[site].decode(one) - naive.saes[site].decode(nothing))[0].detach()


def activation(naive: Naive, pair: Any, side: str, site: int) -> Tensor:
    """All activations under M_s `[token, latent]`."""
    resid = naive.spliced_until(pair, getattr(pair, side), site)[1][site]
    return naive.saes[site].encode(resid).detach()


@pytest.mark.parametrize("name", NAMES)
def test_push_is_what_a_node_writes_in_the_direction_of_the_answers(
    tiny_model: Callable[[str], TinyModel], fresh: Callable[[str], Session], name: str
) -> None:
    session = fresh(name)
    settle(session)
    naive, table = open_naive(tiny_model(name.split("-")[0]), session.problem), session.table
    pairs, unembedding = naive.task.split("train"), naive.hf.get_output_embeddings().weight.detach()
    read = {naive.names(pair, pair.clean)[-1] for pair in pairs}
    push = session.latent_columns().push
    assert push is not None
    assert [value is not None for value in push] == [table.positions[at] in read for at in table.position]
    scales = [final_scale(naive, pair.clean) for pair in pairs]
    for node in [n for n, value in enumerate(push) if value is not None][::7]:
        site, latent, total = table.site[node], table.latent[node], 0.0
        written = centred(naive.hf, decoded(naive, site, latent)) * gain_of(naive.hf)
        for index, (pair, scale) in enumerate(zip(pairs, scales, strict=True)):
            if naive.names(pair, pair.clean)[-1] != table.positions[table.position[node]]:
                continue
            own = activation(naive, pair, "clean", site)[-1, latent]
            right, wrong = (naive.tokenizer.convert_tokens_to_ids(word.strip()) for word in (pair.answer, pair.wrong))
            token = len(pair.clean.split())
            delta = own - naive.reference(site, "train", index, (0, 0), token)[latent]
            total += float(delta * (written @ (unembedding[right] - unembedding[wrong])) / scale)
        assert push[node] == pytest.approx(total / len(pairs), abs=2e-4, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_difference_is_the_mean_over_pairs(
    tiny_model: Callable[[str], TinyModel], fresh: Callable[[str], Session], name: str
) -> None:
    session = fresh(name)
    naive, table = open_naive(tiny_model(name.split("-")[0]), session.problem), session.table
    for node in range(0, len(table), 11):
        site, latent, position = table.site[node], table.latent[node], table.positions[table.position[node]]
        differences = []
        for pair in naive.task.split("train"):
            means = []
            for side in ("clean", "corrupt"):
                names = naive.names(pair, getattr(pair, side))
                own = [at for at, other in enumerate(names) if other == position]
                means.append(activation(naive, pair, side, site)[own, latent].mean() if own else None)
            if None not in means:
                differences.append(abs(float(means[0] - means[1])))  # type: ignore[operator]
        expected = sum(differences) / len(differences) if differences else None
        assert table.difference[node] == (None if expected is None else pytest.approx(expected, abs=1e-5))


def test_every_candidate_gets_its_tokens_and_kept_ones_get_them_first(
    fresh: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(top_tokens_module, "MAX_WEIGHTS", 26 * 4)  # four latents at once
    session = fresh("gpt2-each")
    session.only(range(0, len(session.table), 9))
    table, kept = (
        session.table,
        {(session.table.site[i], session.table.latent[i]) for i in range(0, len(session.table), 9)},
    )
    assert session.latent_columns().tokens == ()
    session.work()
    first = session.latent_columns()
    assert {(row.site, row.latent) for chunk in first.tokens for row in chunk} == kept
    assert not first.complete
    settle(session)
    columns = session.latent_columns()
    assert columns.complete
    assert columns.tokens[: len(first.tokens)] == first.tokens
    rows = [row for chunk in columns.tokens for row in chunk]
    assert sorted((row.site, row.latent) for row in rows) == sorted(set(zip(table.site, table.latent, strict=True)))
    for row in rows[::5]:
        closely = session.latent_view(row.site, row.latent)
        assert row.promotes == tuple(token for token, _ in closely.promotes[:LISTED_TOKENS])
        assert row.suppresses == tuple(token for token, _ in closely.suppresses[:LISTED_TOKENS])


def test_answers_of_several_tokens_push_at_their_first_difference(tiny_model: Callable[[str], TinyModel]) -> None:
    tiny = tiny_model("gpt2")
    session = make_session(open_problem(tiny, TASKS["index-multi"], "each"))
    settle(session)
    push = session.latent_columns().push
    answers = session.problem.prompt_sets["train"].answers
    assert answers.rows_per_prompt == 2
    ids = session.problem.splits["train"].ids[torch.arange(len(answers)) * 2, answers.difference_column]
    assert push is not None
    assert {session.table.position[node] for node, value in enumerate(push) if value is not None} <= set(ids.tolist())
    assert any(push_of for push_of in push if push_of is not None)
