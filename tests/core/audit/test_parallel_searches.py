"""An audit's searches in processes of their own: same findings, and each search is made once even if workers die."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fake_searches import FakeSearches, run_of
from misbehaving import begun
from tiny.audits import audited_circuit, with_unseen
from tiny.models_with_saes import TinyModel
from tiny.problems import random_circuit
from tiny.searches import QUICK, with_candidates, with_few_latents
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.audit import search_processes, search_worker
from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import AuditProgress, AuditSearch, Finding
from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.open_audit import ParallelOptions, open_audit
from circuit_tui.core.audit.parallel_searches import ParallelSearches
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.search_processes import default_jobs, threads_per_worker
from circuit_tui.core.audit.search_worker import SearchEnvironment
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session, open_session
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.workers.process_pool import ProcessPool

FEW: dict[str, Any] = {"bootstraps": 50, "subsets": 1, "draws": 1, "random_circuits": 3, "pairs": 2}
SEARCHES = [AuditSearch("shuffled", 0, 1), *(AuditSearch("seeds", seed, seed) for seed in (1, 2, 3))]


@pytest.fixture
def make_searches(tmp_path: Path) -> Iterator[Callable[[], ParallelSearches]]:
    """A function that starts two workers, which do what files in the test's folder say."""
    pools: list[ProcessPool[Any, Any]] = []

    def make() -> ParallelSearches:
        pools.append(ProcessPool(partial(FakeSearches, tmp_path), 1))
        return ParallelSearches(pools[-1], 2)

    yield make
    for pool in pools:
        pool.close()


def _subject(problem: Problem, parallel_searches: ParallelSearches) -> AuditedCircuit:
    audited = audited_circuit(problem, random_circuit(problem, 0.5, 0), "ig", 0.3, seeds=3, resamplings=0, **FEW)
    return replace(audited, parallel_searches=parallel_searches)


def _result(steps: Any) -> Any:
    """Returns the run of a search; checks that its shares lie in 0..1."""
    while True:
        try:
            share = next(steps)
        except StopIteration as end:
            return end.value
        assert share is None or 0 <= share <= 1


def test_a_worker_that_dies_gives_its_search_to_another(
    tmp_path: Path, make_searches: Callable[[], ParallelSearches]
) -> None:
    (tmp_path / SEARCHES[1].id).write_text("wait")
    parallel_searches = make_searches()
    parallel_searches.begin(SEARCHES)
    assert _result(parallel_searches.run(SEARCHES[0])) == run_of(SEARCHES[0])
    while not parallel_searches.share(SEARCHES[1]):
        parallel_searches.poll(0.2)
    victim = dict(begun(tmp_path))[SEARCHES[1].id]
    os.kill(victim, signal.SIGKILL)
    assert parallel_searches.share(SEARCHES[1]) < 1
    (tmp_path / "go").touch()
    assert [_result(parallel_searches.run(search)) for search in SEARCHES] == [run_of(search) for search in SEARCHES]
    assert parallel_searches.counts == (4, 4)
    names = [name for name, _ in begun(tmp_path)]
    assert sorted(names) == sorted([*(search.id for search in SEARCHES), SEARCHES[1].id])
    assert dict(begun(tmp_path))[SEARCHES[1].id] != victim


@pytest.mark.parametrize(
    ("behave", "words"), [("die", "its worker process was killed by SIGKILL, 2 times"), ("fail", "the disk is gone")]
)
def test_what_cannot_be_made_is_one_line_when_all_else_is_over(
    tmp_path: Path, make_searches: Callable[[], ParallelSearches], behave: str, words: str
) -> None:
    (tmp_path / SEARCHES[0].id).write_text(behave)
    parallel_searches = make_searches()
    parallel_searches.begin(SEARCHES)
    with pytest.raises(UserError, match=f"the search shuffled, seed 0, draw 1: {words}.*--jobs 1"):
        _result(parallel_searches.run(SEARCHES[0]))
    assert {name for name, _ in begun(tmp_path)} == {search.id for search in SEARCHES}
    assert [_result(parallel_searches.run(search)) for search in SEARCHES[1:]] == [
        run_of(search) for search in SEARCHES[1:]
    ]


