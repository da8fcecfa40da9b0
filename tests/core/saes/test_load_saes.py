"""Bad SAEs, and SAEs that do not fit: each a UserError whose text names the thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from tiny.models import WIDTH, make_model
from tiny.models_with_saes import CPU, TinyModel
from tiny.saes import LATENTS, make_sae

from circuit_tui.core.errors import UserError
from circuit_tui.core.models.load_model import load_model
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.saes import released_saes
from circuit_tui.core.saes.load_saes import load_saes, processing_of
from circuit_tui.core.saes.site import Site, site_group_of, site_groups

HOOK = "blocks.1.hook_resid_post"


def one_line(error: pytest.ExceptionInfo[UserError], *names: object) -> None:
    text = str(error.value)
    assert "\n" not in text
    for name in names:
        assert str(name) in text


def test_an_sae_folder_that_is_missing_or_incomplete(tmp_path: Path) -> None:
    for missing in ("cfg.json", "sae_weights.safetensors"):
        folder = make_sae("standard", tmp_path / missing, HOOK, WIDTH)
        (folder / missing).unlink()
        with pytest.raises(UserError) as error:
            load_saes([], [folder], CPU)
        one_line(error, f"--sae-dir {folder}", f"no {missing}")
    with pytest.raises(UserError) as error:
        load_saes([], [tmp_path / "no"], CPU)
    one_line(error, f"--sae-dir {tmp_path}/no", "no such folder")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "cfg.json is not JSON"),
        ("[]", "cfg.json is no JSON object"),
        ("{}", "cannot be loaded"),
        ("\xff", "cannot be loaded"),
    ],
)
def test_a_damaged_sae_config(config: str, says: str, tmp_path: Path) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH)
    (tmp_path / "cfg.json").write_bytes(config.encode("latin-1"))
    with pytest.raises(UserError) as error:
        load_saes([], [tmp_path], CPU)
    one_line(error, f"--sae-dir {tmp_path}", "cfg.json" if config == "\xff" else says)


def test_damaged_sae_weights(tmp_path: Path) -> None:
    weights = make_sae("standard", tmp_path / "cut", HOOK, WIDTH) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    # Weights of another size than in the config: sae-lens reports that in many lines.
    other = make_sae("standard", tmp_path / "other", HOOK, WIDTH)
    config = json.loads((other / "cfg.json").read_text())
    (other / "cfg.json").write_text(json.dumps({**config, "d_sae": LATENTS + 1}))
    gone = make_sae("standard", tmp_path / "gone", HOOK, WIDTH)
    config = json.loads((gone / "cfg.json").read_text())
    (gone / "cfg.json").write_text(json.dumps({**config, "architecture": "jumprelu"}))
    for folder in (weights.parent, other, gone):
        with pytest.raises(UserError) as error:
            load_saes([], [folder], CPU)
        one_line(error, f"--sae-dir {folder}", "cannot be loaded")


@pytest.mark.parametrize("hook", ["blocks.1.ln1.hook_scale", "blocks.1.mlp.hook_pre", "hook_embed", "nonsense"])
def test_a_hook_where_nothing_can_be_spliced_in(hook: str, tmp_path: Path) -> None:
    make_sae("standard", tmp_path, hook, WIDTH)
    with pytest.raises(UserError) as error:
        load_saes([], [tmp_path], CPU)
    one_line(error, tmp_path, hook, "nothing can be spliced in", "supported are hook_resid_post")


def test_a_transcoder_to_where_nothing_can_be_spliced_in(tmp_path: Path) -> None:
    out = {"hook_name_out": "blocks.1.hook_resid_post"}
    make_sae("transcoder", tmp_path, "blocks.1.mlp.hook_in", WIDTH, metadata=out)
    with pytest.raises(UserError) as error:
        load_saes([], [tmp_path], CPU)
    one_line(error, tmp_path, "'blocks.1.mlp.hook_in' to 'blocks.1.hook_resid_post'")


def test_the_sites_of_a_block_in_the_order_of_its_activations(tmp_path: Path) -> None:
    points = ("hook_resid_pre", "hook_z", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")
    hooks = [f"blocks.1.{point}" for point in points] + ["blocks.2.hook_attn_out"]
    folders = [make_sae("standard", tmp_path / hook, hook, WIDTH) for hook in reversed(hooks)]
    sites = load_saes([], folders, CPU)
    assert [site.hook for site in sites] == hooks
    assert [site.short for site in sites] == ["L1pre", "L1z", "L1a", "L1mid", "L1m", "L1", "L2a"]
    assert site_groups(sites) == (range(1), range(1, 5), range(5, 6), range(6, 7))
    assert [site_group_of(sites, index) for index in (0, 1, 4)] == [range(1), range(1, 5), range(1, 5)]


def test_two_saes_at_one_place_of_a_block(tmp_path: Path) -> None:
    hooks = ("blocks.1.hook_mlp_in", "blocks.1.hook_mlp_out")
    made = make_sae("transcoder", tmp_path / "t", hooks[0], WIDTH, metadata={"hook_name_out": hooks[1]})
    folders = [made, make_sae("standard", tmp_path / "s", hooks[1], WIDTH)]
    with pytest.raises(UserError) as error:
        load_saes([], folders, CPU)
    one_line(error, *hooks, "two SAEs at one site")


def test_the_middle_of_a_block_that_has_none(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """Attention and MLP run in parallel; or the block scales what it adds, so that the sum differs."""
    sites = load_saes([], [make_sae("standard", tmp_path / "sae", "blocks.1.hook_resid_mid", WIDTH)], CPU)
    check_fit(tiny_model("llama").model, sites)
    model = load_model(str(make_model("neox", tmp_path / "model")), CPU, torch.float32)
    with pytest.raises(UserError) as error:
        check_fit(model, sites)
    one_line(error, tmp_path / "sae", tmp_path / "model", "there is no blocks.1.hook_resid_mid in the blocks of")
    middle = tiny_model("llama").model.bridge.hook_dict["blocks.1.hook_resid_mid"]
    scaled = middle.register_forward_hook(lambda _, __, out: 1.5 * out)
    try:
        with pytest.raises(UserError, match="there is no"):
            check_fit(tiny_model("llama").model, sites)
    finally:
        scaled.remove()


def test_a_config_without_a_hook(tmp_path: Path) -> None:
    make_sae("standard", tmp_path, "", WIDTH)
    with pytest.raises(UserError) as error:
        load_saes([], [tmp_path], CPU)
    one_line(error, f"--sae-dir {tmp_path}", "names no metadata.hook_name")


def test_two_saes_at_one_site(tmp_path: Path) -> None:
    folders = [
        make_sae("standard", tmp_path / "post", HOOK, WIDTH),
        make_sae("gated", tmp_path / "pre", "blocks.2.hook_resid_pre", WIDTH),
    ]
    with pytest.raises(UserError) as error:
        load_saes([], folders, CPU)
    one_line(error, "two SAEs at one site", *folders)


def test_sites_are_ordered_by_depth_and_named(tmp_path: Path) -> None:
    hooks = ["blocks.2.hook_resid_post", "blocks.0.hook_resid_pre", "blocks.10.hook_resid_pre", "blocks.0.hook_out"]
    sites = load_saes([], [make_sae("standard", tmp_path / hook, hook, WIDTH) for hook in hooks], CPU)
    assert [(site.short, site.depth) for site in sites] == [("L0pre", 0), ("L0", 1), ("L2", 3), ("L10pre", 10)]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpt2-small-res-jb", "write RELEASE:ID"),
        ("gpt2-small-res-jb:", "write RELEASE:ID"),
        ("gpt2-small-resjb:blocks.0.hook_resid_pre", "did you mean gpt2-small-res-jb"),
        ("gpt2-small-res-jb:blocks.0.hook_residpre", "did you mean blocks.0.hook_resid_pre"),
        ("zzzzzz:x", "`circuit-tui saes` lists them"),
    ],
)
def test_an_unknown_release_or_id(name: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        load_saes([name], [], CPU)
    one_line(error, f"--sae {name}", says)


def test_a_release_that_is_not_as_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise KeyError("no W_enc\nand a long story")

    monkeypatch.setattr(released_saes, "fetch_saes", lambda *_: ["0" * 40])
    monkeypatch.setattr(SAE, "from_pretrained", unreachable)
    with pytest.raises(UserError) as error:
        load_saes(["gpt2-small-res-jb:blocks.0.hook_resid_pre"], [], CPU)
    one_line(error, "--sae gpt2-small-res-jb:blocks.0.hook_resid_pre", "cannot be loaded: ")


def test_a_release_is_loaded_in_float32_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sae("jumprelu", tmp_path, "blocks.0.hook_resid_pre", WIDTH)
    loaded = SAE.load_from_disk(folder, dtype="bfloat16")
    monkeypatch.setattr(released_saes, "fetch_saes", lambda *_: ["0" * 40])
    monkeypatch.setattr(SAE, "from_pretrained", lambda *_, **__: loaded)
    (site,) = load_saes(["gpt2-small-res-jb:blocks.0.hook_resid_pre"], [], CPU)
    assert (site.sae.release, site.sae.id) == ("gpt2-small-res-jb", "blocks.0.hook_resid_pre")
    assert site.sae.name == "gpt2-small-res-jb:blocks.0.hook_resid_pre"
    assert len(site.sae.weights_sha256) == 64
    assert {weight.dtype for weight in site.sae.sae.parameters()} == {torch.float32}
    assert site.sae.encode(torch.randn(2, WIDTH)).dtype == torch.float32


@pytest.fixture(scope="module")
def named(tiny_model: Callable[[str], TinyModel]) -> Callable[..., Site]:
    """A function that makes an SAE whose config names the tiny GPT-2, or something else."""
    made = iter(range(1000))

    def site(hook: str = HOOK, width: int = WIDTH, **config: Any) -> Site:
        return load_saes(
            [], [make_sae("standard", tiny_model("gpt2").folder / f"../s{next(made)}", hook, width, **config)], CPU
        )[0]

    return site


def test_no_sae_at_all(tiny_model: Callable[[str], TinyModel]) -> None:
    with pytest.raises(UserError, match=r"no SAE given: .* --sae RELEASE:ID or --sae-dir DIR"):
        check_fit(tiny_model("gpt2").model, [])


def test_an_sae_of_another_width(tiny_model: Callable[[str], TinyModel], named: Callable[..., Site]) -> None:
    model, site = tiny_model("gpt2").model, named(width=WIDTH + 2, model_name="bigger")
    with pytest.raises(UserError) as error:
        check_fit(model, [site])
    one_line(error, site.sae.name, f"d_in={WIDTH + 2}", model.name, f"d_model={WIDTH}", "bigger")


@pytest.mark.parametrize("hook", ["blocks.3.hook_resid_post", "blocks.3.hook_resid_pre", "blocks.9.hook_resid_pre"])
def test_a_hook_that_the_model_does_not_have(
    hook: str, tiny_model: Callable[[str], TinyModel], named: Callable[..., Site]
) -> None:
    with pytest.raises(UserError) as error:
        check_fit(tiny_model("gpt2").model, [named(hook)])
    one_line(error, hook, tiny_model("gpt2").model.name, "has 3 layers")


def test_an_sae_of_another_model(tiny_model: Callable[[str], TinyModel], named: Callable[..., Site]) -> None:
    site = named(model_name="gpt2-small")
    with pytest.raises(UserError) as error:
        check_fit(tiny_model("llama").model, [site])
    one_line(error, site.sae.name, "'gpt2-small'", tiny_model("llama").model.name, "config.json")


@pytest.mark.parametrize(
    ("trained_on", "folder", "config_name"),
    [
        ("org/My-Model", "my-model", None),
        ("my-model", "models--org--my-model/snapshots/abc", None),
        ("gpt2-small", "models--openai-community--gpt2/snapshots/abc", None),
        ("my-model", "renamed", "org/my-model"),
        ("", "anything", None),
    ],
)
def test_a_model_folder_is_known_by_its_path_or_its_config(
    trained_on: str, folder: str, config_name: str | None, tmp_path: Path, named: Callable[..., Site]
) -> None:
    path = make_model("gpt2", tmp_path / folder)
    if config_name is not None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, "model_name": config_name}))
    check_fit(load_model(str(path), CPU, torch.float32), [named(model_name=trained_on)])


def test_saes_that_want_different_processing(named: Callable[..., Site]) -> None:
    centred = named(metadata={"model_from_pretrained_kwargs": {"center_writing_weights": True}})
    raw = named(
        "blocks.0.hook_resid_post", metadata={"model_from_pretrained_kwargs": {"center_writing_weights": False}}
    )
    assert processing_of([centred]) == {"center_writing_weights": True}
    assert processing_of([raw]) == {}
    assert processing_of([]) == {}
    with pytest.raises(UserError) as error:
        processing_of([raw, centred])
    one_line(error, raw.sae.name, centred.sae.name, "center_writing_weights")
