"""The parts of the latent pane, each a block of lines of a given width."""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from circuit_tui.core.latents.views import LatentPrompts
from circuit_tui.core.views import ActivationBand, LatentView, TextExamples, TokenActivation
from circuit_tui.tui.drawing.chart import Axis, Curve, bar, chart, columns_chart
from circuit_tui.tui.drawing.line import SINK, StyledLine, cut, cut_middle, printable, spaced, token_text
from circuit_tui.tui.drawing.number_text import amount, compact, count, fixed, signed
from circuit_tui.tui.drawing.styles import PaneStyles

HISTOGRAM_HEIGHT = 4
PATH_HEIGHT = 4
FIRST = 5
MATTERS = 8  # prompts on which a latent matters


def section(title: str, note: str, width: int, pane_styles: PaneStyles) -> Strip:
    """The heading of a block: its title, then a note in grey about what is shown."""
    line = StyledLine().add(title, pane_styles.title)
    if note and (" " in note or line.width + 2 + len(note) <= width):  # a single word is whole or left out
        line.add(cut(f"  {note}", max(0, width - line.width)), pane_styles.muted)
    return line.strip()


def histogram(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The histogram of the nonzero activations on the clean train prompts."""
    total = sum(view.histogram)
    lines = [section("activations", f"{count(total)} nonzero", width, pane_styles)]
    columns = columns_chart(view.histogram, width, HISTOGRAM_HEIGHT, pane_styles.curves[0])
    if not columns:
        return [*lines, StyledLine().add("never fires on these prompts", pane_styles.muted).strip()]
    drawn = columns[0].cell_length
    top = compact(view.histogram_max)
    axis = StyledLine().add("0", pane_styles.muted).pad_to(max(2, drawn - len(top))).add(top, pane_styles.muted)
    return [*lines, *columns, axis.strip()]


def profile(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The mean activation at each position, on clean and on corrupt prompts."""
    name_width = min(12, max((len(name) for name, _, _ in view.profile), default=4))
    head = StyledLine().add("by position", pane_styles.title).pad_to(width - 15)
    lines = [head.right("clean", 7, pane_styles.muted).right("corrupt", 8, pane_styles.muted).strip()]
    top = max((max(clean, corrupt) for _, clean, corrupt in view.profile), default=0.0) or 1.0
    room = width - name_width - 17
    for name, clean, corrupt in view.profile:
        line = StyledLine().left(name, name_width + 1, pane_styles.plain)
        line.left(bar(clean / top, room), room, pane_styles.curves[0])
        line.pad_to(width - 15).right(compact(clean), 7).right(compact(corrupt), 8, pane_styles.muted)
        lines.append(line.strip())
    return lines


def top_examples(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The texts on which the latent fires most, each token shaded by its activation."""
    shown = [text for band in view.bands for text in band.examples]
    notes = {
        f"{SINK} attention sink": any(text.sinks for text in shown),
        "c corrupt": any(text.side == "corrupt" for text in shown),
        "✗ answered wrong": any(text.right is False for text in shown),
    }
    note = "; ".join(["shaded by activation", *(words for words, wanted in notes.items() if wanted)])
    lines = [section("fires most on", note, width, pane_styles)]
    if not view.bands:
        return [*lines, StyledLine().add("it fires on none of the prompts", pane_styles.muted).strip()]
    return lines + [_shaded(text, view.bands[0].high, width, pane_styles) for text in view.bands[0].examples[:FIRST]]


def other_examples(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The texts after those of `top_examples`, then some of each band of activation."""
    if not view.bands:
        return []
    top, *rest = view.bands
    lines = [_shaded(text, top.high, width, pane_styles) for text in top.examples[FIRST:]]
    lines = [section("more of these", "", width, pane_styles), *lines] if lines else []
    return lines + _bands(tuple(rest), top.high, width, pane_styles)


def in_text(found: TextExamples | None, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """Where the latent fires in a text of the user's."""
    if found is None:
        line = StyledLine().add("X", pane_styles.key)
        return [line.add("  shows where it fires in a text of your own", pane_styles.muted).strip()]
    share = f"on {count(found.n_firing)} of {count(found.n_tokens)} tokens"
    lines = [section(cut_middle(printable(f"in {found.path}"), width // 2), share, width, pane_styles)]
    if not found.bands:
        return [*lines, StyledLine().add("it fires nowhere in it", pane_styles.muted).strip()]
    top, *rest = found.bands
    lines += [_shaded(text, top.high, width, pane_styles) for text in top.examples]
    return lines + _bands(tuple(rest), top.high, width, pane_styles)


def _bands(bands: tuple[ActivationBand, ...], peak: float, width: int, pane_styles: PaneStyles) -> list[Strip]:
    lines = []
    for band in bands:
        heading = f"{compact(band.low)} to {compact(band.high)}"
        lines.append(section(heading, amount(band.count, "text"), width, pane_styles))
        lines += [_shaded(text, peak, width, pane_styles) for text in band.examples]
    return lines


def _shaded(prompt: TokenActivation, top: float, width: int, pane_styles: PaneStyles) -> Strip:
    line = StyledLine().right(compact(prompt.peak), 6, pane_styles.strong)
    # Clean is what is not said; a corrupt prompt and one that the circuit answers wrong are told by a letter.
    line.add("✗" if prompt.right is False else "c" if prompt.side == "corrupt" else " ", pane_styles.bad).add(" ")
    tokens, start = spaced(prompt.tokens), 0
    if line.width + sum(map(len, tokens)) + len(prompt.sinks) > width:
        # The prompt is too long: begin a few tokens before the strongest one.
        start = max(0, max(range(len(tokens)), key=lambda i: prompt.activations[i]) - 4)
        line.add("…", pane_styles.muted) if start else None
    for index, (token, activation) in enumerate(zip(tokens[start:], prompt.activations[start:], strict=True), start):
        mark = SINK if index in prompt.sinks else ""
        if line.width + len(token + mark) > width - 1:
            line.add("…", pane_styles.muted)
            break
        # The space before a word is not shaded, or neighbouring tokens would run together.
        bare = token.lstrip(" ")
        line.add(token[: len(token) - len(bare)]).add(bare, pane_styles.shade(activation / top))
        line.add(mark, pane_styles.warn)
    return line.strip()


def tokens(
    title: str, rows: tuple[tuple[str, float], ...], width: int, pane_styles: PaneStyles, note: str = "logit"
) -> list[Strip]:
    """The tokens whose logits the decoder direction moves most."""
    lines = [section(title, note, width, pane_styles)]
    for token, weight in rows:
        line = StyledLine().left(token_text(token), width - 8)
        lines.append(line.right(signed(weight, 2), 7, pane_styles.good if weight > 0 else pane_styles.bad).strip())
    return lines if rows else [*lines, StyledLine().add("none", pane_styles.muted).strip()]


def answers(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """What one unit of the latent's direction does to the logits of the task's answers: the ends of the list."""
    cap = "" if view.soft_cap is None else f", before the soft cap of {view.soft_cap:g}"
    lines = [section("on the answers", f"logit for one unit of activation{cap}", width, pane_styles)]
    words = [(token_text(token), weight) for token, weight in view.answers]
    ends = [part for pair in zip(words, reversed(words), strict=True) for part in pair][: len(words)]
    shown, room = list[tuple[str, float]](), width
    for token, weight in ends:
        if (room := room - len(token) - 9) < 0:
            break
        shown.append((token, weight))
    line = StyledLine()
    for token, weight in sorted(shown, key=lambda word: -word[1]):
        line.add(token + " ").add(signed(weight, 2), pane_styles.change(weight)).add("  ")
    return [*lines, line.strip()] if shown else []


def matters(found: LatentPrompts, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The test prompts on which the latent matters most."""
    note = "what the circuit loses without it" if found.kept else "it is off: what it would add"
    total = StyledLine().right(signed(found.faithfulness), 7, pane_styles.change(found.faithfulness))
    total.add("  of the faithfulness, on all test prompts", pane_styles.plain)
    if found.interval is not None:
        total.add(f"  95% CI {signed(found.interval[0])} to {signed(found.interval[1])}", pane_styles.muted)
    lines = [section("matters most on", note, width, pane_styles), total.strip()]
    for row in found.prompts[:MATTERS]:
        line = StyledLine().right(signed(row.effect, 2), 7, pane_styles.change(row.effect)).add("  ")
        answers = f"  {printable(row.right).strip()}/{printable(row.wrong).strip()} {signed(row.circuit, 2)}"
        line.left(cut_middle(printable(row.text), width - 9 - len(answers)), width - 9 - len(answers))
        lines.append(line.add(answers, pane_styles.bad if row.circuit <= 0 else pane_styles.muted).strip())
    return lines


def neighbours(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """The latents of this site with the nearest decoder directions, by cosine."""
    lines = [section("nearest", "cosine", width, pane_styles)]
    for latent, cosine in view.neighbours:
        opens = Style.from_meta({"@click": f"screen.show_latent({view.site}, {latent})"})
        lines.append(
            StyledLine().left(f"{latent}", width - 8, opens).right(fixed(cosine, 2), 7, pane_styles.muted).strip()
        )
    return lines if view.neighbours else [*lines, StyledLine().add("none", pane_styles.muted).strip()]


def mask_path(view: LatentView, width: int, pane_styles: PaneStyles) -> list[Strip]:
    """How the search moved the mask of each position."""
    lines = [section("mask during the search", "share kept, by step", width, pane_styles)]
    if not view.mask_steps or not view.mask_path:
        return [*lines, StyledLine().add("no search yet", pane_styles.muted).strip()]
    # There is room for three positions: those with the highest last values.
    paths = sorted(view.mask_path.items(), key=lambda item: -item[1][-1])[:3]
    curves = []
    legend = StyledLine().add(" " * 7)
    for (name, path), style in zip(paths, pane_styles.curves, strict=False):
        curves.append(Curve(tuple(zip(map(float, view.mask_steps), path, strict=False)), style))
        legend.add(f"━ {name} {fixed(path[-1], 2)}   ", style)
    if len(view.mask_path) > len(paths):
        legend.add(f"and {len(view.mask_path) - len(paths)} lower", pane_styles.muted)
    return [*lines, legend.strip(), *chart(curves, Axis(0.0, 1.0, "{:.0f}"), width, PATH_HEIGHT, pane_styles)]
