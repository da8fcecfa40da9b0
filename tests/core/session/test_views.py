"""Close views of a latent and a prompt: checked against direct computation from the model's own folders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from naive import Edit, Naive, Node
from tiny.models_with_saes import TinyModel
from tiny.problems import open_naive, open_problem
from tiny.searches import QUICK
from tiny.sessions import make_session
from tiny.tasks import TASKS
from torch import Tensor

from circuit_tui.core.opening import attention_sinks
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session
from circuit_tui.core.tasks.token_text import token_texts
from circuit_tui.core.views import LatentView

# llama's SAEs are of a kind that needs its full encode.
NAMES = ("gpt2-each", "llama-shared", "gemma2-end")


def naive_of(tiny_model: Callable[[str], TinyModel], name: str, session: Session) -> Naive:
    return open_naive(tiny_model(name.split("-")[0]), session.problem)


def activations(naive: Naive, site: int, latent: int, side: str) -> list[Tensor]:
    """Returns a latent's activations under M_s, for each train prompt at each of its tokens but BOS."""
    found = []
    for pair in naive.task.split("train"):
        resid = naive.spliced_until(pair, getattr(pair, side), site)[1][site]
        found.append(naive.saes[site].encode(resid).detach()[1:, latent])
    return found


def by_position(naive: Naive, rows: list[Tensor], side: str) -> dict[str, float]:
    """Returns the mean over all tokens of each position name."""
    values: dict[str, list[float]] = {}
    for pair, row in zip(naive.task.split("train"), rows, strict=True):
        for name, value in zip(naive.names(pair, getattr(pair, side))[1:], row.tolist(), strict=True):
            assert name is not None
            values.setdefault(name, []).append(value)
    return {name: sum(each) / len(each) for name, each in values.items()}


def busiest(session: Session, site: int) -> int:
    """Returns a latent that fires on many clean prompts, but not on all tokens alike."""
    nodes = session.problem.space.of_site(site)
    return session.table.latent[max(nodes, key=lambda node: session.table.mean_clean[node])]


