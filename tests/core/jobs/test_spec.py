"""What a job is about survives JSON, whatever was asked for."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_tui.core.jobs.spec import JobSpec
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec

FOLDER = Path("/data/here")
ORDERS = st.builds(
    SearchSpec,
    method=st.text(),
    target=st.floats(0, 1, exclude_min=True, exclude_max=True),
    seed=st.integers(0, 2**63 - 1),
)
PATHS = st.sampled_from([Path("a"), Path("/b/c"), Path("../d.json")])
st.register_type_strategy(Path, PATHS)
REQUESTS = st.builds(
    OpenRequest,
    **{part.name: ... for part in fields(OpenRequest)},  # `...`: drawn from the field's type, not its default
)


def spec(request: OpenRequest, order: SearchSpec | None = None) -> JobSpec:
    return JobSpec("find", request, order, Path("/data/out.json"), FOLDER, "host", "2026-01-01T00:00:00+00:00")


@settings(max_examples=60)
@given(REQUESTS, st.none() | ORDERS)
def test_it_comes_back(request: OpenRequest, order: SearchSpec | None) -> None:
    whole = spec(request, order)
    assert JobSpec.of(json.loads(json.dumps(whole.data()))) == whole


@pytest.mark.parametrize("field", ["kind", "request", "order", "folder", "host"])
def test_something_else_is_refused(field: str) -> None:
    data = spec(OpenRequest(), SearchSpec("mask", 0.9, 0)).data()
    with pytest.raises((KeyError, TypeError, ValueError)):
        JobSpec.of({key: value for key, value in data.items() if key != field})
    with pytest.raises((KeyError, TypeError, ValueError)):
        JobSpec.of(data | {"request": {"seed": "many"}})


def test_paths_hold_anywhere(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    request = OpenRequest(model="model", sae_dirs=(Path("sae"),), prompts=Path("p.jsonl"), circuit=Path("/c.json"))
    found = JobSpec("find", request, None, None, tmp_path, "host", "").from_anywhere()
    assert found.model == str(tmp_path / "model")
    assert found.sae_dirs == (tmp_path / "sae",)
    assert (found.prompts, found.circuit) == (tmp_path / "p.jsonl", Path("/c.json"))
    named = JobSpec("find", OpenRequest(model="gpt2"), None, None, tmp_path, "host", "").from_anywhere()
    assert named.model == "gpt2", "a name on the Hub is no path"


def test_a_job_whose_target_is_out_of_range_is_damaged() -> None:
    data = spec(OpenRequest(), SearchSpec("mask", 0.9, 0)).data()
    with pytest.raises(ValueError, match="--target 2: must lie between 0 and 1"):
        JobSpec.of(data | {"order": data["order"] | {"target": 2.0}})


def test_settings_as_the_version_before_stored_them_are_read() -> None:
    """It stored the words of the command line."""
    data = spec(OpenRequest(), SearchSpec("mask", 0.9, 0)).data()
    order = JobSpec.of(data | {"order": data["order"] | {"settings": {"steps": "7", "lr": "0.1"}}}).search
    assert order is not None
    assert order.complete() == SearchSpec("mask", 0.9, 0, {"steps": 7, "batch": 0, "lr": 0.1, "refine": 100})
