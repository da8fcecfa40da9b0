"""A session without a model: deterministic, plain Python, fast. Numbers follow simple rules that tests can predict.

Faithfulness is the weight of the kept nodes over all weight, so that switching a node moves it by a known amount.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from fake_latents import FakeLatents
from fake_trial import FakeTrial
from pydantic import Field

from circuit_tui.core.attribution.score_parts import EdgeScore, HeadScore, ScorePart, ScoreSide
from circuit_tui.core.audit.finding import TITLES, AuditProgress, Finding, Verdict, outcome
from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.edges.view import EdgesView, EdgeView, EndView, HeadShare, MeanSpread
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.views import LatentColumns
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.outputs.output_file import check_output
from circuit_tui.core.search.method_settings import MethodSettings
from circuit_tui.core.search.registry import MethodInfo
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import (
    ActivationBand,
    CircuitView,
    FrontierPoint,
    LatentView,
    LoadProgress,
    MemoryUse,
    Metrics,
    NodeTable,
    PromptRow,
    PromptsView,
    PromptView,
    Reference,
    SearchProgress,
    SearchResult,
    SessionInfo,
    SiteInfo,
    SnapshotComparison,
    StandardErrors,
    TextExamples,
    TokenActivation,
)

AUDIT_KEYS = [key for key in TITLES if not key.startswith("edge-")]  # of a circuit without edges in its file
AUDIT_SLICES = 2 * len(AUDIT_KEYS)
ESTIMATE_OFF = 0.25
ESTIMATE_ERRORS = StandardErrors(faithfulness=0.0123, faithfulness_spliced=0.0124, kl=0.02)
POSITIONS = ("subject", "that", "distractor", "verb")
LABELS = (
    "plural noun",
    "singular noun",
    "past the relative clause",
    "",
    "subject of the clause",
    "animals",
    "verb next",
)
TOKENS = ("<s>", " the", " farmers", " that", " the", " boy", " sees")


class MaskSettings(MethodSettings):
    steps: int = Field(300, ge=0, description="at most")
    rate: float = Field(0.05, ge=0, description="of learning")
    eliminate: bool = Field(True, description="at the end")


class PublishedSettings(MethodSettings):
    penalty: float = Field(0.01, alias="lambda", ge=0, description="weight of sparsity")
    steps: int = Field(500, ge=0)


class RandomSettings(MethodSettings):
    pass


METHODS = (
    MethodInfo("mask", "learned masks, annealed to hard ones", "", "fake_session:MaskSettings"),
    MethodInfo("published", "the published recipe", "", "fake_session:PublishedSettings"),
    MethodInfo("random", "a baseline", "", "fake_session:RandomSettings"),
)


def wave(i: int) -> float:
    """A number in [0, 1) that looks irregular and is always the same."""
    return (i * 0.6180339887 + (i * i % 97) * 0.013) % 1.0


def make_table(latents: int = 24, sites: int = 3) -> NodeTable:
    """`latents` per site, each at two to four positions."""
    rows = []
    for site in range(sites):
        for k in range(latents):
            for position in range(len(POSITIONS)):
                if (k + position + site) % 3:
                    rows.append((site, 7 + 13 * k, position, LABELS[(k + site) % len(LABELS)]))
    columns = list(zip(*rows, strict=True))
    n = len(rows)
    counts = [sum(1 for row in rows if row[0] == site) for site in range(sites)]
    infos = tuple(
        SiteInfo(f"blocks.{s}.hook_resid_post", f"L{s}", f"demo-sae-{s}", "jumprelu", 512, counts[s])
        for s in range(sites)
    )
    return NodeTable(
        infos,
        POSITIONS,
        columns[0],
        columns[2],
        columns[1],
        columns[3],
        tuple(round(4 * wave(i), 3) for i in range(n)),
        tuple(round(4 * wave(i + 7), 3) for i in range(n)),
        tuple(round(4 * wave(i) + 2, 3) for i in range(n)),
        tuple(round(wave(i + 3), 3) for i in range(n)),
        tuple(round(2 * wave(i + 5), 3) for i in range(n)),
    )


def metrics(faithfulness: float, completeness: float | None = None) -> Metrics:
    return Metrics(
        faithfulness=faithfulness,
        faithfulness_spliced=faithfulness / 0.985,
        logit_diff=4.2 * faithfulness,
        kl=0.9 * (1 - faithfulness) ** 2,
        accuracy=max(0.0, min(1.0, 0.5 + faithfulness / 2)),
        cross_entropy=0.3 + (1 - faithfulness),
        per_prompt_iqr=(-0.2, 0.1),
        completeness=completeness,
        faithfulness_interval=(faithfulness - 0.031, faithfulness + 0.024),
    )


def fake_bands(shades: Any, sinks: tuple[int, ...]) -> tuple[ActivationBand, ...]:
    """The most active prompts, one of them answered wrong, and a band with a corrupt one."""
    top = tuple(
        TokenActivation(TOKENS, shade, max(shade), sinks, "clean", number != 1) for number, shade in enumerate(shades)
    )
    weak = TokenActivation(TOKENS, tuple(value / 4 for value in shades[0]), max(shades[0]) / 4, side="corrupt")
    peak = max(text.peak for text in top)
    return ActivationBand(top[-1].peak, peak, len(top), top), ActivationBand(0.0, peak / 4, 3, (weak,))


class FakeSearch:
    """Shrinks from all nodes to the heaviest ones that hold the target."""

    def __init__(self, session: FakeSession, method: str, target: float, seed: int, steps: int) -> None:
        self.session, self.method, self.target, self.seed, self.steps = session, method, target, seed, steps
        self.step = 0
        self.stopped = False
        self.result: SearchResult | None = None

    def __iter__(self) -> Iterator[SearchProgress]:
        return self

    def stop(self) -> None:
        self.stopped = True

    def keep(self, folder: Path) -> None:
        self.file = folder / "step"
        if self.file.exists():
            self.step = int(self.file.read_text())

    def save(self) -> None:
        self.session._note("save")
        # Written in one go, for tests that kill the process.
        self.file.with_suffix(".new").write_text(str(self.step))
        self.file.with_suffix(".new").replace(self.file)

    def nodes(self) -> frozenset[int]:
        order = sorted(range(len(self.session.table)), key=lambda i: -self.session.weight[i])
        kept: set[int] = set()
        total = 0.0
        for node in order:
            if total >= self.target:
                break
            kept.add(node)
            total += self.session.weight[node]
        return frozenset(kept)

    def __next__(self) -> SearchProgress:
        session = self.session
        session.calls.append("step")
        if session.step_seconds:
            time.sleep(session.step_seconds)
        if session.search_error and self.step == 3:
            raise session.search_error
        if self.stopped or self.step >= self.steps:
            self._finish()
            raise StopIteration
        if self.step != session.hold_at:
            self.step += 1
        share = self.step / self.steps
        n = len(session.table)
        size = round(n * math.exp(-2.5 * share))
        kept = sum(wave(i) > share for i in range(n))
        return SearchProgress(
            method=self.method,
            stage="optimise" if share < 0.8 else "eliminate",
            step=self.step,
            steps=self.steps,
            loss=0.05 + 2 * math.exp(-4 * share) + 0.05 * wave(self.step),
            soft=1 - 0.06 * share - 0.2 * math.exp(-9 * share),
            hard=None if self.step % 5 else 1 - 0.05 * share - 0.5 * math.exp(-6 * share),
            size=size,
            size_by_site=tuple(round(size * part) for part in (0.2, 0.5, 0.3)[: len(session.table.sites)]),
            seconds=self.step * 0.05 + 0 * kept,
            seconds_left=(self.steps - self.step) * 0.05,
        )

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """It grows from the right: after the mask, each step finds a smaller circuit. Held-out numbers come last."""
        done = self.result is not None
        last = len(self.session.table) // 3
        first = 1 if done else max(1, round(last * (1 - self.step / self.steps) / 0.2))
        return tuple(
            FrontierPoint(size, 1 - math.exp(-size / 12), 0.98 - math.exp(-size / 14) if done else None)
            for size in range(first, last + 1)
        )

    def _finish(self) -> None:
        nodes = self.nodes()
        test = metrics(self.session.faithfulness(nodes), 0.03)
        frontier = tuple(
            FrontierPoint(size, 1 - math.exp(-size / 12), 0.98 - math.exp(-size / 14))
            for size in range(1, len(nodes) + 1, 2)
        )
        warning = "Train and test part by 0.031: on prompts that the search did not see the circuit keeps less."
        self.result = SearchResult(
            method=self.method,
            settings={"steps": self.steps},
            seed=self.seed,
            target=self.target,
            nodes=nodes,
            train=metrics(self.session.faithfulness(nodes) + 0.031),
            test=test,
            frontier=frontier,
            reached=not self.stopped,
            stopped=self.stopped,
            steps=self.step,
            seconds=self.step * 0.05,
            warnings=(warning,),
        )


class FakeSearches:
    """What the searches of a `FakeSession` found; intervals come one at a time, as `work` computes them."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.past: tuple[SearchResult, ...] = ()
        self.wanted: list[FrontierPoint] = []
        self.known: dict[int, tuple[float, float] | None] = {}

    def frontier(self) -> tuple[FrontierPoint, ...]:
        return self.session.running.frontier() if self.session.running else ()

    def ask_intervals(self) -> None:
        self.session.calls.append("intervals")
        if self.session.running is None or self.session.running.result is None:
            raise UserError("frontier: its intervals are computed when the search has ended")
        self.wanted = [point for point in self.frontier() if point.size not in self.known]

    def intervals(self) -> dict[int, tuple[float, float] | None]:
        return dict(self.known)

    def advance(self) -> None:
        point = self.wanted.pop(0)
        self.known[point.size] = ((point.test or 0.0) - 0.04, (point.test or 0.0) + 0.03)


