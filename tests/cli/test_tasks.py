"""``tasks make`` and ``tasks convert``, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from agreement_templates import AGREEMENT
from command_line import Cli
from transformers import AutoModelForCausalLM, AutoTokenizer

from circuit_tui.core import demo
from circuit_tui.core.tasks.prompts_file import load_prompts

TEMPLATES = AGREEMENT.replace("pairs = 40", "pairs = 12").replace("old young", "old supercalifragilistic young")


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    path = tmp_path / "agree.toml"
    path.write_text(TEMPLATES)
    return path


def test_a_task_is_made_measured_and_written(cli: Cli, templates: Path, tmp_path: Path) -> None:
    out = tmp_path / "agree.jsonl"
    line = ("tasks", "make", templates, "--model", demo.model_dir(), "--out", out)
    said = cli(*line, "--json")
    assert said.code == 0, said.err
    found = said.data
    task = load_prompts(out)
    assert (found["file"], found["name"], found["n_train"], found["n_test"], found["n_unseen"]) == (
        str(out), "agree", len(task.split("train")), len(task.split("test")), len(task.split("unseen")),
    )  # fmt: skip
    assert found["words_left_out"] == {"kind": ["supercalifragilistic"]}
    # Hugging Face's own model, one prompt at a time.
    model = AutoModelForCausalLM.from_pretrained(demo.model_dir(), dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(demo.model_dir())
    every: list[float] = []
    for row, split in zip(found["templates"], (("train", "test"), ("unseen",)), strict=True):
        differences, best = [], []
        for pair in (pair for pair in task.pairs if pair.split in split):
            ids = [tokenizer.bos_token_id, *tokenizer(pair.clean, add_special_tokens=False).input_ids]
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            right, wrong = (
                tokenizer(text, add_special_tokens=False).input_ids[-1] for text in (pair.answer, pair.wrong)
            )
            differences.append(float(logits[right] - logits[wrong]))
            best.append(int(logits.argmax()) == right)
        numbers = row["numbers"]
        assert row["pairs"] == numbers["n_prompts"] == len(differences)
        assert numbers["logit_difference"] == pytest.approx(sum(differences) / len(differences), abs=1e-4)
        assert numbers["accuracy"] == sum(value > 0 for value in differences) / len(differences)
        assert numbers["likeliest"] == sum(best) / len(best)
        every += differences
    assert found["all"]["n_prompts"] == len(task.pairs) == len(every)
    assert found["all"]["logit_difference"] == pytest.approx(sum(every) / len(every), abs=1e-4)
    assert found["all"]["accuracy"] == pytest.approx(sum(value > 0 for value in every) / len(every))
    refused = cli(*line)
    assert refused.code == 2
    assert f"{out}: there is a file that circuit-tui did not write; --force replaces it" in refused.err
    said = cli(*line, "--force")
    assert said.code == 0
    assert "The {kind} {subject} that the {o} like" in said.out
    assert "words.kind: left out, as no single tokens: supercalifragilistic" in said.out


def test_a_templates_file_that_is_wrong_is_refused_before_the_model_is_loaded(cli: Cli, templates: Path) -> None:
    templates.write_text(TEMPLATES.replace('n = "noun"', 'n = "nun"'))
    said = cli("tasks", "make", templates, "--model", "no-such-model-at-all", "--out", templates.parent / "x.jsonl")
    assert said.code == 2
    assert said.err.splitlines() == [
        f"error: {templates}: template 1: draw.n: there is no word list 'nun'; there are noun, kind"
    ]
    assert not (templates.parent / "x.jsonl").exists()


def test_a_file_of_another_tool_is_converted(cli: Cli, tmp_path: Path) -> None:
    file, out = tmp_path / "f.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"clean_prefix": f"a {n}", "patch_prefix": f"b {n}", "clean_answer": " c", "patch_answer": " d"}
        for n in (1, 2, 2, 3)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    said = cli("tasks", "convert", file, "--out", out)
    assert (said.code, said.out) == (0, f"{out}: 2 train, 1 test, from feature-circuits\n")
    assert "note: 1 repeated pairs were left out." in said.err
    assert {pair.clean for pair in load_prompts(out).pairs} == {"a 1", "a 2", "a 3"}
    found = cli("tasks", "convert", file, "--out", out, "--force", "--json").data
    assert (found["format"], found["n_train"], found["name"]) == ("feature-circuits", 2, "out")
    assert cli("tasks", "convert", file, "--out", out, "--force", "--format", "eapig").code == 2


def test_the_list_is_still_there(cli: Cli) -> None:
    assert {row["name"] for row in cli("tasks", "--json").data["tasks"]} > {"sva-rc", "smollm2-sva"}
    assert "smollm2-capital" in cli("tasks").out
