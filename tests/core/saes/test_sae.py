"""What the splice needs of an SAE: exact encoder columns, an affine decoder, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE
from tiny.saes import CHECKPOINTS, KINDS, LATENTS, TRANSCODERS, make_sae

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.saes.sae import SiteSae

WIDTH = 10
ELEMENTWISE = [kind for kind in KINDS if "topk" not in kind]
HOOK = "blocks.0.hook_resid_post"
CPU = torch.device("cpu")


def opened(kind: str, folder: Path, **config: Any) -> tuple[SiteSae, Any]:
    """An SAE as the engine opens it, and as sae-lens does."""
    make_sae(kind, folder, HOOK, WIDTH, **config)
    return load_saes([], [folder], CPU)[0].sae, SAE.load_from_disk(folder)


def residuals(n: int = 200) -> torch.Tensor:
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(1)) * 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_encode_and_decode_are_those_of_sae_lens(kind: str, tmp_path: Path) -> None:
    sae, theirs = opened(kind, tmp_path)
    x = residuals()
    acts = theirs.encode(x)
    assert 0.1 < float((acts != 0).float().mean()) < 0.8
    assert torch.equal(sae.encode(x), acts)
    torch.testing.assert_close(sae.decode(acts), theirs.decode(acts), rtol=1e-5, atol=1e-5)
    assert sae.elementwise == (kind in ELEMENTWISE)
    assert sae.architecture == kind.split("-")[0]


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_columns_encode_a_latent_alone_exactly(kind: str, tmp_path: Path) -> None:
    sae, theirs = opened(kind, tmp_path)
    # Two groups with their own latents, one of them twice.
    latents = torch.stack([torch.arange(LATENTS), torch.arange(LATENTS).flip(0) // 2])
    x = residuals().reshape(2, -1, WIDTH).requires_grad_()
    own = sae.columns(latents).encode(x)
    full = theirs.encode(x)
    expected = torch.stack([full[group][:, latents[group]] for group in range(2)])
    assert torch.equal(own > 0, expected > 0)
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(own.shape, generator=torch.Generator().manual_seed(2))
    (got,) = torch.autograd.grad((own * weight).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), x)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_an_elementwise_kind_whose_columns_disagree_is_encoded_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH)
    theirs = SAE.load_from_disk(tmp_path)
    plain = type(theirs).encode
    monkeypatch.setattr(type(theirs), "encode", lambda self, x: plain(self, x).clamp(max=1.0))
    assert not load_saes([], [tmp_path], CPU)[0].sae.elementwise


def test_a_negative_jumprelu_threshold_still_rectifies(tmp_path: Path) -> None:
    make_sae("jumprelu", tmp_path, HOOK, WIDTH)
    theirs = SAE.load_from_disk(tmp_path)
    theirs.threshold.data -= 0.5
    theirs.save_model(tmp_path)
    sae = load_saes([], [tmp_path], CPU)[0].sae
    assert sae.elementwise
    x = residuals().unsqueeze(0)
    own = sae.columns(torch.arange(LATENTS).unsqueeze(0)).encode(x)
    torch.testing.assert_close(own, theirs.encode(x), rtol=1e-5, atol=1e-5)


def test_a_decoder_that_is_not_affine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH)
    sae_class = type(SAE.load_from_disk(tmp_path))
    plain = sae_class.decode
    monkeypatch.setattr(sae_class, "decode", lambda self, acts: plain(self, acts).tanh())
    with pytest.raises(UserError, match=f"{tmp_path}.*decoder.*not affine"):
        load_saes([], [tmp_path], CPU)


@pytest.mark.parametrize("kind", ["covariance_whitening", "expected_average_only_in"])
def test_normalisation_that_is_not_folded_is_refused(kind: str, tmp_path: Path) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH, normalize_activations=kind)
    with pytest.raises(UserError, match=f"{tmp_path}.*normalize_activations='{kind}'"):
        load_saes([], [tmp_path], CPU)


@pytest.mark.parametrize("place", ["top", "metadata"])
def test_a_scaling_factor_in_the_configuration_is_folded(place: str, tmp_path: Path) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH, normalize_activations="expected_average_only_in")
    theirs = SAE.load_from_disk(tmp_path)
    config = json.loads((tmp_path / "cfg.json").read_text())
    (config if place == "top" else config["metadata"])["norm_scaling_factor"] = 1.7
    (tmp_path / "cfg.json").write_text(json.dumps(config))
    sae = load_saes([], [tmp_path], CPU)[0].sae
    x = residuals()
    acts = theirs.encode(x * 1.7)
    torch.testing.assert_close(sae.encode(x), acts, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(sae.rebuild(acts, x), theirs.decode(acts) / 1.7, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["constant_norm_rescale", "layer_norm"])
@pytest.mark.parametrize("architecture", ["standard", "topk", "gated"])
def test_an_sae_that_normalises_each_token(kind: str, architecture: str, tmp_path: Path) -> None:
    sae, theirs = opened(architecture, tmp_path, normalize_activations=kind)
    x = residuals() * 7
    acts = theirs.encode(x)
    torch.testing.assert_close(sae.encode(x), acts, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.rebuild(acts, x), theirs.decode(acts), rtol=1e-5, atol=1e-4)
    assert sae.elementwise == (architecture != "topk")


@pytest.mark.parametrize("kind", TRANSCODERS)
def test_a_transcoder(kind: str, tmp_path: Path) -> None:
    make_sae(kind, tmp_path, "blocks.1.mlp.hook_in", WIDTH, metadata={"hook_name_out": "blocks.1.hook_mlp_out"})
    (site,) = load_saes([], [tmp_path], CPU)
    theirs = SAE.load_from_disk(tmp_path)
    x = residuals()
    assert torch.equal(site.sae.encode(x), theirs.encode(x))
    torch.testing.assert_close(site.sae.rebuild(theirs.encode(x), x), theirs(x), rtol=1e-5, atol=1e-5)
    assert site.sae.elementwise
    assert (site.short, site.depth, site.depth_after) == ("L1t", 1, 2)


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_a_training_checkpoint_is_what_it_saves_for_use(kind: str, tmp_path: Path) -> None:
    from sae_lens.saes.sae import TrainingSAE

    make_sae(kind, tmp_path / "training", HOOK, WIDTH)
    TrainingSAE.load_from_disk(tmp_path / "training").save_inference_model(tmp_path / "use")
    ours, theirs = (load_saes([], [tmp_path / name], CPU)[0].sae for name in ("training", "use"))
    x = residuals()
    assert torch.equal(ours.encode(x), theirs.encode(x))
    assert (ours.architecture, ours.elementwise) == ("jumprelu", True)
    assert ours.weights_sha256 != ""


def test_a_folded_scaling_factor_is_welcome(tmp_path: Path) -> None:
    make_sae("standard", tmp_path, HOOK, WIDTH, normalize_activations="expected_average_only_in")
    theirs = SAE.load_from_disk(tmp_path)
    theirs.fold_activation_norm_scaling_factor(1.7)
    theirs.save_model(tmp_path)
    sae = load_saes([], [tmp_path], CPU)[0].sae
    assert torch.equal(sae.encode(residuals()), theirs.encode(residuals()))


def test_the_hash_follows_the_weights(tmp_path: Path) -> None:
    one, _ = opened("jumprelu", tmp_path / "one", seed=1)
    same, _ = opened("jumprelu", tmp_path / "same", seed=1)
    other, _ = opened("jumprelu", tmp_path / "other", seed=2)
    assert one.weights_sha256 == same.weights_sha256 != other.weights_sha256