class FakeEdges:
    """Edges of a `FakeSession`: each node feeds those of the next site; switching one off costs its metric."""

    def __init__(self, session: FakeSession) -> None:
        self.session = session
        self.shown: EdgesView | None = None
        self.kept: frozenset[int] | None = None
        self.off: set[tuple[int, int]] = set()

    def begin(self, end: int | None = None) -> EdgesView:
        self.session.calls.append(f"edges {end}")
        if not self.session.kept:
            raise UserError("the circuit is empty, so it has no edges")
        if self.kept != self.session.kept:
            self.kept, self.off = self.session.kept, set()
        self.shown = self._made()
        return self.shown

    def switch(self, source: int, target: int) -> EdgesView:
        self.session.calls.append(f"switch edge {source} {target}")
        self.off ^= {(source, target)}
        self.shown = self._made()
        return self.shown

    def why(self, source: int, target: int, head: tuple[int, int] | None) -> EdgeScore:
        self.session.calls.append(f"why {source} {target} {head}")
        block, number = head or (1, 3)
        pair = ScorePart(ScoreSide("latent", 0, 7), ScoreSide("latent", 0, 9), 1.5)
        parts = (pair, ScorePart(ScoreSide("SAE bias"), ScoreSide("bias"), -0.5), ScorePart(None, None, 1.0, 40))
        score = HeadScore(block, number, 3, 1, 2.0, 1.9, 0.75, parts)
        return EdgeScore(source, target, ((1, 3), (1, 0)), 5, ("<bos>", "The", "cat", "runs"), score)

    def view(self) -> EdgesView | None:
        return self.shown if self.kept == self.session.kept else None

    def _made(self) -> EdgesView:
        table, nodes = self.session.table, sorted(self.session.kept)
        ends = [EndView("token", "token@subject", -1, "subject", None, None)]
        for node in nodes:
            site, position = table.site[node], table.positions[table.position[node]]
            name = f"{table.sites[site].short} {table.latent[node]}@{position}"
            ends.append(EndView("latent", name, site, position, table.latent[node], node, table.label[node], 0.1))
        ends.append(EndView("logits", "logit difference", len(table.sites), "", None, None))
        edges = [
            self._edge(a, b)
            for a in range(len(ends))
            for b in range(len(ends))
            if ends[a].site + 1 == ends[b].site
        ]  # fmt: skip
        lost = sum(edge.metric.mean for edge in edges if not edge.kept and edge.metric is not None)
        return EdgesView(tuple(ends), tuple(edges), "test", 64, 0.95, 0.95 - lost if self.off else None)

    def _edge(self, source: int, target: int) -> EdgeView:
        size = round(2 * wave(7 * source + target), 3)
        both, metric = MeanSpread(size / 2, size / 3), MeanSpread(round(wave(source + 5 * target) / 10, 3), 0.01)
        heads = (HeadShare(1, 3, size / 4, size / 2), HeadShare(1, 0, 0.0, size / 8))
        kept = (source, target) not in self.off
        return EdgeView(source, target, both, both, both, 0.1, both, 0.0, heads, size, size / 8, 0.01, metric, kept)


