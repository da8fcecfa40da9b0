"""SAE folders bent as people bend them: refused in one line that names folder and cause."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny.saes import LATENTS, make_sae

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.load_saes import load_saes

HOOK, WIDTH = "blocks.1.hook_resid_post", 16
Bend = Callable[[Path], object]


def config(**values: Any) -> Bend:
    """Changes ``cfg.json``; None takes a value out."""

    def bend(folder: Path) -> None:
        path = folder / "cfg.json"
        data = json.loads(path.read_text()) | values
        path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}))

    return bend


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Bend:
    """Changes the tensors."""

    def bend(folder: Path) -> None:
        tensors = load_file(folder / "sae_weights.safetensors")
        change(tensors)
        contiguous = {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous, folder / "sae_weights.safetensors")

    return bend


def spoilt(name: str, value: float) -> Bend:
    """Makes one number of the tensor `name` `value`."""
    return weights(lambda tensors: tensors[name].view(-1)[5].fill_(value))


def too_large(tensors: dict[str, torch.Tensor]) -> None:
    tensors.update({name: value.half() for name, value in tensors.items()}, b_dec=(tensors["b_dec"] * 1e6).half())


@pytest.mark.parametrize(
    ("kind", "bend", "says"),
    [
        ("standard", weights(lambda w: w.update(W_dec=w["W_dec"].t())), "size mismatch for W_dec"),
        ("standard", weights(lambda w: w.update(W_enc=w["W_dec"], W_dec=w["W_enc"])), "size mismatch for W_"),
        ("standard", weights(lambda w: w.pop("b_dec")), 'Missing key.*"b_dec"'),
        ("standard", weights(lambda w: w.update(extra=torch.ones(2))), 'Unexpected key.*"extra"'),
        ("standard", config(d_in=24), "size mismatch"),
        ("standard", config(d_sae=99), "size mismatch"),
        ("standard", config(architecture="jumprelu"), 'Missing key.*"threshold"'),
        ("standard", config(architecture="wavelet"), "'wavelet' is unknown"),
        ("standard", config(normalize_activations="median"), "normalize_activations must be .*Got median"),
        (
            "standard",
            config(normalize_activations="expected_average_only_in"),
            "expected_average_only_in.*the factor is not folded into its weights",
        ),
        ("standard", config(metadata={"hook_name": "blocks.1.hook_nothing"}), "nothing can be spliced in at"),
        ("standard", config(metadata={}), r"cfg\.json names no metadata\.hook_name"),
        ("topk", config(k=None), r"cfg\.json gives no k"),
        ("topk", config(k=0), f"cfg.json gives k 0; it must be 1 to {LATENTS}"),
        ("topk", config(k=LATENTS + 1), f"it must be 1 to {LATENTS}, its latents"),
        ("standard", spoilt("W_dec", float("nan")), "its parameter W_dec is not finite"),
        ("jumprelu", spoilt("threshold", float("inf")), "its parameter threshold is not finite"),
        ("standard", weights(too_large), "its parameter b_dec is not finite"),
        ("standard", lambda folder: (folder / "cfg.json").write_text("[]"), "cfg.json is no JSON object"),
        ("standard", lambda folder: (folder / "cfg.json").unlink(), "the folder has no cfg.json"),
        (
            "standard",
            lambda folder: (folder / "sae_weights.safetensors").unlink(),
            "the folder has no sae_weights.safetensors",
        ),
        (
            "standard",
            lambda folder: (folder / "sae_weights.safetensors").write_bytes(b"\x10" + bytes(40)),
            "cannot be loaded: ",
        ),
    ],
)
def test_what_is_wrong_with_it_is_said_in_one_line(tmp_path: Path, kind: str, bend: Bend, says: str) -> None:
    folder = make_sae(kind, tmp_path / "sae", HOOK, WIDTH)
    load_saes([], [folder], torch.device("cpu"))
    bend(folder)
    with pytest.raises(UserError, match=f"{folder}: .*{says}|{folder}.*{says}") as error:
        load_saes([], [folder], torch.device("cpu"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "old",
    [
        {"hook_point": HOOK, "hook_point_layer": 1, "hook_point_head_index": None, "expansion_factor": 2},
        {"hook_name": HOOK, "hook_layer": 1, "hook_head_index": None, "activation_fn_str": "relu", "prepend_bos": True},
        {"hook_name": HOOK, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 6}},
    ],
)
def test_configurations_of_older_versions_of_sae_lens_open(tmp_path: Path, old: dict[str, Any]) -> None:
    """The same activations as the same weights under a configuration of today."""
    kind = "topk" if "activation_fn_kwargs" in old else "standard"
    folder = make_sae(kind, tmp_path / "sae", HOOK, WIDTH)
    x = torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(0))
    (site,) = load_saes([], [folder], torch.device("cpu"))
    expected = site.sae.encode(x)
    assert bool((expected > 0).any())
    plain = {"d_in": WIDTH, "d_sae": LATENTS, "dtype": "torch.float32", "device": "cuda", "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps(plain | old))
    (site,) = load_saes([], [folder], torch.device("cpu"))
    torch.testing.assert_close(site.sae.encode(x), expected)
    assert site.hook == HOOK
