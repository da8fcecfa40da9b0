"""A model and its SAEs on a device that is not the CPU: the same numbers, and no operation mixes devices.

Torch counts devices when it first computes a gradient, so `test_device_map.py` runs this file in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from published import Recipe
from sae_lens import SAE
from shapes import SHAPES, random_model, random_problem, random_sites, template_tokens
from speed import edit_runs, step_runs
from tiny.audits import audited_circuit
from tiny.made_up_graphs import MadeUpGraphs
from tiny.models_with_saes import CPU, TinyModel
from tiny.searches import QUICK, SearchableProblem, run_search, with_candidates
from tiny.second_device import SecondDeviceTensor, sizes_copied, waits_for_the_device, with_second_device
from tiny.sessions import assert_toggles_alike, request, write_prompts
from tiny.solvable_task import solvable_task
from transformer_lens.model_bridge import TransformerBridge
from transformers import PreTrainedModel

from circuit_tui.core.audit.run import Audit
from circuit_tui.core.evaluation import many_circuits
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.opening import open_problem as opening
from circuit_tui.core.runtime import device_graphs
from circuit_tui.core.session.session import Session, open_session

FAR = "far:0"
# In two steps of Adam the lowest of a mask's first values would come to lie at the threshold itself.
FEW_STEPS: dict[str, dict[str, Any]] = {method: {"steps": 3} for method in QUICK if "steps" in QUICK[method]}
FEW_STEPS["mask"] |= {"refine": 3}


@pytest.fixture(scope="module", autouse=True)
def elsewhere() -> Iterator[torch.device]:
    """The device that ``--device far:0`` names."""
    boot, load, pick = TransformerBridge.boot_transformers, SAE.load_from_disk, opening.pick_device

    def boot_there(source: str, device: Any = None, **given: Any) -> Any:
        return boot(source, device=CPU, **given).to(device)

    def load_there(path: Any, device: str = "cpu", **given: Any) -> Any:
        return load(path, device="cpu", **given).to(device)

    with with_second_device() as far, pytest.MonkeyPatch.context() as patched:
        patched.setattr(TransformerBridge, "boot_transformers", boot_there)
        patched.setattr(SAE, "load_from_disk", load_there)
        # It makes a tensor from a list inside torch, which cannot make the wrapper of the second device.
        patched.setattr(PreTrainedModel, "warn_if_padding_and_no_attention_mask", lambda *given: None)
        patched.setattr(opening, "pick_device", lambda name: far if name == FAR else pick(name))
        yield far


@pytest.fixture(scope="module")
def both(tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Session]:
    """Sessions of the same on the CPU and on the other device."""
    tiny = tiny_model("llama")
    path = write_prompts(solvable_task(tiny, (6,) * 8, (6,) * 5), tmp_path_factory.mktemp("task") / "able.jsonl")
    near, there = (open_session(request(tiny, path, errors="keep", device=device)) for device in ("cpu", FAR))
    return near, there


@pytest.fixture(scope="module")
def few(both: tuple[Session, Session]) -> tuple[SearchableProblem, SearchableProblem]:
    """A problem with few candidates, on both devices."""
    near, there = (session.problem for session in both)
    some = range(0, len(near.space), len(near.space) // 7)
    return SearchableProblem.of(with_candidates(near, some)), SearchableProblem.of(with_candidates(there, some))


def test_toggles_are_the_same(both: tuple[Session, Session], elsewhere: torch.device) -> None:
    near, there = both
    assert there.problem.model.devices == (elsewhere,)
    assert {site.sae.device for site in there.problem.sites} == {elsewhere}
    assert there.table == near.table
    assert_toggles_alike(near, there)


@pytest.mark.parametrize("method", QUICK)
def test_searches_find_the_same(few: tuple[SearchableProblem, SearchableProblem], method: str) -> None:
    near, there = (run_search(each.search(method, 0.5, **FEW_STEPS.get(method, {})))[0] for each in few)
    assert near.nodes
    assert there.nodes == near.nodes
    assert there.test.faithfulness == pytest.approx(near.test.faithfulness, abs=1e-5)
    assert len(there.frontier) == len(near.frontier)


def test_a_step_sends_the_device_nothing_but_its_prompts(few: tuple[SearchableProblem, SearchableProblem]) -> None:
    """Data of nodes is on the device from the start: a copy waits for everything that the device has still to do."""
    search = few[1].search("mask", 0.5, steps=4, batch=6)
    next(search)
    next(search)  # the first with fewer nodes
    with sizes_copied() as numbers:
        next(search)
    assert numbers == [6]


def test_a_toggle_waits_for_the_device_twice_at_most(both: tuple[Session, Session]) -> None:
    """Once, for the numbers of the new circuit; even where columns run that have not run before."""
    session = both[1]
    nodes = len(session.problem.space)
    for node in (1, nodes // 2, nodes - 2, 1):
        with waits_for_the_device() as waits:
            session.toggle_node(node)
        assert len(waits) == 1, waits


def test_recorded_steps_stay_on_the_device(
    few: tuple[SearchableProblem, SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are those of the CPU, and nobody waits but where numbers are read."""
    made = MadeUpGraphs()
    monkeypatch.setattr(device_graphs, "graphs_on", lambda devices: made)
    near, there = (each.search("mask", 0.5, steps=200, batch=6) for each in few)
    losses = [told.loss for told in islice(near, 4)]
    made.log.clear()
    steps = []
    for number in range(4):
        with waits_for_the_device() as waits:
            steps.append(next(there).loss)
        # The first step's numbers are read, and before the second they are looked at. Of the masks of 200 steps every
        # fourth is recorded.
        assert bool(waits) == (number < 2), (number, waits)
    assert made.log == ["warm up", "record", "replay", "replay", "replay"]
    assert steps == pytest.approx(losses, abs=1e-5)


