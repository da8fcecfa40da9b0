"""The report of a search: charts while it runs, then its result."""

from __future__ import annotations

from textual.strip import Strip

from circuit_tui.core.views import Metrics, SearchProgress, SearchResult, SiteInfo
from circuit_tui.tui.drawing.chart import Axis, Curve, axis_around, bar, chart
from circuit_tui.tui.drawing.line import StyledLine, side_by_side, widest, wrap
from circuit_tui.tui.drawing.number_text import count, fixed, percent, signed
from circuit_tui.tui.engine.state import SearchState
from circuit_tui.tui.widgets.lines_view import ScrollingLines

WIDE = 100
NUMBERS = (
    ("faithfulness", "faithfulness", 3),
    ("vs M_s", "faithfulness_spliced", 3),
    ("logit difference", "logit_diff", 2),
    ("KL nats", "kl", 3),
    ("cross-entropy nats", "cross_entropy", 3),
)


class SearchReport(ScrollingLines):
    """Shows the charts while the search runs and its result afterwards; the key v switches between them."""

    def __init__(self) -> None:
        super().__init__(id="search-report")
        self._search = SearchState()
        self._sites: tuple[SiteInfo, ...] = ()
        self._charts = True

    def show(self, search: SearchState, sites: tuple[SiteInfo, ...]) -> None:
        """Show `search`."""
        if search is self._search and sites is self._sites:
            return
        if search.phase != self._search.phase:
            self._charts = search.phase != "done"
            self.scroll_to(y=0, animate=False)
        self._search, self._sites = search, sites
        self.rebuild()

    def flip(self) -> None:
        """Switch between the charts and the result, if there is one."""
        if self._search.result is not None:
            self._charts = not self._charts
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        search = self._search
        if search.progress is None and search.result is None:
            return self._invitation(width)
        if search.result is not None and not self._charts:
            return self._result(search.result, width)
        return self._all_charts(search, width)

    def _invitation(self, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        text = (
            "A search looks for the smallest set of latents that keeps the behaviour: with everything else ablated, as "
            "much of the model's logit difference as the target says."
        )
        if self._search.phase == "failed":
            text = "The search failed; see the message. You can start another one."
        key = (
            StyledLine()
            .add(" s", pane_styles.key)
            .add("  starts it with the form on the left", pane_styles.muted)
            .strip()
        )
        return [
            Strip.blank(1),
            *(StyledLine().add(" " + line, pane_styles.muted).strip() for line in wrap(text, width - 2)),
            Strip.blank(1),
            key,
        ]

    # Charts

    def _all_charts(self, search: SearchState, width: int) -> list[Strip]:
        height = self.scrollable_content_region.height
        trace = search.trace
        bars = self._bars(search.progress, width)
        target = search.spec.target if search.spec else None
        if width >= WIDE:
            room = max(4, height - len(bars) - 1)
            third = (width - 4) // 3
            blocks = [(self._faithfulness(trace, target, third, room - 1), third)]
            blocks += [(self._loss(trace, third, room - 1), third), (self._sizes(trace, third, room - 1), third)]
            return [*side_by_side(blocks, 2), Strip.blank(1), *bars]
        room = max(9, height - len(bars))
        below = max(4, room * 2 // 5)
        half = (width - 2) // 2
        top = self._faithfulness(trace, target, width, room - below - 1)
        low = side_by_side([(self._loss(trace, half, below - 1), half), (self._sizes(trace, half, below - 1), half)], 2)
        return [*top, *low, *bars]

    def _faithfulness(
        self, trace: tuple[SearchProgress, ...], target: float | None, width: int, height: int
    ) -> list[Strip]:
        pane_styles = self.pane_styles
        soft = [(float(p.step), p.soft) for p in trace if p.soft is not None]
        hard = [(float(p.step), p.hard) for p in trace if p.hard is not None]
        title = StyledLine().add(" faithfulness", pane_styles.title)
        for name, points, style in (("soft", soft, pane_styles.curves[0]), ("hard", hard, pane_styles.curves[1])):
            if points:
                # A search goes on below its target, for the frontier; once it ends, the found circuit's value counts.
                found = self._search.result if name == "hard" else None
                title.add(f"  ━ {name} {fixed(found.train.faithfulness if found else points[-1][1])}", style)
        curves = [Curve(soft, pane_styles.curves[0]), Curve(hard, pane_styles.curves[1])]
        lowest = min((y for curve in curves for _, y in curve.points), default=0.0)
        axis = Axis(min(0.0, max(-1.0, lowest)), 1.05, "{:.1f}", target)
        return [title.strip(), *chart(curves, axis, width, height, pane_styles, _span(trace))]

    def _loss(self, trace: tuple[SearchProgress, ...], width: int, height: int) -> list[Strip]:
        points = [(float(p.step), p.loss) for p in trace if p.loss is not None]
        title = StyledLine().add(" loss", self.pane_styles.title)
        if points:
            title.add(f"  {points[-1][1]:.4g}", self.pane_styles.strong)
        curve = Curve(points, self.pane_styles.curves[2])
        return [
            title.strip(),
            *chart([curve], axis_around([curve], "{:.2g}"), width, height, self.pane_styles, _span(trace)),
        ]

    def _sizes(self, trace: tuple[SearchProgress, ...], width: int, height: int) -> list[Strip]:
        points = [(float(p.step), float(p.size)) for p in trace]
        title = StyledLine().add(" size", self.pane_styles.title)
        if points:
            title.add(f"  {count(trace[-1].size)} nodes", self.pane_styles.strong)
        curve = Curve(points, self.pane_styles.curves[0])
        return [
            title.strip(),
            *chart([curve], axis_around([curve], "{:.0f}", 0.0), width, height, self.pane_styles, _span(trace)),
        ]

    def _bars(self, progress: SearchProgress | None, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        if progress is None or not progress.size_by_site:
            return []
        top, sites = max(*progress.size_by_site, 1), widest((site.short for site in self._sites), 6)
        lines = []
        for site, size in zip(self._sites, progress.size_by_site, strict=False):
            line = (
                StyledLine()
                .add(" ")
                .left(site.short, sites, pane_styles.title)
                .right(count(size), 7, pane_styles.strong)
                .add(" ")
            )
            lines.append(line.add(bar(size / top, max(4, width - line.width - 1)), pane_styles.curves[0]).strip())
        return lines

    # Result

    def _result(self, result: SearchResult, width: int) -> list[Strip]:
        pane_styles = self.pane_styles
        lines: list[Strip] = []
        for warning in result.warnings:
            first, *rest = wrap(warning, width - 4) or [""]
            lines.append(StyledLine().add(" ! ", pane_styles.warn).add(first, pane_styles.warn).strip())
            lines += [StyledLine().add("   ").add(text, pane_styles.warn).strip() for text in rest]
        numbers = self._splits(result)
        frontier = StyledLine().add(" 5", pane_styles.key).add("  draws the frontier: ", pane_styles.muted)
        frontier.add(f"circuits of {count(len(result.frontier))} sizes", pane_styles.muted)
        return [*numbers, *([Strip.blank(1), frontier.strip()] if result.frontier else []), Strip.blank(1), *lines]

    def _splits(self, result: SearchResult) -> list[Strip]:
        pane_styles = self.pane_styles
        head = (
            StyledLine()
            .left("", 21)
            .right("train", 8, pane_styles.muted)
            .right("test", 8, pane_styles.muted)
            .right("gap", 8, pane_styles.muted)
        )
        lines = [head.strip()]
        for name, field, decimals in NUMBERS:
            train, test = _metric(result.train, field), _metric(result.test, field)
            line = (
                StyledLine()
                .left(f" {name}", 21)
                .right(fixed(train, decimals), 8)
                .right(fixed(test, decimals), 8, pane_styles.strong)
            )
            lines.append(line.right(signed(_gap(train, test), decimals), 8, pane_styles.muted).strip())
        line = StyledLine().left(" accuracy", 21).right(percent(result.train.accuracy), 8)
        lines.append(line.right(percent(result.test.accuracy), 8, pane_styles.strong).strip())
        return lines + self._held(result)

    def _held(self, result: SearchResult) -> list[Strip]:
        """Everything that was held, one condition in a row: 1 is the model, 0 the empty circuit."""
        pane_styles = self.pane_styles
        lines = [Strip.blank(1)] if result.held else []
        for value in result.held:
            reached = "" if value.reached else f"  below {value.target:.2f}"
            line = StyledLine().left(f" {value.kind} {value.ablation}", 21).right(fixed(value.train), 8)
            line.right("" if value.test is None else fixed(value.test), 8, pane_styles.strong)
            lines.append(line.add(f"  {value.template}", pane_styles.muted).add(reached, pane_styles.warn).strip())
        return lines


def _metric(metrics: Metrics, field: str) -> float:
    value: float = getattr(metrics, field)
    return value


def _gap(train: float, test: float) -> float:
    return test - train


def _span(trace: tuple[SearchProgress, ...]) -> tuple[float, float] | None:
    """The range of steps so far. All charts have this range of x, so that they can be read together."""
    return (float(trace[0].step), float(trace[-1].step)) if trace else None
