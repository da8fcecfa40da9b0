"""Bad input leads to exit code 2 and one line that names the file, field or flag."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from circuit_example import example

PAIR = {"clean": "Here the lawyer always", "corrupt": "Here the lawyers always", "answer": " runs", "wrong": " run"}
OTHER = {"clean": "Here the doctor always", "corrupt": "Here the doctors always"}


@pytest.fixture
def refused(cli: Any) -> Callable[..., str]:
    """A function that runs a command which must be refused, and returns its error line."""

    def run(*args: object) -> str:
        done = cli(*args)
        assert done.code == 2, done
        assert done.out == ""
        return str(done.error)

    return run


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("fnd",), "No such command 'fnd'. Did you mean 'find'?"),
        (("find", "--tsak", "ioi"), "No such option: --tsak"),
        (("find", "extra"), "unexpected extra argument"),
        (("check",), "Missing argument"),
        (("find", "--seed", "x"), "Invalid value for '--seed'"),
        (("find", "--seed", "-1"), "Invalid value for '--seed'"),
        (("find", "--batch", "0"), "Invalid value for '--batch'"),
        (("find", "--target", "1"), "--target 1: must lie between 0 and 1"),
        (("find", "--target", "nan"), "--target nan: must lie between 0 and 1"),
        (("explore", "--target", "0"), "--target 0: must lie between 0 and 1"),
        (("find", "--task", "sva-cr"), "--task sva-cr: unknown; did you mean sva-rc?"),
        (("explore", "--task", "nothing"), "--task nothing: unknown; choose one of sva-simple"),
        (("find", "--method", "maks"), "--method maks: unknown method"),
        (("explore", "--method", "maks"), "did you mean mask?"),
        (("find", "--set", "lr"), "--set lr: write NAME=VALUE"),
        (("find", "--set", "rl=0.1"), "--set rl: method mask has no such setting"),
        (("find", "--set", "lr=fast"), "--set lr=fast: method mask needs a number"),
        (("find", "--positions", "ech"), "--positions ech: unknown; did you mean each?"),
        (("find", "--ablation", "none"), "--ablation none: unknown; "),
        (("find", "--errors", "kep"), "--errors kep: unknown; did you mean keep?"),
        (("find", "--dtype", "int8"), "--dtype int8: unknown; "),
        (("find", "--device", "gpu"), "--device gpu: unknown; "),
        (("find", "--device", "cuda:one"), "--device cuda:one: a device's number follows the colon"),
        (("find", "--sae", "gpt2-small-res-jb:"), "--sae gpt2-small-res-jb:: write RELEASE:ID"),
        (("find", "--layers", "1"), "--layers: needs --sae RELEASE"),
        (("find", "--model", "gpt2", "--layers", "one"), "--layers one: write numbers and ranges"),
        (("explore", "--model", "gpt2", "--every", "0"), "--every 0: must be at least 1"),
        (("find", "--sae-dir", "/no/such"), "--sae-dir /no/such: no such folder"),
        (("find", "--task", "ioi", "--prompts", "p.jsonl"), "--task and --prompts: give one of the two"),
        (("find", "--out", "/no/such/c.json"), "/no/such/c.json: there is no folder /no/such"),
        (("find", "--out", "/proc/c.json"), "/proc/c.json: cannot write: the folder /proc takes no files"),
        (("find", "--out", f"/tmp/{'c' * 300}.json"), "cannot write: File name too long"),
        (("resume", "--out", "/proc/c.json"), "/proc/c.json: cannot write: the folder /proc takes no files"),
        (("sweep", "--out", "/proc/r.sqlite"), "/proc/r.sqlite: cannot write: the folder /proc takes no files"),
        (("compare", "--out", "/proc/c.json"), "/proc/c.json: cannot write: the folder /proc takes no files"),
        (("compare", "--picture", "/proc/p.svg"), "/proc/p.svg: cannot write: the folder /proc takes no files"),
        (("explore", "--out", "/"), "/: is a folder"),
        (("check", "c.json", "--tolerance", "-1"), "--tolerance -1: must be a finite number"),
        (("explore", "--theme"), "Option '--theme' requires an argument"),
    ],
)
def test_wrong_use(refused: Callable[..., str], args: tuple[str, ...], says: str) -> None:
    assert says in refused(*args)


BROKEN = {
    "missing": None,
    "empty": "",
    "binary": b"\xff\x00\xfe",
    "not JSON": "once upon a time",
    "truncated": '{"clean": "The bak',
}


def put(path: Path, content: str | bytes | None) -> Path:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("args", [("find", "--prompts"), ("explore", "--prompts"), ("find", "--circuit"), ("check",)])
def test_broken_files(refused: Callable[..., str], tmp_path: Path, kind: str, args: tuple[str, ...]) -> None:
    path = put(tmp_path / "given.jsonl", BROKEN[kind])
    assert refused(*args, path).startswith(str(path))


@pytest.mark.parametrize("args", [("find", "--circuit"), ("explore", "--circuit"), ("check",)])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "circuit-tui/circuit/3"}, "its schema is 'circuit-tui/circuit/3', this version reads"),
        ({"seed": None}, "$.seed: should be a valid integer"),
        ({"sites": []}, "$.sites"),
    ],
)
def test_wrong_circuit_files(
    refused: Callable[..., str], tmp_path: Path, args: tuple[str, ...], change: dict[str, Any], says: str
) -> None:
    path = put(tmp_path / "c.json", json.dumps(example() | change))
    assert f"{path}: {says}" in refused(*args, path)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("latent", 512, "$.sites[0].nodes[0].latent: 512 is out of range, the SAE has 512 latents"),
        ("position", "adverb", "$.sites[0].nodes[0].position: 'adverb' is none of the task's positions"),
    ],
)
def test_nodes_out_of_range(refused: Callable[..., str], tmp_path: Path, key: str, value: object, says: str) -> None:
    data = example()
    data["sites"][0]["nodes"][0][key] = value
    path = put(tmp_path / "c.json", json.dumps(data))
    assert refused("check", path) == f"{path}: {says}"


@pytest.mark.parametrize("flag", ["--model", "--task", "--prompts", "--positions", "--ablation", "--errors"])
def test_a_circuit_file_says_itself_what_to_open(refused: Callable[..., str], tmp_path: Path, flag: str) -> None:
    path = put(tmp_path / "c.json", json.dumps(example()))
    value = {"--positions": "each", "--ablation": "mean", "--errors": "drop"}.get(flag, "x")
    assert refused("find", "--circuit", path, flag, value).startswith(f"{flag}: leave it out with --circuit")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused_before_the_work(refused: Callable[..., str], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "read-only" in refused("find", "--out", tmp_path / "c.json")


def test_debug_adds_the_traceback(cli: Any) -> None:
    done = cli("find", "--task", "nothing", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1].startswith("error: --task nothing")


# Errors that are only found once the model or the SAE is loaded.


def _prompts(folder: Path, *pairs: dict[str, str]) -> Path:
    rows = [PAIR | pair | {"split": split} for pair, split in zip(pairs, ("train", "test"), strict=True)]
    return put(folder / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def sae_copy(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies one SAE of the demo, with other metadata or another width."""
    from safetensors.numpy import load_file, save_file

    source = root / "core" / "demo" / "saes" / "blocks.0.hook_resid_post"

    def copy(width: int | None = None, **metadata: str) -> Path:
        folder = tmp_path / "sae"
        folder.mkdir()
        config = json.loads((source / "cfg.json").read_text())
        config["metadata"] |= metadata
        weights = load_file(source / "sae_weights.safetensors")
        if width is not None:
            config["d_in"] = width
            weights["W_enc"] = weights["W_enc"][:width].copy()
            weights["W_dec"] = weights["W_dec"][:, :width].copy()
            weights["b_dec"] = weights["b_dec"][:width].copy()
        save_file(weights, folder / "sae_weights.safetensors")
        put(folder / "cfg.json", json.dumps(config))
        return folder

    return copy


