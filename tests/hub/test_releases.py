"""Models and SAEs of every family from a Hub: as a user types it, and against the weights that were put there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from reach import reach
from releases import RELEASES, serve, shrink
from server import Hub
from tiny.models_with_saes import CPU, TinyModel
from tiny.sessions import write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.presets import PRESETS
from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.registry import saes_of
from circuit_tui.core.saes.released_saes import load_released
from circuit_tui.core.saes.sae_filter import ALL_SITES, SiteFlags
from circuit_tui.tui.cli import main

SHAPES = tuple(RELEASES)


@pytest.fixture(autouse=True)
def tiny_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


def sites(shape: str, layers: str = "0,2") -> tuple[str, ...]:
    """The SAEs that the flags of the release choose."""
    one = RELEASES[shape]
    given = dict(zip(one.flags[::2], one.flags[1::2], strict=True))
    flags = SiteFlags(layers, None, given.get("--width"), given.get("--l0"))
    return choose_saes((one.release,), flags, None)


def ids(names: tuple[str, ...]) -> list[str]:
    return [name.partition(":")[2] for name in names]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_released_sae_is_the_one_that_was_released(hub: Hub, shape: str, tmp_path: Path) -> None:
    one, names = RELEASES[shape], sites(shape)
    made = serve(hub, one, ids(names), tmp_path)
    loaded = load_released(names, CPU, source())
    for theirs, ours, name in zip(made, loaded, names, strict=True):
        x = torch.randn(64, theirs.cfg.d_in) * 2
        expected = theirs.encode(x)
        assert 0 < int((expected > 0).sum()) < expected.numel()
        tolerance = {"rtol": 1e-4, "atol": 1e-4}
        # A value at the very threshold may fall on either side of it once scales are multiplied in and out again.
        agree = torch.isclose(ours.encode(x), expected, **tolerance)
        assert float(agree.float().mean()) > 0.999
        torch.testing.assert_close(ours.decode(expected), theirs.decode(expected), **tolerance)
        repo = hub.repos[saes_of(one.release)[0].repo]
        assert (ours.name, ours.revision, ours.hook) == (name, repo.commit, theirs.cfg.metadata.hook_name)
        assert ours.path == f"{saes_of(one.release)[0].repo}/{known_path(name)}"


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_an_sae_on_the_disk_needs_no_network(
    hub: Hub, shape: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = sites(shape)
    serve(hub, RELEASES[shape], ids(names), tmp_path)
    before = [sae.weights_sha256 for sae in load_released(names, CPU, source())]
    hub.requests.clear()
    # Not even a server to be reached: neither by the Hub's client nor by a loader's own requests.
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=offline)
    assert [sae.weights_sha256 for sae in load_released(names, CPU, source())] == before
    assert not hub.requests
    # What is not there is not to be had.
    with pytest.raises(UserError, match="HF_HUB_OFFLINE" if offline else "cannot reach http://127.0.0.1:9"):
        load_released(sites(shape, "1"), CPU, source())


def test_the_loaders_are_left_as_they_were_whatever_they_are_called(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sae_lens.loading import pretrained_sae_loaders as loaders

    names, download = sites("gpt2"), loaders.hf_hub_download
    serve(hub, RELEASES["gpt2"], ids(names), tmp_path)
    monkeypatch.delattr(loaders, "get_safetensors_tensor_shapes")
    assert len(load_released(names, CPU, source())) == 2
    assert loaders.hf_hub_download is download
    assert not hasattr(loaders, "get_safetensors_tensor_shapes")


def test_a_folder_of_any_repository_in_sae_lens_layout(hub: Hub, tmp_path: Path) -> None:
    folder = RELEASES["gpt2"]
    (name,) = sites("gpt2", "1")
    (made,) = serve(hub, folder, ids((name,)), tmp_path)
    hub.add("somebody/saes", {f"a/b/{path.name}": path.read_bytes() for path in (tmp_path / "sae0").iterdir()})
    (sae,) = load_released(["somebody/saes:a/b"], CPU, source())
    assert sae.path == "somebody/saes/a/b"
    x = torch.randn(8, made.cfg.d_in)
    torch.testing.assert_close(sae.encode(x), made.encode(x))


def test_an_sae_that_cannot_be_had_names_itself(hub: Hub, tmp_path: Path) -> None:
    (name,) = sites("gemma2", "0")
    with pytest.raises(UserError, match=r"^--sae gemma-scope-2b.*there is no google/gemma-scope-2b-pt-res at http"):
        load_released([name], CPU, source())
    serve(hub, RELEASES["gemma2"], ids(sites("gemma2", "2")), tmp_path)
    with pytest.raises(UserError, match=r"^--sae gemma-scope-2b.*has no such file \(layer_0/width_16k/"):
        load_released([name], CPU, source())


def test_every_default_names_saes_that_the_registry_has() -> None:
    for known in PRESETS:
        for name in (known.hub_name, *known.names, known.hub_name.upper()):
            chosen = choose_saes((), ALL_SITES, name)
            release = {sae.name: sae for sae in saes_of(known.release)}
            assert tuple(release[one].layer for one in chosen) == known.layers
            assert {release[one].model.rpartition("/")[2].lower() for one in chosen} <= {
                *known.names,
                known.hub_name.rpartition("/")[2].lower(),
            }
            assert all((release[one].hook or "").split(".")[-1].startswith("hook_resid_p") for one in chosen)


def prompts(folder: Path) -> Path:
    """A task that the model of `folder` can do."""
    tiny_model: Any = TinyModel(folder, (), None, ())  # type: ignore[arg-type]
    return write_prompts(solvable_task(tiny_model, (6,) * 12, (6,) * 7), folder.parent / "able.jsonl")


QUICK = ("--errors", "keep", "--positions", "shared", "--target", "0.6", "--set", "steps=15", "--set", "refine=5")


@pytest.mark.parametrize("shape", SHAPES)
def test_one_line_finds_a_circuit_and_the_file_opens_again(
    hub: Hub, shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one, names = RELEASES[shape], sites(shape)
    serve(hub, one, ids(names), tmp_path)
    # The line breaks in the middle of the model, and of an SAE.
    largest = [
        (name, *max(hub.repos[name].files.items(), key=lambda file: len(file[1])))
        for name in (one.hub, saes_of(one.release)[0].repo)
    ]
    hub.cut = {path: [len(content) // 2] for _, path, content in largest}
    file, out = prompts(tmp_path / "model"), tmp_path / "c.json"
    line = ["find", "--model", one.model, "--sae", one.release, "--layers", "0,2", *one.flags]
    code = main([*line, "--prompts", str(file), *QUICK, "--out", str(out)])
    said = capfd.readouterr()
    assert code in (0, 1), said.err
    for repo, path, content in largest:
        assert f"connection lost, trying again: downloading {repo} {path}" in said.err
        assert hub.sent[path] == len(content) // 2 + len(content), "one piece, of which half came at first"
    assert f"downloading {one.hub} model.safetensors" in said.err
    circuit = json.loads(out.read_text())
    model = hub.repos[one.hub]
    assert (circuit["model"]["name"], circuit["model"]["revision"]) == (one.hub, model.commit)
    assert len(circuit["model"]["weights_sha256"]) == 64
    assert (circuit["model"]["processing"] == "center_writing_weights") == (shape == "gpt2")
    assert [f"{site['sae']['release']}:{site['sae']['id']}" for site in circuit["sites"]] == list(names)
    for site, name in zip(circuit["sites"], names, strict=True):
        repo = saes_of(one.release)[0].repo
        assert site["sae"]["path"] == f"{repo}/{known_path(name)}"
        assert (site["sae"]["revision"], len(site["sae"]["weights_sha256"])) == (hub.repos[repo].commit, 64)
    # The Hub moves on; the file still opens what it was made with, from the cache.
    model.files["config.json"] += b"\n"
    assert main(["check", str(out)]) == 0, capfd.readouterr().err
    reach(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache", offline=True)
    assert main(["check", str(out)]) == 0, capfd.readouterr().err


def test_a_token_that_is_missing_is_said_before_any_sae_is_fetched(
    hub: Hub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    one = RELEASES["gemma2"]
    serve(hub, one, ids(sites("gemma2")), tmp_path, gated=True)
    assert main(["find", "--model", one.model, "--layers", "0,2", "--prompts", str(prompts(tmp_path / "model"))]) == 2
    assert "google/gemma-2-2b is gated; accept its terms" in capfd.readouterr().err
    assert not any("gemma-scope" in path for _, path, _ in hub.requests)


def test_the_memory_plan_of_a_model_on_the_hub_fetches_no_weights(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    one = RELEASES["gpt2"]
    serve(hub, one, ids(sites("gpt2")), tmp_path)
    line = ["find", "--model", one.model, "--layers", "0,2", "--prompts", str(prompts(tmp_path / "model"))]
    for url, offline in ((hub.url, False), ("http://127.0.0.1:9", False), ("http://127.0.0.1:9", True)):
        reach(monkeypatch, url, tmp_path / "cache", offline=offline)
        assert main([*line, "--memory", "--json"]) == 0, capfd.readouterr().err
        assert json.loads(capfd.readouterr().out)["model"] > 0
    assert "/resolve/" in "".join(path for _, path, _ in hub.requests)
    assert not any("safetensors" in path for _, path, _ in hub.requests)


def known_path(name: str) -> str:
    release, _, sae_id = name.partition(":")
    return next(sae.path for sae in saes_of(release) if sae.id == sae_id)


def source() -> Any:
    from circuit_tui.core.saes.released_saes import NO_REPORT

    return NO_REPORT
