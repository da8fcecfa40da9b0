"""A circuit on a prompt that is not of its task, checked against plain hooks on that prompt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_problem, random_circuit
from tiny.tasks import TASKS

from circuit_tui.core.choices import AblationKind, ErrorsKind, PositionsKind
from circuit_tui.core.circuits.schema import TaskSource
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.prompting.prompt_problem import problem_on
from circuit_tui.core.prompting.report import FreePrompt, PromptRun
from circuit_tui.core.prompting.try_prompt import try_prompt
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.tasks.task import Pair, Task

CASES: list[tuple[str, PositionsKind, str, AblationKind, ErrorsKind]] = [
    ("gpt2", "each", "index", "mean", "drop"),
    ("llama", "each", "roles", "resample", "mean"),
    ("gemma2", "end", "mixed", "clean-mean", "keep"),
    ("gpt2", "shared", "longer", "mean", "mean"),
    ("llama", "each", "roles-multi", "zero", "keep"),
]


def _without_one(task: Task) -> tuple[Task, Pair]:
    """`task` without its first test prompt, and that prompt."""
    pair = task.split("test")[0]
    return replace(task, pairs=tuple(each for each in task.pairs if each is not pair)), pair


def _opened(problem: Problem) -> OpenedProblem:
    return OpenedProblem(problem, "tiny", TaskSource(kind="file", path="tiny.jsonl"))


def _oracle(tiny_model: TinyModel, task: Task, pair: Pair, own: Problem) -> Naive:
    """The oracle on the train prompts of `task` and on `pair` alone."""
    width = own.prompt_sets["train"].corrupt.tokens.shape[1]

    def drawn(split: str, prompt: int, answer: int, token: int) -> tuple[int, int]:
        return divmod(int(own.splits["test"].reference_rows[answer, token]), width)

    asked = replace(task, pairs=(*task.split("train"), pair))
    return Naive(
        tiny_model.folder, tiny_model.sae_folders, asked, own.alignment.kind, own.ablation, own.errors, drawn
    )  # fmt: skip


@pytest.mark.parametrize(("shape", "kind", "name", "ablation", "errors"), CASES)
def test_every_run_is_that_of_plain_hooks(
    tiny_model: Callable[[str], TinyModel],
    shape: str,
    kind: PositionsKind,
    name: str,
    ablation: AblationKind,
    errors: ErrorsKind,
) -> None:
    tiny = tiny_model(shape)
    task, pair = _without_one(TASKS[name])
    problem = open_problem(tiny, task, kind, ablation, errors)
    opened, kept = _opened(problem), random_circuit(problem, 0.4, seed=1)
    prompt = FreePrompt(pair.clean, pair.roles, pair.answer, pair.wrong)
    report = try_prompt(opened, kept, prompt)
    oracle = _oracle(tiny, task, pair, problem_on(opened, prompt))
    nodes = names_of_nodes(problem, kept)
    asked = {
        "plain": lambda prefix: oracle.unspliced("test", 0, prefix),
        "spliced": lambda prefix: oracle.spliced("test", 0, prefix),
        "circuit": lambda prefix: oracle.kept("test", 0, nodes, prefix),
        "empty": lambda prefix: oracle.kept("test", 0, set(), prefix),
    }
    plain = oracle.unspliced("test", 0).double().log_softmax(-1)
    for field, ask in asked.items():
        run: PromptRun = getattr(report, field)
        logits = ask((0, 0)).double()
        own = logits.log_softmax(-1)
        assert run.kl == pytest.approx(float((plain.exp() * (plain - own)).sum()), abs=1e-5)
        token = tiny.model.tokenizer.convert_tokens_to_ids(run.likeliest[0].text.strip())
        assert run.likeliest[0].probability == pytest.approx(float(own.exp().max()), abs=1e-5)
        assert float(own[token].exp()) == pytest.approx(run.likeliest[0].probability, abs=1e-5)
        if oracle.several:
            difference = oracle.measure_answers("test", 0, ask)[0]
        else:
            difference = oracle.measure("test", 0, ask((0, 0)))[0]
        assert run.logit_diff == pytest.approx(difference, abs=1e-5 * max(1.0, float(logits.abs().max())))
    _check_active(report.active, oracle, nodes, problem)


def _check_active(active: tuple, oracle: Naive, nodes: set, problem: Problem) -> None:  # type: ignore[type-arg]
    """The nodes that fire are those that fire in the oracle, with the same activations and references."""
    inputs = oracle.sae_inputs("test", 0, nodes)
    pair = oracle.task.split("test")[0]
    names = oracle.names(pair, pair.clean)
    expected = {}
    for site, x in inputs.items():
        acts = oracle.saes[site].encode(x).detach()
        for token, position in enumerate(names):
            for own_site, own_position, latent in nodes:
                if (own_site, own_position) == (site, position) and acts[token, latent] != 0:
                    reference = oracle.reference(site, "test", 0, (0, 0), token)[latent]
                    expected[site, token, latent] = (float(acts[token, latent]), float(reference))
    space = problem.space
    got = {
        (int(space.site[each.node]), each.token, int(space.latent[each.node])): (each.activation, each.reference)
        for each in active
    }
    assert got.keys() == expected.keys()
    for key, values in expected.items():
        assert got[key] == pytest.approx(values, abs=1e-4), key


@pytest.fixture(scope="module")
def roles(tiny_model: Callable[[str], TinyModel]) -> OpenedProblem:
    return _opened(open_problem(tiny_model("gpt2"), TASKS["roles"]))


@pytest.fixture(scope="module")
def index(tiny_model: Callable[[str], TinyModel]) -> OpenedProblem:
    return _opened(open_problem(tiny_model("gpt2"), TASKS["index"]))


def _keep_all(opened: OpenedProblem) -> torch.Tensor:
    return torch.ones(len(opened.problem.space), dtype=torch.bool)


def test_without_answers_there_is_no_faithfulness(roles: OpenedProblem) -> None:
    pair = roles.problem.task.split("test")[0]
    with_answers = try_prompt(roles, _keep_all(roles), FreePrompt(pair.clean, pair.roles, pair.answer, pair.wrong))
    without = try_prompt(roles, _keep_all(roles), FreePrompt(pair.clean, pair.roles))
    assert without.faithfulness is None
    assert without.circuit.logit_diff is None
    assert without.circuit.kl == pytest.approx(with_answers.circuit.kl, abs=1e-6)
    assert without.circuit.likeliest == with_answers.circuit.likeliest
    ours, empty, whole = (getattr(with_answers, run).logit_diff for run in ("circuit", "empty", "spliced"))
    assert with_answers.faithfulness_spliced == pytest.approx((ours - empty) / (whole - empty))


def test_a_prompt_leaves_the_problem_as_it_was(index: OpenedProblem) -> None:
    before = index.problem.splits["test"].prefix.clone()
    own = problem_on(index, FreePrompt(index.problem.task.split("train")[0].clean))
    assert len(own.splits["test"]) == 1
    assert own.space is index.problem.space
    assert index.problem.splits["test"].prefix.equal(before)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        (FreePrompt(" "), "the prompt has no words"),
        (FreePrompt("the cat sleeps", answer=" a"), "--answer and --wrong"),
        (FreePrompt("the cat", roles=("det",)), "--roles: 1 names for the 2 words"),
        (FreePrompt("the cat", roles=("det", "king")), "--roles: the task has no position 'king'"),
        (FreePrompt("the zebra", roles=("det", "subject")), "not in the model's vocabulary: zebra"),
        (FreePrompt("the the the the the the the the the the"), "matches no template"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(roles: OpenedProblem, prompt: FreePrompt, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        try_prompt(roles, _keep_all(roles), prompt)
    assert "\n" not in str(caught.value)


def test_positions_by_index_need_the_length_of_the_task(index: OpenedProblem) -> None:
    with pytest.raises(UserError, match=r"has 4 tokens, and a position is a token's index.*all have 7"):
        try_prompt(index, _keep_all(index), FreePrompt("the cat near"))
    with pytest.raises(UserError, match="have no roles"):
        try_prompt(index, _keep_all(index), FreePrompt("the cat near", roles=("a", "b", "c")))