class FakeSession(FakeLatents):
    """A `SessionLike`. `calls` records the calls in order, `threads` the threads that made them."""

    def __init__(self, latents: int = 24, *, step_seconds: float = 0.0, search_steps: int = 60) -> None:
        self.table = make_table(latents)
        n = len(self.table)
        raw = [wave(i) ** 6 + 0.001 for i in range(n)]
        self.weight = [r / sum(raw) for r in raw]
        self.info = self._make_info()
        self.kept: frozenset[int] = frozenset()
        self.past: list[tuple[frozenset[int], str]] = []
        self.future: list[tuple[frozenset[int], str]] = []
        self.names: dict[str, frozenset[int]] = {}
        self.version = 0
        self.change = ""
        self.delta: float | None = None
        self.saved: frozenset[int] = frozenset()
        self.saved_names: dict[str, frozenset[int]] = {}
        self.last_of_site: dict[int, frozenset[int]] = {}
        self.effects: dict[int, float] = {}
        self.complete: float | None = None
        self.calls: list[str] = []
        self.threads: set[str] = set()
        self.running: FakeSearch | None = None
        self.step_seconds = step_seconds
        self.search_steps = search_steps
        self.offers: tuple[str, ...] = ()
        self.sinks: dict[int, tuple[str, ...]] = {}
        # If set, a search repeats this step for ever.
        self.hold_at: int | None = None
        self.search_error: BaseException | None = None
        self.latent_error: BaseException | None = None
        # If set, edits are answered by estimates, which are `ESTIMATE_OFF` off, until this event lets `work` continue.
        self.slow: threading.Event | None = None
        self.audited: frozenset[int] | None = None
        self.audit_slices = 0
        self.audit_full = False
        # If set, an audit repeats this slice for ever.
        self.hold_audit_at: int | None = None
        self.auditing = False
        self.estimated = False
        self.errors = ESTIMATE_ERRORS
        self.memory: MemoryUse | None = None
        self._columns: LatentColumns | None = None
        self.explained_version = -1
        self.edges = FakeEdges(self)
        self.searches = FakeSearches(self)
        self.trial = FakeTrial(lambda: self.version, self._note)

    def _make_info(self) -> SessionInfo:
        n = len(self.table)
        reference = Reference(64, metrics(1.0), metrics(0.985), metrics(0.0))
        return SessionInfo(
            model="demo",
            device="cpu",
            dtype="float32",
            task="sva-rc",
            positions_kind="each",
            ablation="mean",
            errors="drop",
            methods=tuple(m.name for m in METHODS),
            train=reference,
            test=reference,
            warnings=() if n else ("no nodes",),
        )

    def _note(self, name: str) -> None:
        self.calls.append(name)
        self.threads.add(threading.current_thread().name)

    def faithfulness(self, nodes: Collection[int]) -> float:
        return sum(self.weight[i] for i in nodes)

    def view(self) -> CircuitView:
        n = len(self.table)
        sizes = [0] * len(self.table.sites)
        for node in self.kept:
            sizes[self.table.site[node]] += 1
        return CircuitView(
            version=self.version,
            kept=bytes(i in self.kept for i in range(n)),
            size=len(self.kept),
            size_by_site=tuple(sizes),
            test=metrics(self.faithfulness(self.kept) + (ESTIMATE_OFF if self.estimated else 0), self.complete),
            train=None,
            effect=tuple(self.effects.get(i) for i in range(n)),
            effects_done=len(self.effects),
            last_change=self.change,
            delta=None if self.estimated and self.errors.faithfulness is None else self.delta,
            can_undo=bool(self.past),
            can_redo=bool(self.future),
            snapshots=tuple(self.names),
            dirty=self.kept != self.saved or self.names != self.saved_names,
            standard_errors=self.errors if self.estimated else None,
        )

    def memory_use(self) -> MemoryUse | None:
        return self.memory

    def _set(self, nodes: Collection[int], change: str) -> None:
        old = self.faithfulness(self.kept)
        self.kept = frozenset(nodes)
        self.version += 1
        self.change, self.delta = change, self.faithfulness(self.kept) - old
        self.effects, self.complete = {}, None
        self.estimated = self.slow is not None

    def _edit(self, nodes: Collection[int], change: str) -> None:
        self.past.append((self.kept, self.change))
        self.future.clear()
        self._set(nodes, change)

    def _name(self, node: int) -> str:
        table = self.table
        return f"{table.sites[table.site[node]].short} {table.latent[node]}@{table.positions[table.position[node]]}"

    def toggle_node(self, node: int) -> None:
        self._note("toggle_node")
        self._edit(self.kept ^ {node}, f"{self._name(node)} {'off' if node in self.kept else 'on'}")

    def toggle_latent(self, site: int, latent: int) -> None:
        self._note("toggle_latent")
        nodes = {i for i in range(len(self.table)) if (self.table.site[i], self.table.latent[i]) == (site, latent)}
        on = not nodes & self.kept
        self._edit(self.kept | nodes if on else self.kept - nodes, f"L{site} {latent} {'on' if on else 'off'}")

    def toggle_site(self, site: int) -> None:
        self._note("toggle_site")
        nodes = {i for i in range(len(self.table)) if self.table.site[i] == site}
        on = not nodes & self.kept
        if not on:
            self.last_of_site[site] = self.kept & nodes
        back = self.last_of_site.pop(site, nodes) if on else nodes
        self._edit(self.kept | back if on else self.kept - nodes, f"site L{site} {'on' if on else 'off'}")

    def invert(self) -> None:
        self._note("invert")
        self._edit(set(range(len(self.table))) - self.kept, "inverted")

    def only(self, nodes: Collection[int]) -> None:
        self._note("only")
        self._edit(nodes, f"only {len(nodes)} nodes")

    def undo(self) -> None:
        self._note("undo")
        if not self.past:
            raise UserError("there is nothing to undo")
        self.future.append((self.kept, self.change))
        nodes, _ = self.past.pop()
        self._set(nodes, "undo")

    def redo(self) -> None:
        self._note("redo")
        if not self.future:
            raise UserError("there is nothing to redo")
        self.past.append((self.kept, self.change))
        nodes, _ = self.future.pop()
        self._set(nodes, "redo")

    def save_snapshot(self, name: str) -> None:
        self._note("save_snapshot")
        self.names[name] = self.kept

    def restore_snapshot(self, name: str) -> None:
        self._note("restore_snapshot")
        self._edit(self.names[name], f"back to {name}")

    def compare(self, name: str) -> SnapshotComparison:
        self._note("compare")
        other = self.names[name]
        ours, theirs = tuple(sorted(self.kept - other)), tuple(sorted(other - self.kept))
        now, then = metrics(self.faithfulness(self.kept)), metrics(self.faithfulness(other))
        return SnapshotComparison(name, ours, theirs, len(self.kept & other), now, then)

    def work(self) -> bool:
        self._note("work")
        if self.estimated:
            assert self.slow is not None
            assert self.slow.wait(60)
            self.estimated = False
            return True
        if self.explain_work():
            return True
        if self.searches.wanted:
            self.searches.advance()
            return True
        todo = [i for i in sorted(self.kept) if i not in self.effects][:5]
        for node in todo:
            self.effects[node] = self.weight[node] * (-0.2 if wave(node) < 0.1 else 1.0)
        if todo:
            return True
        self.complete = 0.04
        if self.auditing and self.kept == self.audited:
            if self.audit_slices == self.hold_audit_at:
                time.sleep(0.005)
                return True
            self.audit_slices += 1
            self.auditing = self.audit_slices < AUDIT_SLICES
            return self.auditing
        return False

    def start_audit(self, text: Path | None = None, *, full: bool = False) -> None:
        self._note(" ".join(["start_audit", *(["full"] if full else []), *([] if text is None else [str(text)])]))
        if not self.kept:
            raise UserError("audit: the circuit is empty; find one first")
        self.audited, self.audit_slices, self.auditing, self.audit_full = self.kept, 0, True, full

    def stop_audit(self) -> None:
        self._note("stop_audit")
        self.auditing = False

    def audit_view(self) -> AuditView | None:
        """Two slices for each line; the shares are known with the last."""
        if self.audited is None or self.audited != self.kept:
            return None
        done = self.audit_slices // 2
        verdicts: tuple[Verdict, ...] = ("good", "good", "doubtful", "bad", "good", "not measured")
        findings = tuple(
            Finding(
                key,
                verdicts[index % 6],
                f"Sentence {index} says what was found, and at some length what it means.",
                {"accuracy": 0.98, "faithfulness": 0.951, "lost": -0.0001, "disagree": 0.031, "left": 0.2, "kl": 0.012},
            )
            for index, key in enumerate(AUDIT_KEYS)
        )[:done]
        finished = done == len(AUDIT_KEYS)
        progress = None
        if self.auditing:
            title = TITLES[AUDIT_KEYS[min(done, len(AUDIT_KEYS) - 1)]]
            progress = AuditProgress(title, done, len(AUDIT_KEYS), self.audit_slices / AUDIT_SLICES, 10.0, 90.0)
        shares = {node: round(0.5 + 0.5 * wave(node), 1) for node in self.kept} if finished else {}
        return AuditView(findings, outcome(findings, finished=finished), progress, shares, not self.audit_full)

    def latent_view(self, site: int, latent: int) -> LatentView:
        self._note(f"latent {site} {latent}")
        if self.latent_error:
            raise self.latent_error
        shades = [tuple(round(3 * wave(i * latent + j) ** 3, 2) for j in range(len(TOKENS))) for i in range(5)]
        nodes = [i for i in range(len(self.table)) if (self.table.site[i], self.table.latent[i]) == (site, latent)]
        steps = tuple(range(0, 60, 5))
        return LatentView(
            site=site,
            latent=latent,
            label=self.table.label[nodes[0]],
            histogram=tuple(round(40 * math.exp(-((b - 6) ** 2) / 14)) for b in range(16)),
            histogram_max=5.2,
            bands=fake_bands(shades, tuple(self.sinks)),
            profile=tuple((name, 3 * wave(p + latent), 2 * wave(p + latent + 5)) for p, name in enumerate(POSITIONS)),
            promotes=((" are", 1.31), (" were", 1.12), (" have", 0.84), (" run", 0.4), (" see", 0.33)),
            suppresses=((" is", -1.4), (" was", -1.1), (" has", -0.7), (" runs", -0.5), (" sees", -0.41)),
            neighbours=((latent + 13, 0.83), (latent + 26, 0.51), (latent + 39, 0.44), (91, 0.4), (310, 0.31)),
            mask_steps=steps,
            mask_path={
                "subject": tuple(1 - 0.3 * math.exp(-s / 9) for s in steps),
                "verb": tuple(math.exp(-s / 15) for s in steps),
            },
        )

    def text_examples(self, site: int, latent: int, path: Path) -> TextExamples:
        self._note(f"text_examples {site} {latent} {path.name}")
        if not path.is_file():
            raise UserError(f"--text {path}: no such file")
        text = TokenActivation((" birds", " fly"), (1.5, 0.0), 1.5, side="text")
        return TextExamples(site, latent, str(path), 90, 1, (ActivationBand(1.5, 1.5, 1, (text,)),))

    def _row(self, index: int) -> PromptRow:
        plain = 3.5 + 2 * wave(index)
        kept = self.faithfulness(self.kept)
        text = f"the {'farmers' if index % 2 else 'teachers'} that the boy {'sees' if index % 3 else 'knows'}"
        circuit = plain * kept - 0.9 * wave(index + 11)
        return PromptRow(
            index, text, " are" if index % 2 else " run", " is" if index % 2 else " runs", plain, plain * 0.985, circuit
        )

    def prompts_view(self) -> PromptsView:
        self._note("prompts")
        rows = sorted(
            (self._row(i) for i in range(64)), key=lambda row: (row.circuit > 0, -abs(row.circuit - row.plain))
        )
        return PromptsView(self.version, tuple(rows))

    def prompt_view(self, index: int) -> PromptView:
        self._note(f"prompt {index}")
        active = tuple(
            (n, TOKENS[(n + index) % 7], 4 * wave(n + index)) for n in sorted(self.kept) if wave(n + index) > 0.3
        )
        return PromptView(self._row(index), TOKENS, tuple(sorted(active, key=lambda item: -item[2])), self.sinks)

    def splice_offers(self, target: float) -> tuple[str, ...]:
        return self.offers

    def search(self, spec: SearchSpec) -> FakeSearch:
        self._note(f"search {spec.method} {spec.target:g} {spec.seed} {dict(spec.settings)}")
        if spec.target > 0.985:
            raise UserError("target 0.99: the spliced model itself reaches only 0.985")
        steps = int(spec.settings.get("steps", self.search_steps))
        self.running = FakeSearch(self, spec.method, spec.target, spec.seed, steps)
        return self.running

    def load_frontier(self, size: int) -> None:
        self._note(f"load_frontier {size}")
        if size not in {point.size for point in self.searches.frontier()}:
            raise UserError(f"frontier: there is no circuit of {size} nodes on it")
        order = sorted(range(len(self.table)), key=lambda i: -self.weight[i])
        self._edit(order[:size], f"frontier: {size} nodes")

    def adopt(self, result: SearchResult) -> None:
        self._note("adopt")
        if result not in self.searches.past:
            self.searches.past = (*self.searches.past, result)
        self._edit(result.nodes, f"found by {result.method}")

    def export(self, path: Path, *, force: bool = False) -> Path:
        self._note("export")
        if not path.absolute().parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}")
        check_output(path, force=force)
        path.write_text("{}")
        self.saved, self.saved_names = self.kept, dict(self.names)
        return path.absolute()

    def open_circuit(self, path: Path) -> None:
        self._note("open_circuit")
        self._edit({0, 1, 2}, f"opened {path.name}")

    def fingerprint(self) -> dict[str, Any]:
        return {"model": "demo", "task": "fake", "latents": len(self.table)}

    def state(self) -> dict[str, Any]:
        past, future = ([[sorted(nodes), text] for nodes, text in edits] for edits in (self.past, self.future))
        names = {name: sorted(nodes) for name, nodes in self.names.items()}
        return {"kept": sorted(self.kept), "past": past, "future": future, "names": names}

    def restore(self, state: dict[str, Any]) -> None:
        self._note("restore")
        self.past, self.future = (
            [(frozenset(nodes), text) for nodes, text in state[name]] for name in ("past", "future")
        )
        self.names = {name: frozenset(nodes) for name, nodes in state["names"].items()}
        self._set(state["kept"], "restored")


def opener(session: FakeSession) -> Callable[[OpenRequest, Callable[[LoadProgress], None]], Any]:
    """The function that the engine calls instead of opening a real session."""

    def open_fake(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> Any:
        for done, text in enumerate(("reading the model", "reading 3 SAEs", "encoding prompts")):
            progress(LoadProgress(text, done, 3))
        return session, METHODS

    return open_fake


def gated_opener(session: FakeSession, gate: threading.Event) -> Callable[[OpenRequest, Any], Any]:
    """An opener that waits for `gate` while it reads 3 SAEs."""

    def open_late(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> Any:
        progress(LoadProgress("reading 3 SAEs", 1, 4))
        gate.wait(60)
        return opener(session)(request, progress)

    return open_late