def test_a_mistake_of_the_program_comes_with_its_traceback(
    tmp_path: Path, make_searches: Callable[[], ParallelSearches]
) -> None:
    (tmp_path / SEARCHES[3].id).write_text("crash")
    parallel_searches = make_searches()
    parallel_searches.begin(SEARCHES)
    with pytest.raises(RuntimeError, match="seed 3, draw 3: ZeroDivisionError: boom") as raised:
        _result(parallel_searches.run(SEARCHES[3]))
    assert "in __call__" in raised.value.__notes__[0]


def test_one_share_tells_of_all_and_leaving_ends_all(
    problem: Problem, tmp_path: Path, make_searches: Callable[[], ParallelSearches]
) -> None:
    """Searches go on while other lines are measured; the lines stay in their order."""
    (tmp_path / SEARCHES[2].id).write_text("wait")
    audit, reported = Audit(_subject(problem, make_searches())), list[AuditProgress]()
    for step in audit:
        reported.append(step)
        if step.searches == (3, 4) and step.title == "other seeds":
            break
    waiting = dict(begun(tmp_path))[SEARCHES[2].id]
    audit.leave()
    with pytest.raises(ProcessLookupError):
        os.kill(waiting, 0)
    assert not multiprocessing.active_children()
    assert [finding.key for finding in audit.findings] == [line.key for line in LINES[:16]]
    assert audit.findings[-1].runs == (run_of(SEARCHES[0]),)
    shares = [step.share for step in reported]
    assert shares == sorted(shares)
    assert shares[-1] < 1


def test_a_nonsense_task_starts_no_process(
    problem: Problem, make_searches: Callable[[], ParallelSearches], tmp_path: Path
) -> None:
    splits = {
        name: replace(split, answers=split.answers.swapped(torch.arange(len(split))))
        for name, split in problem.splits.items()
    }
    audit = Audit(_subject(replace(problem, splits=splits), make_searches()))
    assert {step.searches for step in audit} == {None}
    assert not begun(tmp_path)
    assert "There is nothing to search for" in audit.findings[-3].says


