"""Files of version 0.1: circuits, masks, results of sweeps and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Cli

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.mask_file import read_masks
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session

CIRCUITS = (
    "simple", "audited", "few", "published", "ig", "shared", "folders", "stopped", "frontier", "edited", "imported",
)  # fmt: skip
ROUNDED = {"audit.ablation.resample_mean_of_ratios"}
"""Ratios of which some are of numbers near zero: the rounding of another processor moves their mean by 0.003."""
MASKS = ("simple.masks.json", "edited.masks.json")


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_circuit_is_read(name: str, files: Path, expected: Any) -> None:
    known, file = expected["circuits"][f"{name}.json"], read_circuit(files / f"{name}.json")
    assert [list(node) for node in file.nodes()] == known["nodes"]
    assert file.size == known["size"]
    assert (file.task.name, file.ablation.kind) == (known["task"], known["ablation"])
    assert (file.method.name, file.method.target, file.seed) == (known["method"], known["target"], known["seed"])
    assert file.metrics.test.faithfulness == known["test"]["faithfulness"]
    assert (file.audit is not None) == (name == "audited")


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_number_of_a_circuit_is_found_again(name: str, files: Path, cli: Cli, expected: Any) -> None:
    done = cli("check", f"{name}.json", "--json").data
    assert len(done["fields"]) >= expected["circuits"][f"{name}.json"]["check"]["fields"]
    for field in done["fields"]:
        agrees = field["ok"] or (field["field"] in ROUNDED and field["now"] == pytest.approx(field["file"], abs=1e-2))
        assert agrees, field


@pytest.mark.parametrize("name", MASKS)
def test_masks_open(name: str, files: Path, experiments: Callable[..., Experiment], expected: Any) -> None:
    known = expected["masks"][name]
    path = Path(name)
    assert {hook: sorted(latents) for hook, latents in read_masks(path).items()} == known["latents"]
    about = known["opened_on"]
    prompts = Path(about["prompts"]) if "prompts" in about else None
    session = Session(experiments(OpenRequest(task=about.get("task"), prompts=prompts)))
    session.open_circuit(path)
    assert session.view().size == known["size"]
    assert session.view().test.faithfulness == pytest.approx(known["test_faithfulness"], abs=1e-4)
    assert session.provenance.method == known["method"]
    assert list(session.provenance.warnings) == known["warnings"]


def assert_compared(found: Any, known: Any) -> None:
    """The areas, the nodes needed and what was refused."""
    assert found["complete"] == known["complete"]
    assert [[one["task"], one["label"]] for one in found["refused"]] == known["refused"]
    for task, wanted in zip(found["tasks"], known["tasks"], strict=True):
        methods = {method["label"]: method for method in task["methods"]}
        assert methods.keys() == wanted["methods"].keys()
        for label, numbers in wanted["methods"].items():
            assert methods[label]["area"]["median"] == pytest.approx(numbers["area"]), label


@pytest.mark.parametrize("name", ["compared.json", "cut.json"])
def test_a_comparison_is_read(name: str, files: Path, cli: Cli, expected: Any) -> None:
    known = expected["comparisons"][name]
    done = cli("compare", "--from", name, "--json")
    assert done.code == known["exit"]
    assert_compared(done.data, known)


@pytest.mark.parametrize("name", ["results.sqlite", "cut.sqlite"])
def test_results_of_a_sweep_are_compared(name: str, files: Path, cli: Cli, expected: Any) -> None:
    known = expected["sweeps"][name]["compare_from"]
    done = cli("compare", "--from", name, "--json")
    assert done.code == known["exit"]
    assert_compared(done.data, known)


def test_a_sweep_that_is_done_is_not_done_again(files: Path, cli: Cli, expected: Any, sweep_here: None) -> None:
    """Only its failed runs are tried once more."""
    known = expected["sweeps"]["results.sqlite"]["again"]
    args = ("--tasks", "sva-simple", "--prompts", "swapped.jsonl", "--methods", "atp,published")
    done = cli("sweep", *args, "--set", "published.lambda=0.8", "--targets", "0.9", "--out", "results.sqlite", "--json")
    assert done.code == known["exit"]
    assert {name: done.data[name] for name in ("runs", "found", "done")} == {
        name: known[name] for name in ("runs", "found", "done")
    }
    assert [one["id"] for one in done.data["failed"]] == known["failed"]


def test_runs_are_added_to_the_results_of_a_sweep(files: Path, cli: Cli, sweep_here: None) -> None:
    """Where the SAEs lie does not tell their runs from others; 0.1 wrote the folder it was installed in."""
    args = ("--tasks", "sva-simple", "--methods", "atp", "--targets", "0.6,0.9", "--out", "results.sqlite", "--json")
    done = cli("sweep", *args)
    assert done.code == 0, done.data["failed"]
    assert (done.data["runs"], done.data["found"], done.data["done"]) == (2, 1, 1)
