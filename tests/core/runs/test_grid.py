"""From a grid to runs: every combination once, with an id that changes exactly when the run does."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runs.grid import Grid, orders_of
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.saes.sae_filter import SiteFlags
from circuit_tui.core.search.registry import METHODS

HOOKS = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post", "blocks.2.hook_resid_post")


def grid(**changes: Any) -> list[RunOrder]:
    return orders_of(Grid(**{"base": OpenRequest(), "tasks": ("sva-rc",), **changes}))


def test_every_combination_once() -> None:
    orders = grid(
        tasks=("sva-rc", "ioi"),
        methods=("mask", "random"),
        targets=(0.9, 0.95),
        seeds=(0, 1, 2),
        sites=((), ("L0", HOOKS[2])),
    )
    assert len(orders) == len({order.id for order in orders}) == 2 * 2 * 2 * 3 * 2
    assert {order.sites for order in orders} == {"all", f"{HOOKS[0]}+{HOOKS[2]}"}
    assert {order.request.task for order in orders} == {"sva-rc", "ioi"}
    openings = [order.opening_key for order in orders]
    assert len(set(openings)) == 4
    assert sum(one != other for one, other in pairwise(openings)) == 3, "runs of one experiment follow one another"
    assert len({order.loading_key for order in orders}) == 2


def test_settings_go_to_the_methods_that_have_them() -> None:
    orders = grid(methods=("mask", "published", "random"), settings={"steps": ("7",), "published.lambda": ("0.1", "1")})
    specs = [order.spec for order in orders]
    assert [(spec.method, spec.settings.get("steps"), spec.settings.get("lambda")) for spec in specs] == [
        ("mask", 7, None),
        ("published", 7, 0.1),
        ("published", 7, 1.0),
        ("random", None, None),
    ]


def test_methods_may_bring_settings_of_their_own() -> None:
    orders = grid(methods=("published:lambda=0.3", "published"), settings={"lambda": ("0.1", "1")})
    assert [order.spec.settings["lambda"] for order in orders] == [0.3, 0.1, 1.0]


def test_other_words_for_the_same_run_give_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (default,) = grid()
    for changes in (
        {"sites": (("L0", "L1", "L2"),)},
        {"sites": ((), HOOKS)},
        {"settings": {"mask.steps": (default.spec.settings["steps"],)}},
        {"tasks": ("sva-rc", "sva-rc")},
        {"base": OpenRequest(device="cpu", batch=7)},
    ):
        assert [order.id for order in grid(**changes)] == [default.id], changes
    folder = tmp_path / "model"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    near, far = (OpenRequest(model=name, saes=("a:b",)) for name in ("model", str(folder)))
    assert grid(base=near)[0].id == grid(base=far)[0].id
    pair = {"corrupt": "c d", "answer": " x", "wrong": " y"}
    lines = [pair | {"clean": f"a {split}", "split": split} for split in ("train", "test")]
    for name in ("one.jsonl", "other.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    one, other = grid(tasks=(), prompts=(tmp_path / "one.jsonl", tmp_path / "other.jsonl"))
    assert one.prompts_sha256 == other.prompts_sha256
    assert one.id != other.id, "a task by another name is another task in the results"


def test_any_other_change_gives_another_id() -> None:
    (default,) = grid()
    base = OpenRequest()
    changes: list[dict[str, Any]] = [
        {"tasks": ("ioi",)},
        {"methods": ("random",)},
        {"targets": (0.9,)},
        {"seeds": (1,)},
        {"sites": (("L1",),)},
        {"settings": {"steps": (7,)}},
        *({"base": replace(base, **{name: value})} for name, value in (
            ("positions", "shared"), ("ablation", "zero"), ("errors", "keep"), ("dtype", "bfloat16"), ("model", "gpt2"),
            ("saes", ("a:b",)), ("revision", "main"), ("site_flags", SiteFlags(layers="1")),
            ("sae_revisions", (("a:b", "c"),)),
        )),
    ]  # fmt: skip
    ids = [order.id for change in changes for order in grid(**change)]
    assert len({default.id, *ids}) == len(changes) + 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": ("sva-cr",)}, "unknown task 'sva-cr': did you mean sva-rc"),
        ({"methods": ("maks",)}, "--method maks: unknown method"),
        ({"targets": (1.0,)}, "--target 1: must lie between"),
        ({"sites": (("L7",),)}, "--sites L7: there is no SAE at such a site; there are blocks.0.hook_resid_post"),
        ({"settings": {"lambda": ("1",)}}, r"--set lambda: no method of the sweep has that setting \(mask: steps, "),
        ({"settings": {"published.steps": ("1",)}}, "--set published.steps: no method of the sweep"),
        ({"settings": {"steps": ("few",)}}, "--set steps=few: method mask needs a whole number"),
        ({"prompts": (Path("absent.jsonl"),)}, "absent.jsonl"),
    ],
)
def test_bad_grids(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        grid(**changes)


def test_all_methods_can_be_combined() -> None:
    assert len(grid(methods=tuple(METHODS))) == len(METHODS)