@pytest.fixture(scope="module")
def opening_request(tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> OpenRequest:
    """Opens a tiny model with SAEs of few latents, so that searches are short."""
    folder = tmp_path_factory.mktemp("task")
    tiny = with_few_latents(tiny_model("gpt2"), folder, 8)
    prompts = write_prompts(with_unseen(solvable_task(tiny, (6,) * 8, (6,) * 10)), folder / "able.jsonl")
    return request(tiny, prompts, errors="keep")


@pytest.fixture(scope="module")
def session(opening_request: OpenRequest) -> Session:
    """A session whose circuit looks as if a quick search had found it."""
    opened = open_session(opening_request)
    opened.replace(random_circuit(opened.problem, 0.2, 0).nonzero()[:, 0].tolist(), "made")
    opened._provenance = Provenance(
        method="mask", target=0.3, settings={"steps": 10, "batch": 8, "refine": 5}, nodes=opened.kept
    )
    return opened


@pytest.fixture
def parallel(session: Session, opening_request: OpenRequest) -> ParallelOptions:
    return ParallelOptions(opening_request, session.circuit_file(), 2, None)


def assert_close(one: Finding, other: Finding) -> None:
    """Checks equality up to the last digits of numbers: another process may lay out its memory differently."""
    assert (one.key, one.verdict) == (other.key, other.verdict)
    assert one.numbers == pytest.approx(other.numbers, abs=1e-5), one.key
    for run, alone in zip(one.runs, other.runs, strict=True):
        assert replace(run, train=0.0, test=0.0) == replace(alone, train=0.0, test=0.0)
        assert (run.train, run.test) == pytest.approx((alone.train, alone.test), abs=1e-5)


@pytest.mark.slow
def test_the_findings_are_those_of_one_process(
    session: Session, parallel: ParallelOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The findings are equal and in the same order, after a cut in the middle of a search too."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # another number rounds otherwise
    settings = AuditSettings(seeds=2, resamplings=2, **FEW)
    alone = open_audit(session.experiment, session.kept, session.provenance, settings)
    assert alone.audited.parallel_searches is None
    steps = len(list(alone))
    alone.done()

    cut = open_audit(session.experiment, session.kept, session.provenance, settings)
    while len(cut.findings) < 16:  # the search for nonsense is finished
        next(cut)
    for _ in range(steps // 20):
        next(cut)
    cut.leave()
    again = open_audit(session.experiment, session.kept, session.provenance, settings, parallel)
    assert again.n_resumed_lines == 16
    assert again.audited.parallel_searches is not None
    assert again.audited.parallel_searches.jobs == 2
    counts = [step.searches for step in again]
    assert counts[-1] == (4, 4)
    for one, other in zip(again.result.findings, alone.result.findings, strict=True):
        assert_close(one, other)
    assert again.result.finished
    again.leave()
    # A worker keeps what it finishes, before the audit has looked at it.
    kept = open_audit(session.experiment, session.kept, session.provenance, settings)
    assert kept.audited.log is not None
    assert all(kept.audited.log.run(search) for line in LINES for search in line.searches(settings))
    kept.done()
    assert not list((tmp_path / "circuit-tui" / "unfinished").iterdir())


def test_a_worker_that_opens_something_else_refuses(session: Session, parallel: ParallelOptions) -> None:
    environment = SearchEnvironment(
        parallel.request,
        parallel.file,
        {**session.fingerprint(), "n_train": 7},
        SearchSpec("mask", 0.95, 0),
        False,
        None,
    )
    with pytest.raises(UserError, match="have changed since the audit was begun"):
        search_worker.SearchWorker(environment)(SEARCHES[1], lambda step, steps: None)


def test_quick_searches_in_a_worker_see_as_few_prompts(
    session: Session, parallel: ParallelOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from circuit_tui.core.audit import searches

    monkeypatch.setattr(searches, "QUICK_PROMPTS", 5)
    spec, reported = SearchSpec("ig", 0.3, 0, QUICK["ig"]), list[tuple[int, int]]()
    settings = AuditSettings(seeds=2, resamplings=2, quick=True, **FEW)
    search = AuditSearch("resamplings", 0, 2)
    environment = SearchEnvironment(parallel.request, parallel.file, session.fingerprint(), spec, True, None)
    run = search_worker.SearchWorker(environment)(search, lambda step, steps: reported.append((step, steps)))
    small = with_candidates(session.problem, range(len(session.problem.space)))
    audited = replace(audited_circuit(small, session.kept, "ig", 0.3), settings=settings)
    assert _result(searches.run_search(audited, search)) == run
    assert reported == sorted(reported)
    assert reported[-1] == (search_worker.PROGRESS_STEPS, search_worker.PROGRESS_STEPS)


def test_a_single_search_needs_no_process(session: Session, parallel: ParallelOptions) -> None:
    settings = AuditSettings(seeds=0, resamplings=0, shuffles=1, **FEW)
    opened = open_audit(session.experiment, session.kept, session.provenance, settings, parallel)
    assert opened.audited.parallel_searches is None
    opened.leave()


@pytest.mark.parametrize(
    ("devices", "cores", "threads", "free", "jobs"),
    [
        (("cpu",), 16, 1, None, 16),
        (("cpu",), 16, 4, 1 << 60, 4),
        (("cpu",), 3, 1, 1 << 60, 3),
        (("cpu",), 2, 1, 1 << 60, 1),
        (("cpu",), 4, 8, 1 << 60, 1),
        (("cpu",), 64, 1, 1, 1),
        (("cuda:0",), 64, 1, 1 << 60, 1),
        (("cuda:0", "cuda:1"), 64, 1, 1 << 60, 1),
    ],
)
def test_as_many_searches_as_the_machine_allows(
    monkeypatch: pytest.MonkeyPatch, devices: tuple[str, ...], cores: int, threads: int, free: int | None, jobs: int
) -> None:
    monkeypatch.setattr(search_processes, "cores", lambda: cores)
    monkeypatch.setattr(search_processes, "free_memory", lambda device: free)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    places = tuple(map(torch.device, devices))
    model: Any = SimpleNamespace(model=SimpleNamespace(devices=places, device=places[0]))
    assert default_jobs(model) == jobs


@pytest.mark.parametrize(("given", "threads", "jobs", "each"), [("", 1, 1, 1), ("", 1000, 1000, 1), ("3", 1000, 1, 3)])
def test_a_worker_has_no_more_threads_than_a_search_here(
    monkeypatch: pytest.MonkeyPatch, given: str, threads: int, jobs: int, each: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert threads_per_worker(jobs) == each