def test_several_circuits_in_one_pass_have_the_same_numbers(
    few: tuple[SearchableProblem, SearchableProblem], elsewhere: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU; the CPU runs them one after the other."""
    monkeypatch.setitem(many_circuits.WORK_AT_ONCE, elsewhere.type, 1e18)
    near, there = (each.problem for each in few)
    kept, nodes = torch.arange(len(near.space)) % 3 > 0, list(range(len(near.space)))
    alone = [LiveCircuit(few[0].test, kept).evaluate_first_toggled([node]).result()[0] for node in nodes]
    together = LiveCircuit(few[1].test, kept).evaluate_first_toggled(nodes).result()
    assert together == pytest.approx(alone, abs=1e-5)
    circuits = torch.stack([kept, ~kept])
    expected = [few[0].test.faithfulness(each).result() for each in circuits]
    assert few[1].test.faithfulness_of_first(circuits).result() == pytest.approx(expected, abs=1e-5)
    assert len(there.space) == len(nodes)


def test_audits_find_the_same(few: tuple[SearchableProblem, SearchableProblem]) -> None:
    little = {"bootstraps": 20, "subsets": 1, "draws": 1, "random_circuits": 1, "pairs": 1}  # searches are above
    found = []
    for each in few:
        kept = torch.arange(len(each.problem.space)) % 3 > 0
        audit = Audit(audited_circuit(each.problem, kept, "atp", 0.5, **little, seeds=0, resamplings=0, shuffles=0))
        for _ in audit:
            pass
        found.append([(finding.key, finding.verdict) for finding in audit.result.findings])
    near, there = found
    assert there == near


def test_benchmarks_run(elsewhere: torch.device) -> None:
    shape, tokens = SHAPES["gpt2-tiny"], template_tokens(16, 7, 512).to(elsewhere)
    model = random_model(shape, elsewhere, torch.float32)
    problem = random_problem(shape, 4, 7, 4, model, random_sites(model, shape, tokens, 0.8))
    assert isinstance(Recipe(problem).thetas[0].detach(), SecondDeviceTensor)
    for runs in (step_runs(problem), edit_runs(problem, 40, 1)):
        for run in runs.values():
            run()
