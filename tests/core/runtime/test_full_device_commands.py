"""A full device under each command: it goes on and says so, or ends with one line and keeps what there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import Cli

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.search.search import Search

Limit = Callable[[int], None]
QUICK = ("--method", "published", "--set", "steps=8", "--target", "0.5")


def test_find_goes_on_with_fewer_prompts_and_its_file_is_right(
    cli: Cli, solvable_flags: list[str], limit: Limit, tmp_path: Path
) -> None:
    limit(5)
    found = cli("find", *solvable_flags, *QUICK, "--out", tmp_path / "c.json")
    assert found.code in (0, 1), found.err
    assert "warning: Out of memory: running the model goes on with" in found.err
    assert "Traceback" not in found.err
    limit(10**9)
    assert cli("check", tmp_path / "c.json").code == 0


def test_loading_ends_with_one_line(cli: Cli, solvable_flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20.00 MiB.")

    monkeypatch.setattr(TransformerBridge, "boot_transformers", refuse)
    done = cli("find", *solvable_flags, *QUICK)
    assert done.code == 2
    assert done.error.startswith("out of memory while loading model")


def test_a_search_for_which_there_is_no_room_is_kept(
    cli: Cli, solvable_flags: list[str], limit: Limit, tmp_path: Path
) -> None:
    """Another process may have filled the card for a while."""
    expected = tmp_path / "expected.json"
    cli("find", *solvable_flags, *QUICK, "--out", expected)
    step = Search.__next__

    def filled_after_four(self: Search) -> Any:
        if self.attempt.meter.steps == 4:
            self.save()
            limit(0)
        return step(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "__next__", filled_after_four)
        cut = cli("find", *solvable_flags, *QUICK)
    assert cut.code == 2
    assert "the search (published) does not fit even with one prompt" in cut.error
    assert cut.error.endswith("`circuit-tui resume` continues the search")
    limit(10**9)
    resumed = cli("resume", "--out", tmp_path / "resumed.json")
    assert "after step" in resumed.err
    assert set(read_circuit(tmp_path / "resumed.json").nodes()) == set(read_circuit(expected).nodes())


def test_audit_goes_on_or_ends_with_one_line(cli: Cli, solvable_flags: list[str], limit: Limit, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    cli("find", *solvable_flags, *QUICK, "--out", path)
    data = json.loads(path.read_text())
    for site in data["sites"]:
        site["nodes"] = site["nodes"][:2]  # fewer are audited sooner
    path.write_text(json.dumps(data | {"size": sum(len(site["nodes"]) for site in data["sites"])}))
    plain = cli("audit", path, "--no-searches", "--json", "--device", "cpu")
    limit(5)
    fewer = cli("audit", path, "--no-searches", "--json", "--device", "cpu")
    assert fewer.code == plain.code
    assert "Out of memory" in fewer.err
    verdicts = [{f["key"]: f["verdict"] for f in json.loads(done.out)["findings"]} for done in (plain, fewer)]
    assert verdicts[0] == verdicts[1]
    limit(0)
    none = cli("audit", path, "--no-searches", "--device", "cpu")
    assert none.code == 2
    assert none.error.startswith("out of memory")


def test_compare_goes_on_or_says_why_a_method_is_missing(cli: Cli, solvable_flags: list[str], limit: Limit) -> None:
    flags = (*solvable_flags, "--methods", "activation-difference", "--seeds", "1", "--targets", "0.5")
    limit(5)
    fewer = cli("compare", *flags)
    assert fewer.code == 0, fewer.err
    assert "Out of memory" in fewer.err
    limit(0)
    none = cli("compare", *flags)
    assert none.code in (1, 2)
    assert "out of memory" in none.out + none.err
    assert "Traceback" not in none.err
