"""``circuit-tui latents`` on a tiny circuit file, against the session that made the file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tiny.sessions import settle

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.listed_latents import listed_latents
from circuit_tui.core.session.session import Session, open_session


@pytest.fixture
def made(solvable_request: Callable[..., OpenRequest], tmp_path: Path) -> tuple[Session, Path]:
    session = open_session(solvable_request("gpt2"))
    session.only(range(0, len(session.table), 3))
    path = session.export(tmp_path / "made.json")
    settle(session)
    return session, path


def test_it_lists_what_the_session_has(cli: Any, made: tuple[Session, Path]) -> None:
    session, path = made
    for words, named in (
        ((), {}),
        (("--filter", "push<0 on"), {"filter_text": "push<0 on"}),
        (("--sort", "effect", "--all", "--by-site"), {"sort": "effect", "everything": True, "by_site": True}),
        (("--sort", "push", "--reverse"), {"sort": "push", "reverse": True}),
    ):
        done = cli("latents", path, "--json", "--device", "cpu", *words)
        assert done.code == 0, done.err
        rows = [asdict(row) for row in listed_latents(session, **named)]  # type: ignore[arg-type]
        assert rows
        for got, expected in zip(done.data["latents"], rows, strict=True):
            assert {name for name, value in got.items() if value is None} == {
                n for n, v in expected.items() if v is None
            }
            for name, value in expected.items():
                want = list(value) if isinstance(value, tuple) else value
                assert got[name] == (pytest.approx(want, abs=1e-5) if isinstance(want, float) else want), name


def test_one_latent_closely_and_as_text(cli: Any, made: tuple[Session, Path]) -> None:
    session, path = made
    row = listed_latents(session)[0]
    done = cli("latents", path, "--device", "cpu", "--latent", f"{row.site}/{row.latent}", "--json")
    assert done.code == 0, done.err
    assert [token for token, _ in done.data["promotes"][:5]] == list(row.promotes)
    weights = [weight for _, weight in done.data["answers"]]
    assert weights == sorted(weights, reverse=True)
    text = cli("latents", path, "--device", "cpu", "--filter", str(row.latent)).out
    assert f"{row.site}/{row.latent}" in text
    assert "promotes:" in cli("latents", path, "--device", "cpu", "--latent", f"{row.site}/{row.latent}").out


def test_a_text_is_looked_through_for_one_latent(cli: Any, made: tuple[Session, Path], tmp_path: Path) -> None:
    session, path = made
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(pair.clean for pair in session.problem.prompt_sets["train"].pairs))
    row = listed_latents(session)[0]
    site = [each.short for each in session.table.sites].index(row.site)
    closely = ("latents", path, "--device", "cpu", "--latent", f"{row.site}/{row.latent}")
    done = cli(*closely, "--text", text, "--json")
    assert done.code == 0, done.err
    expected = session.text_examples(site, row.latent, text)
    assert (done.data["n_tokens"], done.data["n_firing"]) == (expected.n_tokens, expected.n_firing)
    assert expected.n_firing > 0
    assert f"fires on {expected.n_firing} of {expected.n_tokens} tokens" in cli(*closely, "--text", text).out
    for words in (("latents", path, "--text", text), (*closely, "--text", tmp_path / "no.txt")):
        refused = cli(*words)
        assert (refused.code, refused.err.splitlines()[-1].startswith("error: --text")) == (2, True), refused.err


def test_what_is_listed_is_written_as_a_table(cli: Any, made: tuple[Session, Path], tmp_path: Path) -> None:
    session, path = made
    out = tmp_path / "list.csv"
    listed = cli("latents", path, "--json", "--device", "cpu", "--filter", "push<0", "--out", out)
    assert listed.code == 0, listed.err
    with out.open() as stream:
        written = list(csv.DictReader(stream))
    expected = [(row["site"], row["latent"], row["push"]) for row in listed.data["latents"]]
    assert [(row["site"], int(row["latent"]), float(row["push"])) for row in written] == expected
    row = listed_latents(session)[0]
    closely = ("--latent", f"{row.site}/{row.latent}", "--out", out)
    assert "will be replaced: it is a table" in cli("latents", path, "--device", "cpu", *closely).err
    assert out.read_text().startswith("part,name,value,corrupt\n")
    out.write_text("mine")
    for words, says in (
        (("--out", out), "there is a file that circuit-tui did not write"),
        (("--out", tmp_path / "list.txt"), "--out " + str(tmp_path / "list.txt") + ": its name must end in one of"),
    ):
        done = cli("latents", path, "--device", "cpu", *words)
        assert (done.code, out.read_text()) == (2, "mine")
        assert says in done.err


def test_what_cannot_be_listed_is_said(cli: Any, made: tuple[Session, Path]) -> None:
    _, path = made
    assert cli("latents", path, "--device", "cpu", "--filter", "effect>100").code == 1
    for words, says in (
        (("--filter", "effect>x"), "error: filter effect>x: 'x' is no number"),
        (("--sort", "effct"), "error: --sort effct: unknown; did you mean effect?"),
        (("--latent", "L9/1"), "error: L9/1: name a site"),
    ):
        done = cli("latents", path, "--device", "cpu", *words)
        assert (done.code, done.err.splitlines()[-1].startswith(says)) == (2, True), done.err
