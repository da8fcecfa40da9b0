"""Work for the workers of a sweep that takes no time and needs no model: it does what the order's settings say.

Each begin is written to the file ``begun`` of the folder in the settings: what was done how often, and by whom.
"""

from __future__ import annotations

import os
from pathlib import Path

from misbehaving import begun, die_or_wait, note

from circuit_tui.core.circuits.schema import AblationPart, MetricsPart, Versions
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.identity import Identity, IdentitySite
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunMachine, RunPoint, RunRecord
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.workers.pool import ReportSteps


def order(folder: Path, seed: int, behave: str = "plain", task: str = "tiny") -> RunOrder:
    """An order that a worker of this kind understands."""
    spec = SearchSpec("random", 0.9, seed, {"folder": str(folder), "behave": behave})
    return RunOrder(OpenRequest(model="tiny", task=task), spec, task, "0" * 64)


def record_of(order: RunOrder, weights: str = "1" * 64, tokens: str = "3" * 64) -> RunRecord:
    """A record with numbers that follow from the seed."""
    seed = order.spec.seed
    metrics = MetricsPart(
        faithfulness=0.9 + seed / 1000,
        faithfulness_spliced=0.9,
        completeness=0.1,
        kl=0.01,
        accuracy=1.0,
        logit_diff=2.0,
        cross_entropy=0.5,
        per_prompt_iqr=(-0.1, 0.2),
    )
    return RunRecord(
        subject=Identity(
            model="tiny",
            model_sha256=weights,
            dtype="float32",
            task=order.task,
            prompts_sha256=order.prompts_sha256,
            positions_kind="each",
            positions=("first", "last"),
            sites=(IdentitySite(hook="blocks.0.hook_resid_post", sae="tiny", weights_sha256="2" * 64),),
            ablation=AblationPart(kind="mean", errors="drop", source="corrupt train prompts"),
            candidates=100,
            tokens_sha256=tokens,
            n_train=8,
            n_test=4,
        ),
        spec=order.spec,
        reached=True,
        stopped=False,
        nodes=((0, 0, 7), (0, 1, seed)),
        train=metrics,
        test=metrics,
        points=(RunPoint(size=1, train=0.5, test=0.4), RunPoint(size=2, train=0.9, test=0.8)),
        steps=3,
        seconds=0.5,
        warnings=("A warning.",),
        machine=RunMachine(system="none", device="cpu", threads=int(os.environ.get("OMP_NUM_THREADS", "0"))),
        versions=Versions(circuit_tui="0", torch="0", transformer_lens="0", sae_lens="0"),
        created="2000-01-01T00:00:00Z",
    )


class FakeWork:
    """See the module. `behave` is plain, fail, crash, die, or wait: until the file ``go`` is there.

    Orders without such settings are plain, but for the task ``ioi``, which fails.
    """

    def __call__(self, order: RunOrder, report: ReportSteps) -> RunRecord:
        settings = order.spec.settings
        folder, behave = Path(str(settings.get("folder", os.devnull))), settings.get("behave", "plain")
        if folder.is_dir():
            note(folder, order.spec.seed)
        print("chatter of a library")
        report(1, 3)
        if behave == "fail" or order.task == "ioi":
            raise UserError("there is\nnothing to find")
        if behave == "crash":
            raise RuntimeError("boom")
        die_or_wait(behave, folder, report, 3)
        return record_of(order)


def begun_seeds(folder: Path) -> list[tuple[int, int]]:
    """The (seed, process) of every run that was begun."""
    return [(int(seed), process) for seed, process in begun(folder)]
