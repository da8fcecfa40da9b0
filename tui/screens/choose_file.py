"""A dialog to choose a file from a tree of folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from rich.text import Text, TextType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DirectoryTree, Label
from typing_extensions import override

from circuit_tui.tui.drawing.line import printable
from circuit_tui.tui.screens.dialog import Dialog


class FileTree(DirectoryTree):
    """Folders, and the files whose names have one of `endings`. Hidden ones are left out."""

    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    ICON_FILE = "  "

    def __init__(self, folder: Path, endings: tuple[str, ...]) -> None:
        super().__init__(folder)
        self._endings = endings
        self.show_guides = False

    @override
    def process_label(self, label: TextType) -> Text:
        return Text(printable(label)) if isinstance(label, str) else label

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path for path in paths if not path.name.startswith(".") and (path.is_dir() or path.suffix in self._endings)
        ]


class ChooseFile(Dialog[Path | None]):
    """Asks for a file. Its result is the path, relative to the working directory if it lies below it, or None."""

    CSS = """
    ChooseFile { align: center middle; }
    ChooseFile .box { width: 90%; max-width: 100; height: 90%; background: $panel; padding: 1 2; }
    ChooseFile FileTree { background: $panel; height: 1fr; }
    ChooseFile .hint { color: $muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", show=False),
        Binding("backspace,left", "up", "The folder above", show=False),
    ]

    def __init__(self, folder: Path, endings: tuple[str, ...]) -> None:
        super().__init__()
        self._folder, self._endings = folder.absolute(), endings

    def compose(self) -> ComposeResult:
        with Vertical(classes="box"):
            yield FileTree(self._folder, self._endings)
            yield Label("enter opens or chooses   ← the folder above   esc cancels", classes="hint")

    def on_mount(self) -> None:
        self.query_one(FileTree).focus()

    def on_directory_tree_file_selected(self, event: DirectoryTree.FileSelected) -> None:
        here = Path.cwd()
        self.dismiss(event.path.relative_to(here) if event.path.is_relative_to(here) else event.path)

    def action_up(self) -> None:
        tree = self.query_one(FileTree)
        tree.path = Path(tree.path).absolute().parent
