"""Distribution, random circuits, minimality and the cost of the splice: checked by brute force, and on bad circuits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
import torch
from tiny.audits import Oracle, audited_circuit, finding_of, nodes_kept
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.solvable_task import solvable_task
from torch import Tensor

from circuit_tui.core.audit.measures import distribution, minimality, random_circuits, splice_cost
from circuit_tui.core.audit.texts import read_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.judge import Judge, Judgement
from circuit_tui.core.search.judged_circuit import JudgedCircuit
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.problem import Problem


def test_the_distribution_is_that_of_the_oracle(problem: Problem, oracle: Oracle) -> None:
    kept = random_circuit(problem, 0.6, 1)
    nodes, naive = names_of_nodes(problem, kept), oracle.naive
    pairs = problem.task.split("test")
    logits = [naive.kept("test", prompt, nodes) for prompt in range(len(pairs))]
    measured = [naive.measure("test", prompt, row) for prompt, row in enumerate(logits)]
    same = [int(row.argmax() == naive.plain(pair.clean)[0].argmax()) for row, pair in zip(logits, pairs, strict=True)]
    numbers = finding_of(distribution.distribution(audited_circuit(problem, kept))).numbers
    n = len(pairs)
    empty = [naive.measure("test", prompt, naive.kept("test", prompt, set())) for prompt in range(n)]
    assert numbers["kl"] == pytest.approx(sum(row[1] for row in measured) / n, abs=1e-4)
    left = sum(row[1] for row in measured) / sum(row[1] for row in empty)
    assert numbers["kl_left"] == pytest.approx(left, rel=1e-2)
    assert numbers["cross_entropy"] == pytest.approx(sum(row[2] for row in measured) / n, abs=1e-4)
    assert numbers["top_agreement"] == pytest.approx(sum(same) / n)
    assert numbers["top_agreement_spliced"] == 1, "errors are kept: M_s is M"


def test_a_ruined_distribution_is_refused(problem: Problem) -> None:
    everything = audited_circuit(problem, torch.ones(len(problem.space), dtype=torch.bool))
    assert finding_of(distribution.distribution(everything)).verdict == "good"
    evaluator = Evaluator(problem, "test")
    circuits = [random_circuit(problem, 0.3, seed) for seed in range(40)]
    kept = max(circuits, key=lambda kept: evaluator.evaluate(kept, completeness=False).result().kl)
    ruined = finding_of(distribution.distribution(audited_circuit(problem, kept)))
    assert ruined.verdict == "bad"


def test_random_circuits_are_as_large_at_each_site(problem: Problem) -> None:
    kept = random_circuit(problem, 0.2, 1)
    draw = torch.Generator().manual_seed(0)
    drawn = [random_circuits.random_circuit_like(problem, kept, draw) for _ in range(50)]
    assert {problem.space.counts(one) for one in drawn} == {problem.space.counts(kept)}
    often = torch.stack(drawn).double().mean(0)
    assert float(often.min()) < 0.5
    assert len({bytes(one.to(torch.uint8).tolist()) for one in drawn}) == 50
    finding = finding_of(random_circuits.random_circuits(audited_circuit(problem, kept, random_circuits=50)))
    values = [Evaluator(problem, "test").faithfulness(one).result() for one in drawn]
    assert finding.numbers["mean"] == pytest.approx(sum(values) / 50, abs=1e-5)
    own = 1 - abs(1 - Evaluator(problem, "test").faithfulness(kept).result())
    better = sum(1 - abs(1 - value) >= own for value in values)
    assert finding.numbers["chance"] == pytest.approx((1 + better) / 51)


def test_a_circuit_no_better_than_chance_is_refused(problem: Problem) -> None:
    """The circuit is the middle one of forty random circuits."""
    circuits = [random_circuit(problem, 0.3, seed) for seed in range(40)]
    circuits.sort(key=lambda kept: abs(1 - Evaluator(problem, "test").faithfulness(kept).result()))
    finding = finding_of(random_circuits.random_circuits(audited_circuit(problem, circuits[20], random_circuits=40)))
    assert finding.verdict == "bad"
    assert finding.decides


def test_minimality_by_brute_force(problem: Problem) -> None:
    evaluator = Evaluator(problem, "train")

    def score_without(*gone: int) -> float:
        without = kept.clone()
        without[list(gone)] = False
        return 1 - abs(1 - evaluator.faithfulness(without).result())

    kept = random_circuit(problem, 0.07, 28)
    whole = score_without()
    nodes = [node for node in kept.nonzero()[:, 0].tolist() if abs(score_without(node) - whole) > 1e-3]
    kept = nodes_kept(problem, *nodes)
    score = score_without()
    alone = [score_without(node) for node in nodes]
    together = [score_without(*pair) for pair in combinations(nodes, 2)]
    for target in (score - 0.05, score + 0.05):  # a target that is reached, and one that is not
        least = target if target < score else score - minimality.ROUNDING
        assert min(abs(value - least) for value in (*alone, *together)) > 1e-5, "rounding would decide"
        numbers = finding_of(minimality.minimality(audited_circuit(problem, kept, target=target, pairs=1000))).numbers
        assert 0 < sum(value >= least for value in alone) < len(nodes)
        assert numbers["single"] == sum(value >= least for value in alone)
        assert numbers["pairs"] == sum(value >= least for value in together)
        assert numbers["pairs_tried"] == numbers["pairs_in_all"] == len(together) > 10


@pytest.mark.parametrize("rounding", [-1e-6, 0.0, 1e-6])
def test_rounding_does_not_decide_whether_an_idle_node_could_go(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, rounding: float
) -> None:
    """The circuit misses its target at a faithfulness of 0.5; without its last node only the last digits differ."""
    lost = {0: 0.3, 1: 0.1, 2: rounding}

    class Rounded(JudgedCircuit):
        @property
        def judgement(self) -> Judgement:
            return Judgement.of_faithfulness(0.5)

        @incremental
        def judge_first_alternatives(self, kept: Tensor) -> Increments[list[Judgement]]:
            yield
            return [Judgement.of_faithfulness(0.5 - sum(lost[one] for one in lost if not kept[0, one]))]

    monkeypatch.setattr(minimality, "JudgedCircuit", Rounded)
    audited = audited_circuit(problem, nodes_kept(problem, *lost), target=0.9)
    numbers = finding_of(minimality.minimality(audited)).numbers
    assert (numbers["single"], numbers["pairs"]) == (1, 0)


def test_what_a_node_does_under_another_ablation_counts(problem: Problem) -> None:
    """By brute force: a circuit that had to hold faithfulness under zero ablation too."""
    spec = SearchSpec("mask", 0.3, 0, {}, (), ("zero",))
    kept = nodes_kept(problem, *range(0, 40, 4))
    judge = Judge(spec, Evaluator(problem, "train"))
    judge.prepare().result()
    score = judge.judge(kept).result().score
    least = 0.3 if score >= 0.3 else score - minimality.ROUNDING
    single = 0
    for node in kept.nonzero()[:, 0].tolist():
        less = kept.clone()
        less[node] = False
        single += judge.judge(less).result().score >= least
    audited = replace(audited_circuit(problem, kept, target=0.3, pairs=0), search=spec)
    assert finding_of(minimality.minimality(audited)).numbers["single"] == single


def test_a_circuit_with_idle_nodes_is_refused(problem: Problem) -> None:
    everything = torch.ones(len(problem.space), dtype=torch.bool)
    assert finding_of(minimality.minimality(audited_circuit(problem, everything, pairs=5))).verdict == "bad"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "words.txt"
    path.write_text("the big cat runs near\na dog\n\nthe old hens see by the cow\n  \nnow\n")
    return path


def test_the_splice_on_a_text_is_that_of_hooks(tiny_model: Callable[[str], TinyModel], text: Path) -> None:
    """Both numbers are computed by Hugging Face with plain hooks, one document at a time, for every next word."""
    tiny = tiny_model("gpt2")
    problem = open_problem(tiny, solvable_task(tiny, (6,) * 4, (6,) * 4), errors="drop")
    naive = open_naive(tiny, problem)
    sums, count = [0.0, 0.0], 0
    for document in ("the big cat runs near a dog", "the old hens see by the cow", "now"):
        tokens = naive.tokens(document)
        for length in range(1, tokens.shape[1]):
            edits = {
                site: lambda resid, _, sae=sae: torch.cat([resid[:1], sae.decode(sae.encode(resid[1:]))])
                for site, sae in enumerate(naive.saes)
            }
            for index, chosen in enumerate(({}, edits)):
                with torch.no_grad():
                    row = naive.run(tokens[:, :length], chosen)[0].log_softmax(-1)
                sums[index] -= float(row[tokens[0, length]])
            count += 1
    finding = finding_of(splice_cost.on_text(audited_circuit(problem, random_circuit(problem, 0.5, 0), text=text)))
    assert finding.numbers["tokens"] == count
    assert finding.numbers["plain"] == pytest.approx(sums[0] / count, abs=1e-4)
    assert finding.numbers["spliced"] == pytest.approx(sums[1] / count, abs=1e-4)


def test_saes_that_ruin_the_model_are_refused(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """The text is the model's own, each word the likeliest next one, so random SAEs make it worse."""
    tiny = tiny_model("gpt2")
    problem = open_problem(tiny, solvable_task(tiny, (6,) * 4, (6,) * 4), errors="drop")
    naive, words = open_naive(tiny, problem), ["the", "cat"]
    while len(words) < 30:
        row = naive.plain(" ".join(words))[0]
        row[:3] = -torch.inf  # no special tokens
        words.append(naive.tokenizer.convert_ids_to_tokens(int(row.argmax())))
    path = tmp_path / "own.txt"
    path.write_text(" ".join(words))
    finding = finding_of(splice_cost.on_text(audited_circuit(problem, random_circuit(problem, 0.5, 0), text=path)))
    assert finding.verdict == "bad"


def test_kept_errors_cost_nothing(problem: Problem, text: Path) -> None:
    audited = audited_circuit(problem, random_circuit(problem, 0.5, 0), text=text)
    for measure in (splice_cost.on_text, splice_cost.on_task):
        finding = finding_of(measure(audited))
        assert finding.numbers["cost"] == pytest.approx(0, abs=1e-5)
        assert finding.verdict == "good"


def test_a_text_that_cannot_be_read_is_named(problem: Problem, tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.txt", tmp_path / "binary"
    empty.write_text(" \n")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, words in ((empty, "empty"), (binary, "not UTF-8"), (tmp_path / "gone", "No such file")):
        with pytest.raises(UserError, match=words):
            read_text(path)
    kept = random_circuit(problem, 0.5, 0)
    assert finding_of(splice_cost.on_text(audited_circuit(problem, kept))).verdict == "not measured"


def test_long_documents_are_cut_into_windows(problem: Problem, text: Path) -> None:
    """The tiny model reads at most 32 tokens: BOS and 31 words."""
    parts = list(splice_cost.windows(problem, "the cat " * 40, text))
    assert [part.shape[1] for part in parts] == [32, 32, 19]
    assert all(int(part[0, 0]) == 0 for part in parts)