@pytest.mark.parametrize("site", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_where_a_latent_fires(
    tiny_model: Callable[[str], TinyModel], fresh_session: Callable[[str], Session], name: str, site: int
) -> None:
    session = fresh_session(name)
    naive, latent = naive_of(tiny_model, name, session), busiest(session, site)
    view = session.latent_view(site, latent)
    clean = activations(naive, site, latent, "clean")
    fired = torch.cat(clean)
    fired = fired[fired > 0]
    assert len(fired) > 3
    assert view.histogram_max == pytest.approx(float(fired.max()), abs=1e-5)
    assert sum(view.histogram) == len(fired)
    width = view.histogram_max / len(view.histogram)
    for cut in (len(view.histogram) // 3, len(view.histogram) // 2):
        below = [int((fired < cut * width + shift).sum()) for shift in (-1e-5, 1e-5)]
        assert below[0] <= sum(view.histogram[:cut]) <= below[1]
    for at, side in ((1, "clean"), (2, "corrupt")):
        rows = clean if side == "clean" else activations(naive, site, latent, side)
        expected = by_position(naive, rows, side)
        assert [row[0] for row in view.profile] == list(session.table.positions)
        got = {row[0]: float(row[at]) for row in view.profile}  # type: ignore[arg-type]
        assert {key: got[key] for key in expected} == pytest.approx(expected, abs=1e-5)
    corrupt = activations(naive, site, latent, "corrupt")
    pairs = naive.task.split("train")
    texts = {pair.corrupt: row for pair, row in zip(pairs, corrupt, strict=True)}
    texts |= {pair.clean: row for pair, row in zip(pairs, clean, strict=True)}
    peaks = sorted((float(row.max()) for row in texts.values() if row.max() > 0), reverse=True)
    assert [prompt.peak for prompt in view.bands[0].examples] == pytest.approx(peaks[:10], abs=1e-5)
    for prompt in (prompt for band in view.bands for prompt in band.examples):
        row = texts[" ".join(token.strip() for token in prompt.tokens)]
        assert prompt.activations == pytest.approx(row.tolist(), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_its_decoder_does(
    tiny_model: Callable[[str], TinyModel], fresh_session: Callable[[str], Session], name: str
) -> None:
    session = fresh_session(name)
    latent = busiest(session, 1)
    view, decoder = session.latent_view(1, latent), naive_of(tiny_model, name, session).saes[1].W_dec.detach()
    unit = decoder / decoder.norm(dim=1, keepdim=True)
    cosine = unit @ unit[latent]
    others = sorted((other for other in range(len(unit)) if other != latent), key=lambda other: -float(cosine[other]))
    assert [number for number, _ in view.neighbours] == others[:6]
    assert [value for _, value in view.neighbours] == pytest.approx([float(cosine[o]) for o in others[:6]], abs=1e-5)
    for tokens, sign in ((view.promotes, -1), (view.suppresses, 1)):
        assert len({token for token, _ in tokens}) == 8
        weights = [weight for _, weight in tokens]
        assert weights == sorted(weights, key=lambda weight: sign * weight)
    assert view.promotes[-1][1] > view.suppresses[-1][1]
    assert view.label == next(
        label
        for site, number, label in zip(session.table.site, session.table.latent, session.table.label, strict=True)
        if (site, number) == (1, latent)
    )


def test_the_tokens_it_promotes_are_those_of_the_unembedding(
    tiny_model: Callable[[str], TinyModel], fresh_session: Callable[[str], Session]
) -> None:
    """The model's final norm scales by a weight, folded in or not: the order of tokens is that of the product."""
    session = fresh_session("llama-shared")
    naive, latent = naive_of(tiny_model, "llama-shared", session), busiest(session, 0)
    direction = naive.saes[0].W_dec.detach()[latent]
    logits = naive.hf.lm_head.weight.detach() @ (direction * naive.hf.model.norm.weight.detach())
    best = logits.topk(8).indices.tolist()
    view = session.latent_view(0, latent)
    assert [token.strip() for token, _ in view.promotes] == [naive.tokenizer.decode([token]).strip() for token in best]


def test_how_its_mask_moved(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    node = 7
    site, latent = session.table.site[node], session.table.latent[node]

    def view() -> LatentView:
        return session.latent_view(site, latent)

    assert (view().mask_steps, view().mask_path) == ((), {})
    search = session.search(SearchSpec("published", 0.8, 0, QUICK["published"]))
    for _ in range(9):
        next(search)
    assert view().mask_steps == tuple(range(9))
    path = view().mask_path
    own = [number for number in session.problem.space.of_site(site) if session.table.latent[number] == latent]
    assert set(path) == {session.table.positions[session.table.position[number]] for number in own}
    expected = [float(mask[node]) for mask in search.masks.masks]
    assert path[session.table.positions[session.table.position[node]]] == pytest.approx(expected)


@pytest.mark.parametrize("name", [*NAMES, "gpt2-each-drop"])
def test_every_prompt_under_the_model_the_splice_and_the_circuit(
    tiny_model: Callable[[str], TinyModel], fresh_session: Callable[[str], Session], name: str
) -> None:
    session = fresh_session(name)
    naive = naive_of(tiny_model, name, session)
    session.only(range(0, len(session.table), 4))
    session.toggle_node(5)
    table = session.table
    nodes = {
        (table.site[node], table.positions[table.position[node]], table.latent[node])
        for node, on in enumerate(session.view().kept)
        if on
    }
    view, pairs = session.prompts_view(), naive.task.split("test")
    assert view.version == session.view().version
    assert sorted(row.index for row in view.rows) == list(range(len(pairs)))
    order = [(row.circuit > 0, -abs(row.circuit - row.plain)) for row in view.rows]
    assert order == sorted(order), "those answered wrong first"
    for row in view.rows:
        pair = pairs[row.index]
        assert (row.text, row.answer, row.wrong) == (pair.clean, pair.answer, pair.wrong)
        runs = (naive.plain(pair.clean)[0], naive.spliced("test", row.index), naive.kept("test", row.index, nodes))
        expected = [naive.measure("test", row.index, logits)[0] for logits in runs]
        assert [row.plain, row.spliced, row.circuit] == pytest.approx(expected, abs=2e-5)


def residuals(naive: Naive, prompt: int, nodes: set[Node]) -> dict[int, Tensor]:
    """Returns the residual that reaches each site on a test prompt when `nodes` are kept."""
    seen: dict[int, Tensor] = {}
    run = naive.run

    def recording(tokens: Tensor, edits: dict[int, Edit]) -> tuple[Tensor, dict[int, Tensor]]:
        logits, own = run(tokens, edits)
        seen.update(own)  # the circuit's own run is the last
        return logits, own

    naive.run = recording  # type: ignore[method-assign]
    naive.kept("test", prompt, nodes)
    naive.run = run  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("name", NAMES)
def test_which_nodes_fire_on_a_prompt(
    tiny_model: Callable[[str], TinyModel], fresh_session: Callable[[str], Session], name: str
) -> None:
    """At the last site, whose input the circuit shapes, each kept node that fires is shown with its strongest token."""
    session = fresh_session(name)
    naive, table = naive_of(tiny_model, name, session), session.table
    chosen = range(0, len(table), 3)
    session.only(chosen)
    nodes = {(table.site[node], table.positions[table.position[node]], table.latent[node]) for node in chosen}
    for index in (0, 3):
        pair = naive.task.split("test")[index]
        view = session.prompt_view(index)
        assert view.row == next(row for row in session.prompts_view().rows if row.index == index)
        assert [token.strip() for token in view.tokens] == pair.clean.split()
        seen = residuals(naive, index, nodes)
        expected = {}
        for node in chosen:
            acts = naive.saes[table.site[node]].encode(seen[table.site[node]]).detach()[:, table.latent[node]]
            names = naive.names(pair, pair.clean)
            own = [
                (float(acts[at]), at) for at in range(len(names)) if names[at] == table.positions[table.position[node]]
            ]
            if own and max(own)[0] > 1e-5:
                expected[node] = (pair.clean.split()[max(own)[1] - 1], max(own)[0])
        got = {node: (token.strip(), value) for node, token, value in view.active if value > 1e-5}
        assert {node: token for node, (token, _) in got.items()} == {n: t for n, (t, _) in expected.items()}
        assert {n: v for n, (_, v) in got.items()} == pytest.approx({n: v for n, (_, v) in expected.items()}, abs=2e-5)
        values = [value for _, _, value in view.active]
        assert values == sorted(values, reverse=True)
        assert len(values) > 2


def test_a_text_is_shown_once_however_often_it_is_a_clean_prompt(tiny_model: Callable[[str], TinyModel]) -> None:
    task = TASKS["index"]
    first, *others = task.split("train")
    again = tuple(replace(pair, clean=first.clean) for pair in others[:2])
    pairs = (first, *again, *others[2:], *task.split("test"))
    session = make_session(open_problem(tiny_model("gpt2"), replace(task, pairs=pairs), "each", errors="keep"))
    for site in (0, 1):
        bands = session.latent_view(site, busiest(session, site)).bands
        shown = [text for band in bands for text in band.examples]
        texts = [prompt.tokens for prompt in shown]
        assert len(texts) == len(set(texts)) > 1


def test_tokens_with_long_residuals_are_marked(
    fresh_session: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = fresh_session("gpt2-each")
    problem, ids = session.problem, session.problem.alignment.ids["train", "clean"]
    lengths = problem.spliced_sae_inputs[1].norm(dim=-1)
    monkeypatch.setattr(attention_sinks, "RATIO", 1.1)
    side, rows = problem.prompt_sets["train"].clean, {}
    long = (lengths >= 1.1 * lengths[ids >= 0].median()) & (ids >= 0)
    for row, length in enumerate(side.lengths.tolist()):
        tokens = token_texts(problem.model.tokenizer, side.tokens[row, side.n_bos : length].tolist())
        rows[tokens] = tuple((long[row, side.n_bos :].nonzero()[:, 0]).tolist())
    bands = session.latent_view(1, busiest(session, 1)).bands
    top = [text for band in bands for text in band.examples if text.side == "clean"]
    assert top
    assert all(prompt.sinks == rows[prompt.tokens] for prompt in top)
    assert any(prompt.sinks for prompt in top)
    session.only(range(len(problem.space)))
    monkeypatch.setattr(attention_sinks, "RATIO", 0.0)
    view = session.prompt_view(0)
    assert set(view.sinks) == set(range(len(view.tokens)))
    assert set(view.sinks.values()) == {tuple(site.short for site in problem.sites)}
