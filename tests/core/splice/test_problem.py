"""A problem once opened: its candidates, statistics and resampled rows; batches change nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
from tiny.models_with_saes import CPU, TinyModel
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.saes import make_sae
from tiny.tasks import TASKS

from circuit_tui.core.choices import PositionsKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.saes.load_saes import load_saes
from circuit_tui.core.splice.problem import Problem


@pytest.fixture
def roles(tiny_model: Callable[[str], TinyModel]) -> Problem:
    return open_problem(tiny_model("gpt2"), TASKS["roles"], errors="mean", batch_size=3)


def test_candidates_and_statistics_are_those_of_the_latents_that_fire(
    tiny_model: Callable[[str], TinyModel], roles: Problem
) -> None:
    naive = open_naive(tiny_model("gpt2"), roles)
    names = roles.alignment.names
    every = torch.ones(len(roles.space), dtype=torch.bool)
    fired = set()
    for side, counts in (("clean", roles.clean_stats), ("corrupt", roles.corrupt_stats)):
        for site in range(len(roles.sites)):
            cells, prompts = defaultdict(list), defaultdict(set)
            for index, pair in enumerate(roles.task.split("train")):
                text = getattr(pair, side)
                resid = naive.spliced_until(pair, text, site)[1][site]
                for name, row in zip(naive.names(pair, text), naive.saes[site].encode(resid).detach(), strict=True):
                    if name is None:
                        continue
                    cells[name].append(row)
                    for latent in row.nonzero()[:, 0].tolist():
                        fired.add((site, name, latent))
                        prompts[name, latent].add(index)
            for position, name in enumerate(names):
                rows = torch.stack(cells[name])
                torch.testing.assert_close(counts[site].means.mean()[position], rows.mean(0), rtol=1e-5, atol=1e-5)
                torch.testing.assert_close(counts[site].peak[position], rows.amax(0), rtol=1e-5, atol=1e-5)
                expected = [len(prompts[name, latent]) for latent in range(rows.shape[1])]
                assert counts[site].rows_fired[position].tolist() == expected
    assert names_of_nodes(roles, every) == fired
    assert len(fired) < sum(site.sae.d_sae for site in roles.sites) * len(names)


def test_nodes_are_numbered_by_site_latent_position(roles: Problem) -> None:
    space = roles.space
    rows = list(zip(space.site.tolist(), space.latent.tolist(), space.position.tolist(), strict=True))
    assert rows == sorted(set(rows))
    assert [len(space.of_site(site)) for site in range(2)] == list(space.counts(torch.ones(len(space)).bool()))
    assert {int(space.site[node]) for node in space.of_site(1)} == {1}


def test_a_latent_that_fires_negatively_is_a_candidate(tiny_model: Callable[[str], TinyModel]) -> None:
    opened = tiny_model("gpt2")
    folder = make_sae("abstopk", opened.folder.parent / "abstopk", "blocks.0.hook_resid_post", opened.model.d_model)
    signed = TinyModel(opened.folder, (folder,), opened.model, tuple(load_saes([], [folder], CPU)))
    problem = open_problem(signed, TASKS["roles"])
    evaluator = Evaluator(problem, "train")
    every = torch.ones(len(problem.space), dtype=torch.bool)
    got, expected = evaluator.measure(every).result().logit_diff, evaluator.baselines.spliced.logit_diff
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "task"), [("each", "index"), ("each", "roles"), ("end", "mixed"), ("shared", "mixed")]
)
def test_on_the_train_prompts_all_candidates_are_the_spliced_model(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    for shape in ("gpt2", "llama", "gemma2"):
        problem = open_problem(tiny_model(shape), TASKS[task], kind, errors="mean")
        evaluator = Evaluator(problem, "train")
        every = torch.ones(len(problem.space), dtype=torch.bool)
        torch.testing.assert_close(
            evaluator.measure(every).result().logit_diff, evaluator.baselines.spliced.logit_diff, rtol=0, atol=1e-4
        )
        torch.testing.assert_close(
            evaluator.measure_removed(every).result().logit_diff,
            evaluator.baselines.empty.logit_diff,
            rtol=0,
            atol=1e-4,
        )


def test_with_errors_kept_the_spliced_model_is_the_model(tiny_model: Callable[[str], TinyModel]) -> None:
    evaluator = Evaluator(open_problem(tiny_model("gemma2"), TASKS["mixed"], "shared", errors="keep"), "test")
    torch.testing.assert_close(
        evaluator.baselines.spliced.logit_diff, evaluator.baselines.plain.logit_diff, rtol=0, atol=1e-5
    )
    assert float(evaluator.baselines.spliced.kl.abs().max()) < 1e-5


@pytest.mark.parametrize("ablation", ["mean", "resample"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_batches_change_nothing(tiny_model: Callable[[str], TinyModel], split: str, ablation: str) -> None:
    found = []
    for size in (None, 1, 3):
        problem = open_problem(tiny_model("llama"), TASKS["mixed"], "shared", ablation, "mean", size)  # type: ignore[arg-type]
        evaluator = Evaluator(problem, split)  # type: ignore[arg-type]
        kept = random_circuit(problem, 0.4, 1)
        assert sum(map(len, evaluator.batches)) == len(problem.task.split(split))  # type: ignore[arg-type]
        assert size is None or max(map(len, evaluator.batches)) <= size
        found.append(
            (
                len(problem.space),
                evaluator.measure(kept).result().logit_diff,
                evaluator.measure_removed(kept).result().kl,
            )
        )
    for count, logit_diff, kl in found[1:]:
        assert count == found[0][0]
        torch.testing.assert_close(logit_diff, found[0][1], rtol=0, atol=1e-5)
        torch.testing.assert_close(kl, found[0][2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["end", "shared"])
def test_a_test_prompt_longer_than_any_train_prompt(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS["longer"], kind, "mean", "mean", 2)
    naive = open_naive(tiny_model("gpt2"), problem)
    kept = random_circuit(problem, 0.5, 2)
    measured = Evaluator(problem, "test").measure(kept).result()
    for prompt in range(len(problem.task.split("test"))):
        expected = naive.measure("test", prompt, naive.kept("test", prompt, names_of_nodes(problem, kept)))
        assert float(measured.logit_diff[prompt]) == pytest.approx(expected[0], abs=1e-4)
        assert float(measured.kl[prompt]) == pytest.approx(expected[1], abs=1e-4)


@pytest.mark.parametrize(("kind", "task"), [("each", "roles"), ("end", "mixed"), ("shared", "mixed")])
def test_resampling_draws_one_prompt_and_keeps_its_positions(
    tiny_model: Callable[[str], TinyModel], kind: PositionsKind, task: str
) -> None:
    problem = open_problem(tiny_model("gpt2"), TASKS[task], kind, "resample")
    source, width = (
        problem.alignment.mean_groups["train", "corrupt"],
        problem.prompt_sets["train"].corrupt.tokens.shape[1],
    )
    donors = set()
    for split in ("train", "test"):
        rows, cells = problem.splits[split].reference_rows, problem.alignment.mean_groups[split, "clean"]
        assert torch.equal(rows >= 0, cells >= 0)
        for row, own in zip(rows, cells, strict=True):
            drawn = row[row >= 0]
            assert len({int(each) // width for each in drawn}) == 1
            assert torch.equal(source.reshape(-1)[drawn], own[own >= 0])
            assert len(set(drawn.tolist())) == len(drawn)
            donors.add(int(drawn[0]) // width)
    assert len(donors) > 2
    again = open_problem(tiny_model("gpt2"), TASKS[task], kind, "resample").splits["test"].reference_rows
    assert torch.equal(again, problem.splits["test"].reference_rows)
    other = [
        open_problem(tiny_model("gpt2"), TASKS[task], kind, "resample", seed=seed).splits["test"].reference_rows
        for seed in (1, 2)
    ]
    assert not all(torch.equal(rows, again) for rows in other)


def test_resampling_needs_a_prompt_of_the_same_positions(tiny_model: Callable[[str], TinyModel]) -> None:
    with pytest.raises(UserError, match=r"--ablation resample: task tiny: .* the 8 positions of the clean prompt"):
        open_problem(tiny_model("gpt2"), TASKS["longer"], "shared", "resample")


def test_metrics_are_ratios_of_means(roles: Problem) -> None:
    evaluator = Evaluator(roles, "test")
    kept = random_circuit(roles, 0.5, 4)
    mean = {
        name: float(measured.logit_diff.double().mean())
        for name, measured in {
            "circuit": evaluator.measure(kept).result(),
            "cut": evaluator.measure_removed(kept).result(),
            "plain": evaluator.baselines.plain,
            "spliced": evaluator.baselines.spliced,
            "empty": evaluator.baselines.empty,
        }.items()
    }
    gap, gap_spliced = mean["plain"] - mean["empty"], mean["spliced"] - mean["empty"]
    metrics = evaluator.evaluate(kept).result()
    assert metrics.faithfulness == pytest.approx((mean["circuit"] - mean["empty"]) / gap)
    assert metrics.faithfulness_spliced == pytest.approx((mean["circuit"] - mean["empty"]) / gap_spliced)
    assert metrics.completeness == pytest.approx((mean["cut"] - mean["empty"]) / gap)
    assert evaluator.faithfulness(kept).result() == metrics.faithfulness
    assert metrics.accuracy == float((evaluator.measure(kept).result().logit_diff > 0).double().mean())
    error = (evaluator.measure(kept).result().logit_diff - evaluator.baselines.plain.logit_diff).sort().values
    # Of four errors the quartiles lie three quarters of the way between two of them.
    low, high = (float((near + 3 * far) / 4) for near, far in ((error[0], error[1]), (error[3], error[2])))
    assert metrics.per_prompt_iqr == pytest.approx((low, high))
    plain = evaluator.baselines.summarise(evaluator.baselines.plain)
    assert (plain.faithfulness, plain.kl) == (pytest.approx(1.0), 0.0)
    assert plain.completeness is None
