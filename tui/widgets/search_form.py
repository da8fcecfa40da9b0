"""The form that describes a search: method, target, seed and the settings of the method."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.strip import Strip
from textual.widgets import Button, Label, Select

from circuit_tui.core.choices import ABLATIONS, OBJECTIVES
from circuit_tui.core.errors import UserError
from circuit_tui.core.search.asked import ROBUST_ABLATIONS, asked_spec, parse_ablations
from circuit_tui.core.search.registry import MethodInfo
from circuit_tui.core.search.setting import SettingValue
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.drawing.line import StyledLine, plain, wrap
from circuit_tui.tui.widgets.line_input import LineInput
from circuit_tui.tui.widgets.lines_view import LinesView


class Field(Horizontal):
    """A name and an input field on one line."""

    def __init__(self, name: str, value: str, tooltip: str = "") -> None:
        super().__init__(classes="field")
        self.label, self.help = name, tooltip
        self.input = LineInput(value)
        self.input.tooltip = plain(tooltip) if tooltip else None

    def compose(self) -> ComposeResult:
        yield Label(self.label, markup=False)
        yield self.input


class FieldHelp(LinesView):
    """Explains the field that has the focus."""

    def __init__(self) -> None:
        super().__init__(id="field-help")
        self._text = ""

    def show(self, text: str) -> None:
        """Show `text`."""
        if text != self._text:
            self._text = text
            self.rebuild()

    def build(self, width: int) -> list[Strip]:
        return [StyledLine().add(line, self.pane_styles.muted).strip() for line in wrap(self._text, width)]


class SearchForm(VerticalScroll, can_focus=False):
    """Asks for what a search needs; `spec` returns it.

    Args:
        method: the method selected at first.
        target: the target filled in at first.
        seed: the seed filled in at first.
    """

    def __init__(self, method: str, target: float, seed: int) -> None:
        super().__init__(id="search-form")
        self._first_method = method
        self._methods: dict[str, MethodInfo] = {}
        self._settings: dict[str, Field] = {}
        self._shown_method = ""
        self._target = Field("target", f"{target:g}", "the faithfulness to reach on the search prompts")
        self._first_target = self._target.input.value
        self._objective = Field(
            "objective", "", f"what to hold, commas between: {', '.join(OBJECTIVES)}; empty: logit-diff"
        )
        self._ablations = Field("also under", "", f"other ablations to hold it under: {', '.join(ABLATIONS)}")
        self._robust = Field("robust", "no", "yes: hold what an audit asks, under several ablations, on each template")
        self._seed = Field("seed", str(seed), "what random choices start from: the same seed finds the same circuit")
        self._select: Select[str] = Select([(plain(method), method)], value=method, allow_blank=False, compact=True)

    def compose(self) -> ComposeResult:
        with Horizontal(classes="field"):
            yield Label("method")
            yield self._select
        yield self._target
        yield self._seed
        yield VerticalScroll(id="settings", can_focus=False)
        yield self._objective
        yield self._ablations
        yield self._robust
        with Horizontal(id="search-buttons"):
            yield Button("Start", id="start", compact=True)
            yield Button("Pause", id="pause", compact=True)
            yield Button("Stop", id="stop", compact=True)
        yield FieldHelp()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        self._explain_field()

    def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        self._explain_field()

    def _explain_field(self) -> None:
        """Say what the field with the focus is for. The events of two fields come in any order."""
        focused = self.screen.focused
        field = (
            next((node for node in focused.ancestors_with_self if isinstance(node, Field)), None) if focused else None
        )
        method = self._methods.get(str(self._select.value)) if focused is self._select else None
        about = f"{field.label}: {field.help}" if field is not None and field.help else ""
        self.query_one(FieldHelp).show(f"{method.name}: {method.description}" if method else about)

    def set_methods(self, methods: tuple[MethodInfo, ...]) -> None:
        """Offer `methods` to choose from."""
        self._methods = {method.name: method for method in methods}
        if not methods:
            return
        chosen = self._first_method if self._first_method in self._methods else methods[0].name
        self._select.set_options([(plain(name), name) for name in self._methods])
        self._select.value = chosen
        self._show_settings(chosen)

    def on_select_changed(self, event: Select.Changed) -> None:
        event.stop()
        self._show_settings(str(event.value))

    def _show_settings(self, name: str) -> None:
        """Show the settings of the method `name`."""
        method = self._methods.get(name)
        if method is None or name == self._shown_method:
            return
        self._shown_method = name
        self._settings = {
            setting.name: Field(setting.name, _text(setting.default), setting.help) for setting in method.settings
        }
        holder = self.query_one("#settings")
        holder.remove_children()
        holder.mount_all(self._settings.values())
        self._select.tooltip = plain(method.description)

    def show_live(self, live: bool, paused: bool) -> None:
        """Enable the buttons that can be used now; `live` and `paused` are the state of the search."""
        self.query_one("#start", Button).disabled = live
        pause = self.query_one("#pause", Button)
        pause.disabled = not live
        pause.label = "Go on" if paused else "Pause"
        self.query_one("#stop", Button).disabled = not live

    def spec(self) -> SearchSpec:
        """The search that the form describes, with the settings that are not at their default.

        Raises:
            UserError: a field that cannot be read.
        """
        name = str(self._select.value)
        try:
            robust = _yes("robust", self._robust.input.value)
            target, others = self._target.input.value.strip(), self._ablations.input.value.strip()
            ablations = parse_ablations(others) or (ROBUST_ABLATIONS[1:] if robust else ())
            return asked_spec(
                name,
                int(_number("seed", self._seed.input.value, int)),
                self._changed_settings(name),
                () if robust and target == self._first_target else (target,),
                self._objective.input.value.strip() or None,
                ("mean", *ablations),
                robust=robust,
            )
        except UserError as error:
            without_flag = str(error).removeprefix("--set ").removeprefix("--")  # a form has names, not flags
            raise UserError(without_flag) from error

    def _changed_settings(self, name: str) -> dict[str, SettingValue]:
        """The settings of the method `name` that are not at their default. Raises UserError for a wrong value."""
        method = self._methods.get(name)
        if method is None:
            return {}
        given = {setting: field.input.value.strip() for setting, field in self._settings.items()}
        values = method.parse_settings(given).values()
        return {
            setting.name: values[setting.name] for setting in method.settings if values[setting.name] != setting.default
        }


def _text(value: SettingValue) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}" if isinstance(value, float) else str(value)


def _yes(name: str, text: str) -> bool:
    answer = text.strip().lower()
    if answer not in ("yes", "no"):
        raise UserError(f"{name} {text!r} is neither yes nor no")
    return answer == "yes"


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text.strip())
    except ValueError:
        raise UserError(f"{name} {text!r} is not a {'whole number' if kind is int else 'number'}") from None
