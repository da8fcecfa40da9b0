"""sae-lens still behaves as the patches of `compat` say, and each patch mends it."""

from __future__ import annotations

import inspect

import pytest
import torch
from sae_lens import SAE, StandardSAE, StandardSAEConfig
from sae_lens.loading import pretrained_sae_loaders as loaders

from circuit_tui.core.models.compat.sae_normalisation import drop_normalisation


def test_sae_lens_still_loads_no_revision_but_the_newest() -> None:
    """When this fails, delete the patch `sae_lens_downloads`, as far as its loaders take what they are told."""
    assert "revision" not in inspect.signature(SAE.from_pretrained).parameters
    assert list(inspect.signature(loaders.get_safetensors_tensor_shapes).parameters) == ["repo_id", "filename"]


@pytest.mark.parametrize("kind", ["layer_norm", "constant_norm_rescale"])
def test_an_sae_of_sae_lens_still_decodes_by_its_last_input(kind: str) -> None:
    """When this fails, delete the patch `sae_normalisation`."""
    sae = StandardSAE(StandardSAEConfig(d_in=4, d_sae=8, normalize_activations=kind))
    activations = sae.encode(torch.randn(3, 4))
    sae.decode(activations)
    with pytest.raises(AttributeError):
        sae.decode(activations)
    drop_normalisation(sae)
    sae.decode(activations)
    x = torch.randn(3, 4)
    torch.testing.assert_close(sae.process_sae_in(x), x - sae.b_dec)
