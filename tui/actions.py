"""Everything a user can do. Key bindings, command palette, footer and help are all made from this one list."""

from __future__ import annotations

from dataclasses import dataclass

from textual.binding import Binding


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that a user can do.

    `keys` are written as Textual names them, `shown` is the key as the user reads it, `hint` is its word in the footer.
    """

    keys: str
    shown: str
    name: str
    title: str
    group: str
    hint: str = ""

    def binding(self) -> Binding:
        """The action's key binding on the explorer's screen."""
        return Binding(self.keys, self.name, self.title, show=False)


PANES: dict[str, str] = {
    "circuit": "1",
    "latent": "2",
    "prompts": "3",
    "search": "4",
    "frontier": "5",
    "audit": "6",
    "edges": "7",
    "try": "8",
    "circuits": "0",
}
"""The name of each pane and the key that goes to it, in the order in which their names are shown."""

ACTIONS: tuple[Action, ...] = (
    Action(
        "space", "space", "switch", "Switch the node, latent or edge under the cursor on or off", "Circuit", "toggle"
    ),
    Action("x", "x", "toggle_site", "Switch the whole site on or off", "Circuit", "site"),
    Action("i", "i", "invert", "Invert: keep what is off, drop what is on", "Circuit"),
    Action("o", "o", "only", "Only these: keep what is listed, drop the rest", "Circuit", "only these"),
    Action("u", "u", "undo", "Undo", "Circuit", "undo"),
    Action("ctrl+r,U", "ctrl+r U", "redo", "Redo", "Circuit"),
    Action("a", "a", "show_all", "List all candidates, or only what is kept", "List", "all/kept"),
    Action("slash", "/", "filter", "Filter by words, promoted tokens, effect>0.02 pos=end on", "List", "filter"),
    Action("n", "n", "match(1)", "Go to the next match of the last filter", "List"),
    Action("N", "N", "match(-1)", "Go to the previous match of the last filter", "List"),
    Action("colon", ":", "jump", "Jump to a latent or node, such as L2/210 or L2/210@end", "List", "jump"),
    Action("W", "W", "latent_prompts", "Show the prompts on which the latent matters most", "List", "matters on"),
    Action("X", "X", "text_examples", "Show where the latent fires in a text of your own", "Latent", "in a text"),
    Action("f", "f", "flat", "Sort all sites together in one flat list, or each by itself", "List", "flat"),
    Action("full_stop,greater_than_sign", ".", "sort(1)", "Sort by the next column", "List", "sort"),
    Action("comma,less_than_sign", ",", "sort(-1)", "Sort by the previous column", "List"),
    Action("r", "r", "reverse", "Reverse the order", "List"),
    Action("C", "C", "columns", "Choose the columns of the list", "List"),
    Action("L", "L", "label", "Name the latent, or note something on it", "Latent", "label"),
    Action("m", "m", "mark", "Mark the latent, node or circuit, or take the mark away", "Latent", "mark"),
    Action("M", "M", "group", "Name a group of what is marked; without marks, list the groups", "Latent", "group"),
    Action("escape", "esc", "clear_filter", "Clear the filter", "List"),
    Action("s", "s", "start", "Start a search", "Search", "search"),
    Action("p", "p", "pause", "Pause the search, or continue it", "Search", "pause"),
    Action("S", "S", "stop", "Stop the search and take the circuit it has", "Search", "stop"),
    Action("D", "D", "leave_running", "Quit and leave the search running in the background", "Search"),
    Action("J", "J", "jobs", "List searches in the background, and work that was cut off", "Search"),
    Action("I", "I", "intervals", "Compute the 95% intervals of the frontier's held-out numbers", "Search", "95% CI"),
    Action(
        "v", "v", "report", "Show the search's charts or its result; of edges the graph or the list", "Search", "view"
    ),
    Action("A", "A", "audit", "Audit the circuit, or stop the audit", "Audit", "audit"),
    Action("F", "F", "audit_full", "Audit in full, with searches like the circuit's own", "Audit", "in full"),
    Action("T", "T", "audit_text", "Audit, and measure what the SAEs cost on a text of your own", "Audit", "text"),
    Action("O", "O", "open", "Open another task, circuit or model", "File", "open"),
    Action("w", "w", "snapshot", "Name a snapshot of the circuit", "File", "snapshot"),
    Action(
        "c",
        "c",
        "compare",
        "Compare with a snapshot, or go back to one; in pane 0, compare two circuits",
        "File",
        "compare",
    ),
    Action("e", "e", "export", "Export the circuit, its nodes alone, or what is shown as a table", "File", "export"),
    Action("y", "y", "copy", "Copy the row under the cursor", "File", "copy"),
    *(Action(key, key, f"pane('{name}')", f"Go to the {name} pane", "Screen") for name, key in PANES.items()),
    Action("z", "z", "zoom", "Zoom: the current pane alone, or all of them again", "Screen"),
    Action("left_square_bracket", "[", "split(0, -1)", "Narrow the circuit pane", "Screen"),
    Action("right_square_bracket", "]", "split(0, 1)", "Widen the circuit pane", "Screen"),
    Action("left_curly_bracket", "{", "split(-1, 0)", "Lower the upper panes", "Screen"),
    Action("right_curly_bracket", "}", "split(1, 0)", "Heighten the upper panes", "Screen"),
    Action("tab", "tab", "next(1)", "Next field or pane", "Screen"),
    Action("shift+tab", "shift+tab", "next(-1)", "Previous field or pane", "Screen"),
    Action("t", "t", "theme", "Next theme: dark, light, ansi", "Screen"),
    Action("question_mark,f1", "?", "help", "Help", "Screen", "help"),
    Action("ctrl+p", "ctrl+p", "app.command_palette", "Command palette", "Screen"),
    Action("q,ctrl+q,ctrl+c", "q", "leave", "Quit", "Screen", "quit"),
)
BY_NAME = {action.name: action for action in ACTIONS}

# What the footer offers in each pane, most useful first: it shows as many as fit.
HINTS: dict[str, tuple[str, ...]] = {
    "circuit": (
        "switch",
        "filter",
        "show_all",
        "undo",
        "start",
        "export",
        "toggle_site",
        "label",
        "mark",
        "group",
        "only",
        "sort(1)",
        "snapshot",
    ),
    "latent": ("switch", "label", "latent_prompts", "text_examples", "mark", "group", "undo", "start", "export"),
    "prompts": ("undo", "start", "export"),
    "search": ("start", "pause", "stop", "report", "export"),
    "audit": ("audit", "audit_full", "audit_text", "undo", "start", "export"),
    "edges": ("report", "switch", "undo", "start", "export"),
    "try": ("undo", "start", "export"),
    "circuits": ("mark", "compare", "open", "export", "undo"),
    "frontier": ("intervals", "undo", "start", "pause", "stop", "snapshot", "export"),
}
ALWAYS = ("help", "leave")
