"""Records made up by hand, without a search."""

from __future__ import annotations

from typing import Any

from circuit_tui.core.circuits.schema import AblationPart, MetricsPart, Versions
from circuit_tui.core.opening.identity import Identity, IdentitySite
from circuit_tui.core.runs.record import RunMachine, RunPoint, RunRecord
from circuit_tui.core.search.spec import SearchSpec

METRICS = MetricsPart(
    faithfulness=0.9, faithfulness_spliced=0.9, completeness=0.1, kl=0.1, accuracy=1.0, logit_diff=2.0,
    cross_entropy=0.5, per_prompt_iqr=(-0.1, 0.1),
)  # fmt: skip


def subject(task: str = "able", candidates: int = 100) -> Identity:
    return Identity(
        model="tiny",
        model_sha256="",
        dtype="float32",
        task=task,
        prompts_sha256="a" * 64,
        positions_kind="shared",
        positions=("all",),
        sites=(IdentitySite(hook="blocks.0.hook_resid_post", sae="sae", weights_sha256=""),),
        ablation=AblationPart(kind="mean", errors="drop", source="corrupt train prompts"),
        candidates=candidates,
        n_train=12,
        n_test=7,
    )


def points(*rows: tuple[int, float, float]) -> tuple[RunPoint, ...]:
    """Frontier points from (size, train, test)."""
    return tuple(RunPoint(size=size, train=train, test=test) for size, train, test in rows)


def record(
    method: str = "published",
    seed: int = 0,
    rows: tuple[tuple[int, float, float], ...] = (),
    *,
    about: Identity | None = None,
    seconds: float = 1.0,
    stopped: bool = False,
    target: float = 0.99,
    **settings: Any,
) -> RunRecord:
    return RunRecord(
        subject=about or subject(),
        spec=SearchSpec(method, target, seed, settings).complete(),
        reached=True,
        stopped=stopped,
        nodes=((0, 0, 3),),
        train=METRICS,
        test=METRICS,
        points=points(*rows),
        steps=10,
        seconds=seconds,
        warnings=(),
        machine=RunMachine(system="any", device="cpu", threads=1),
        versions=Versions(circuit_tui="0", torch="0", transformer_lens="0", sae_lens="0"),
        created="2026-01-01T00:00:00Z",
    )
