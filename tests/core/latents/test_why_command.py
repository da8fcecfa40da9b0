"""``circuit-tui why`` on a tiny circuit file, against the session that made the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import SetLabel
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session, open_session


@pytest.fixture
def made(solvable_request: Callable[..., OpenRequest], tmp_path: Path) -> tuple[Session, Path]:
    session = open_session(solvable_request("gpt2"))
    session.only(range(0, len(session.table), 5))
    session.annotate(SetLabel(session.table.site[0], session.table.latent[0], "the first one"))
    return session, session.export(tmp_path / "made.json")


def test_it_says_what_the_session_computes(cli: Any, made: tuple[Session, Path]) -> None:
    session, path = made
    listed = cli("why", path, "--device", "cpu", "--json").data["prompts"]
    assert [row["index"] for row in listed] == [row.index for row in session.prompts_view().rows]
    explanation = session.explain(2)
    while not explanation.done:
        assert session.work()
        explanation = session.explain(2)
    assert explanation == session.explanation()
    done = cli("why", path, "--device", "cpu", "--json", "--prompt", 2).data
    assert done["clean"]["logit_diff"] == pytest.approx(explanation.clean.logit_diff, abs=1e-5)
    assert done["clean"]["by_token"] == pytest.approx(list(explanation.clean.by_token), abs=1e-5)
    assert explanation.corrupt is not None
    for name, side in (("clean", explanation.clean), ("corrupt", explanation.corrupt)):
        got = sorted(node[name] for node in done["nodes"])
        assert got == pytest.approx(sorted(side.values), abs=1e-5)  # type: ignore[type-var]
    labels = {(node["site"], node["latent"]): node["label"] for node in done["nodes"]}
    assert labels[session.table.sites[session.table.site[0]].short, session.table.latent[0]] == "the first one"
    sizes = [abs(node["clean"]) for node in done["nodes"]]
    assert sizes == sorted(sizes, reverse=True)
    node = explanation.clean.nodes[0]
    name = f"{session.table.sites[session.table.site[node]].short}/{session.table.latent[node]}"
    matters = cli("why", path, "--device", "cpu", "--json", "--latent", name).data
    own = [
        other
        for other in range(len(session.table))
        if (session.table.site[other], session.table.latent[other])
        == (session.table.site[node], session.table.latent[node])
    ]
    expected = session.latent_prompts(own)
    assert matters["kept"]
    assert [row["prompt"] for row in matters["prompts"]] == [row.prompt for row in expected.prompts]
    for words in ((), ("--prompt", 1), ("--latent", name)):
        assert cli("why", path, "--device", "cpu", *words).code == 0


def test_what_it_cannot_explain_is_said(cli: Any, made: tuple[Session, Path]) -> None:
    _, path = made
    for words, says in (
        (("--prompt", 99), "error: prompt 99: out of range, there are 5 test prompts"),
        (("--latent", "L9/1"), "error: L9/1: name a site; there are L0pre"),
        (("--prompt", 1, "--latent", "L1/2"), "error: --prompt and --latent: give one of them"),
    ):
        done = cli("why", path, "--device", "cpu", *words)
        assert (done.code, done.err.splitlines()[-1][: len(says)]) == (2, says)


def test_an_edit_puts_an_explanation_away(made: tuple[Session, Path]) -> None:
    session, _ = made
    first = session.explain(0)
    assert first.clean.n_done == 0
    session.toggle_node(0)
    assert session.explanation() is None
    session.toggle_node(0)
    session.explain(0)
    while not session.explain(0).done:
        session.work()
    session.toggle_node(1)
    assert session.explain(0).clean.nodes != first.clean.nodes
    with pytest.raises(UserError, match="no nodes are given"):
        session.latent_prompts([])