def test_an_sae_of_another_width(refused: Callable[..., str], sae_copy: Callable[..., Path]) -> None:
    line = refused("find", "--sae-dir", sae_copy(width=32))
    assert "d_in=32" in line
    assert "d_model=96" in line


def test_an_sae_of_another_model(refused: Callable[..., str], sae_copy: Callable[..., Path]) -> None:
    line = refused("find", "--sae-dir", sae_copy(model_name="gpt2-large"))
    assert "gpt2-large" in line
    assert "circuit-tui-demo" in line


@pytest.mark.parametrize("hook", ["blocks.0.mlp.hook_pre", "blocks.9.hook_resid_post", "nonsense"])
def test_an_sae_at_a_hook_that_is_not_there(
    refused: Callable[..., str], sae_copy: Callable[..., Path], hook: str
) -> None:
    assert hook in refused("find", "--sae-dir", sae_copy(hook_name=hook))


@pytest.mark.parametrize("name", ["cfg.json", "sae_weights.safetensors"])
def test_an_sae_folder_that_is_damaged(refused: Callable[..., str], sae_copy: Callable[..., Path], name: str) -> None:
    folder = sae_copy()
    put(folder / name, "{")
    assert str(folder) in refused("find", "--sae-dir", folder)
    (folder / name).unlink()
    assert f"the folder has no {name}" in refused("find", "--sae-dir", folder)


def test_an_unknown_release_and_id(refused: Callable[..., str]) -> None:
    assert "did you mean gpt2-small-res-jb" in refused("find", "--sae", "gpt2-small-res-bj:blocks.7.hook_resid_pre")
    assert "did you mean blocks.7.hook_resid_pre" in refused(
        "find", "--sae", "gpt2-small-res-jb:block.7.hook_resid_pre"
    )


def test_an_answer_that_begins_the_other(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _prompts(tmp_path, {"answer": " runs always", "wrong": " runs"}, OTHER)
    line = refused("find", "--prompts", path)
    assert "beginning of the other" in line
    assert "' runs'" in line


def test_pairs_of_unequal_length_under_each(refused: Callable[..., str], tmp_path: Path) -> None:
    path = _prompts(tmp_path, {"clean": "Here the happy lawyer always"}, OTHER)
    assert "--positions" in refused("find", "--prompts", path, "--positions", "each")


def test_a_model_that_is_not_there(refused: Callable[..., str], tmp_path: Path, sae_copy: Callable[..., Path]) -> None:
    folder = sae_copy()
    given = ("--task", "ioi", "--sae-dir", folder)
    assert f"--model {tmp_path}/none: no such folder" in refused("find", "--model", tmp_path / "none", *given)
    assert f"--model {tmp_path}: the folder has no config.json" in refused("find", "--model", tmp_path, *given)


def test_a_model_alone_needs_task_and_saes(refused: Callable[..., str], root: Path) -> None:
    model = root / "core" / "demo" / "model"
    assert "--task NAME" in refused("find", "--model", model)
    assert "--sae-dir" in refused("find", "--model", model, "--task", "ioi")


def test_no_cuda(refused: Callable[..., str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert refused("find", "--device", "cuda") == "--device cuda: no CUDA on this machine; use --device cpu"
