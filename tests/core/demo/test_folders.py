"""The bundled folders: they are in the package, small, and load with the libraries that users have."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from sae_lens import SAE
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core.demo import MODEL_NAME, SITES, model_dir, sae_dirs
from circuit_tui.core.demo.corpus import BOS, BOS_ID, tokenizer, vocabulary
from circuit_tui.core.tasks import builtin as tasks

LIMIT_MB = 8


def test_the_weights_are_small() -> None:
    files = [file for folder in (model_dir(), *sae_dirs()) for file in folder.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= LIMIT_MB * 1_000_000


def test_asking_for_the_folders_imports_no_torch() -> None:
    program = "import sys; from circuit_tui.core.demo import model_dir; model_dir(); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_every_word_of_every_task_is_one_token() -> None:
    loaded = AutoTokenizer.from_pretrained(model_dir())
    assert loaded.get_vocab() == vocabulary() == tokenizer().get_vocab()
    assert loaded.bos_token == BOS
    assert loaded.bos_token_id == BOS_ID
    for name in tasks.DEMO_TASKS:
        for pair in tasks.builtin(name).pairs:
            for text in (pair.clean, pair.corrupt, pair.answer, pair.wrong):
                ids = loaded(text)["input_ids"]
                assert len(ids) == len(text.split())
                assert loaded.unk_token_id not in ids
                assert loaded.bos_token_id not in ids


@pytest.mark.parametrize("site", range(len(SITES)))
def test_each_sae_is_a_jumprelu_folder_that_names_its_hook_and_model(site: int) -> None:
    folder = sae_dirs()[site]
    config = json.loads((folder / "cfg.json").read_text())
    assert config["architecture"] == "jumprelu"
    assert config["normalize_activations"] == "none"
    assert config["metadata"]["hook_name"] == SITES[site] == folder.name
    assert config["metadata"]["model_name"] == MODEL_NAME
    sae = SAE.load_from_disk(folder)
    width = json.loads((model_dir() / "config.json").read_text())["n_embd"]
    assert (sae.cfg.d_in, sae.W_dec.shape[1]) == (width, width)


def test_the_bridge_agrees_with_hugging_face() -> None:
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(str(model_dir()), device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(model_dir())
    prompts = [pair.clean for pair in tasks.builtin("ioi").split("test")[:8]]
    ids = bridge.to_tokens(prompts)
    assert ids[:, 0].tolist() == [BOS_ID] * 8
    assert ids.shape[1] == 1 + len(prompts[0].split())
    with torch.no_grad():
        assert torch.allclose(bridge(ids), plain(ids).logits, atol=1e-5)
    assert set(SITES) <= set(bridge.hook_dict)
