"""``circuit-tui annotate``: what it writes is what a session opens, and the group's effect is the session's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny.sessions import settle

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import open_session


def test_what_it_says_is_in_the_file(cli: Any, solvable_request: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session = open_session(solvable_request("gpt2"))
    session.only(range(0, len(session.table), 3))
    path, table = session.export(tmp_path / "made.json"), session.table
    name = f"{table.sites[table.site[0]].short}/{table.latent[0]}"
    other = f"{table.sites[table.site[-1]].short}/{table.latent[-1]}@{table.positions[table.position[-1]]}"
    words = (
        "--label",
        f"{name}=the end",
        "--note",
        f"{name}=a note",
        "--mark",
        other,
        "--group",
        f"both={name},{other}",
    )
    done = cli("annotate", path, "--device", "cpu", "--json", *words)
    assert done.code == 0, done.err
    assert [(each["latent"], each["text"], each["source"]) for each in done.data["labels"]] == [
        (name, "the end", "you")
    ]
    again = open_session(solvable_request("gpt2", circuit=path))
    settle(again)
    (view,) = again.groups()
    (group,) = done.data["groups"]
    assert (group["name"], group["n_on"], len(group["nodes"])) == ("both", view.n_on, len(view.group.nodes))
    assert group["effect"] == pytest.approx(view.effect, abs=1e-5)
    assert again.annotations.label(table.site[0], table.latent[0]) == "the end"
    assert cli("annotate", path, "--device", "cpu", "--forget", "both", "--out", tmp_path / "o.json").code == 0
    assert open_session(solvable_request("gpt2", circuit=tmp_path / "o.json")).groups() == ()
    assert "both" in cli("annotate", path, "--device", "cpu").out, "listing changes nothing"


def test_what_makes_no_sense_is_said_and_writes_nothing(
    cli: Any, solvable_request: Callable[..., OpenRequest], tmp_path: Path
) -> None:
    session = open_session(solvable_request("gpt2"))
    session.only([0])
    path = session.export(tmp_path / "made.json")
    before = path.read_bytes()
    for words, says in (
        (("--label", "L1/3"), "error: --label L1/3: write L2/210=TEXT"),
        (("--group", "=L1/3"), "error: --group =L1/3: write NAME=L2/210,L1/3@end"),
        (("--group", "a=L9/1"), "error: L9/1: name a site"),
        (("--forget", "a"), "error: group 'a': there is none of that name"),
    ):
        done = cli("annotate", path, "--device", "cpu", *words)
        assert (done.code, done.err.splitlines()[-1][: len(says)]) == (2, says)
    assert path.read_bytes() == before
