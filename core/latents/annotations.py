"""What a user says of latents and nodes: labels, notes, marks and groups. Immutable; an edit makes a new value.

Labels and notes belong to a latent at all its positions, marks and groups to nodes (rows of a `NodeTable`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.views import UserWords
from circuit_tui.core.views import NodeTable

YOU = "you"
"""The source of a label that the user gave."""
COLOURS = ("blue", "green", "orange", "red", "purple", "teal")

Latent = tuple[int, int]
"""(site, latent)"""


@dataclass(frozen=True, slots=True)
class Label:
    """One name of a latent. `source` says who gave it, `date` (ISO 8601, UTC) when, `score` how good it is."""

    text: str
    source: str
    date: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes under one name, to be switched as one; kept or not. `colour` is one of `COLOURS`."""

    name: str
    colour: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Annotations:
    """Everything that a user says of latents and nodes. Groups are in the order of their making."""

    labels: Mapping[Latent, tuple[Label, ...]] = field(default_factory=dict)
    notes: Mapping[Latent, str] = field(default_factory=dict)
    marks: frozenset[int] = frozenset()
    groups: tuple[Group, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is said."""
        return bool(self.labels or self.notes or self.marks or self.groups)

    def label(self, site: int, latent: int) -> str:
        """The label to show: the user's own, else the newest other one; empty if there is none."""
        labels = self.labels.get((site, latent), ())
        own = self.own_label(site, latent)
        return own or (max(labels, key=lambda label: label.date).text if labels else "")

    def own_label(self, site: int, latent: int) -> str:
        """The user's own label; empty if there is none."""
        own = [label.text for label in self.labels.get((site, latent), ()) if label.source == YOU]
        return own[-1] if own else ""

    def group(self, name: str) -> Group:
        """The group of that name. Raises UserError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise UserError(f"group {name!r}: there is none of that name")

    def words(self) -> UserWords:
        """What lists and filters show of this."""
        groups: dict[int, tuple[str, ...]] = {}
        for group in self.groups:
            for node in group.nodes:
                groups[node] = (*groups.get(node, ()), group.name)
        labels = {key: self.label(*key) for key in self.labels}
        return UserWords(labels, self.marks, groups, {group.name: group.colour for group in self.groups})

    def merged(self, other: Annotations, origin: str) -> Annotations:
        """Returns these with `other` added, which comes from `origin` (a file's name).

        Labels and notes of `other` take precedence. A group of `other` whose name is taken by other nodes is called
        ``NAME (ORIGIN)``.
        """
        labels = dict(self.labels)
        for key, theirs in other.labels.items():
            sources = {label.source for label in theirs}
            labels[key] = (*(label for label in labels.get(key, ()) if label.source not in sources), *theirs)
        groups = list(self.groups)
        for group in other.groups:
            name, number = group.name, 1
            while any(own.name == name and own.nodes != group.nodes for own in groups):
                name, number = f"{group.name} ({origin}{'' if number == 1 else f' {number}'})", number + 1
            if all(own.name != name for own in groups):
                groups.append(replace(group, name=name))
        return Annotations(labels, {**self.notes, **other.notes}, self.marks | other.marks, tuple(groups))


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as the screen shows it: how many of its nodes are on, and its exact effect.

    `effect` is the drop in held-out faithfulness when all its nodes that are on are ablated together: not the sum of
    their effects. None while not computed, or if none is on.
    """

    group: Group
    n_on: int
    effect: float | None


@dataclass(frozen=True, slots=True)
class SetLabel:
    """Give a latent a label of the user's own; an empty `text` takes it away."""

    site: int
    latent: int
    text: str


@dataclass(frozen=True, slots=True)
class SetNote:
    """Write a note on a latent; an empty `text` takes it away."""

    site: int
    latent: int
    text: str


@dataclass(frozen=True, slots=True)
class ToggleMarks:
    """Mark nodes, or take the marks away if all of them are marked."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SaveGroup:
    """Put nodes under a name, in place of a group of that name; marks of these nodes are taken away."""

    name: str
    nodes: tuple[int, ...]
    colour: str = ""


@dataclass(frozen=True, slots=True)
class DeleteGroup:
    """Forget a group; its nodes stay as they are."""

    name: str


AnnotationEdit = SetLabel | SetNote | ToggleMarks | SaveGroup | DeleteGroup


def apply_annotation(
    edit: AnnotationEdit, annotations: Annotations, table: NodeTable, date: str
) -> tuple[Annotations, str]:
    """Returns `annotations` after `edit`, and what the edit did in a few words; `date` is now (ISO 8601, UTC).

    Raises:
        UserError: a node or latent that is no candidate, a group without name or nodes, an unknown group or colour.
    """
    match edit:
        case SetLabel(site, latent, text):
            key, text = _latent(table, site, latent), text.strip()
            others = tuple(label for label in annotations.labels.get(key, ()) if label.source != YOU)
            mine = (*others, Label(text, YOU, date)) if text else others
            labels = {other: own for other, own in annotations.labels.items() if other != key}
            return replace(annotations, labels={**labels, **({key: mine} if mine else {})}), (
                f"{_name(table, key)} is “{text}”" if text else f"no label for {_name(table, key)}"
            )
        case SetNote(site, latent, text):
            key, text = _latent(table, site, latent), text.strip()
            notes = {other: own for other, own in annotations.notes.items() if other != key}
            return replace(
                annotations, notes={**notes, **({key: text} if text else {})}
            ), f"note on {_name(table, key)}"
        case ToggleMarks(nodes):
            chosen = _nodes(table, nodes)
            on = not chosen <= annotations.marks
            marks = annotations.marks | chosen if on else annotations.marks - chosen
            return replace(annotations, marks=marks), f"{len(chosen)} {'marked' if on else 'no longer marked'}"
        case SaveGroup(name, nodes, colour):
            return _with_group(annotations, table, name.strip(), nodes, colour)
        case DeleteGroup(name):
            gone = annotations.group(name)
            rest = tuple(group for group in annotations.groups if group is not gone)
            return replace(annotations, groups=rest), f"group {name} forgotten"


def _with_group(
    annotations: Annotations, table: NodeTable, name: str, nodes: tuple[int, ...], colour: str
) -> tuple[Annotations, str]:
    chosen = _nodes(table, nodes)
    if not name:
        raise UserError("group: give it a name")
    if not chosen:
        raise UserError(f"group {name}: it has no nodes; mark some first (m)")
    if colour and colour not in COLOURS:
        raise UserError(f"group {name}: no colour {colour!r}; there are {', '.join(COLOURS)}")
    old = next((group for group in annotations.groups if group.name == name), None)
    used = [group.colour for group in annotations.groups]
    fresh = min(COLOURS, key=lambda each: (used.count(each), COLOURS.index(each)))
    made = Group(name, colour or (old.colour if old else fresh), tuple(sorted(chosen)))
    groups = tuple(made if group is old else group for group in annotations.groups)
    marks = annotations.marks - chosen
    return replace(annotations, groups=groups if old else (*groups, made), marks=marks), f"group {name}"


def _latent(table: NodeTable, site: int, latent: int) -> Latent:
    if (site, latent) not in zip(table.site, table.latent, strict=True):
        raise UserError(f"latent {latent} at site {site}: not a candidate")
    return site, latent


def _nodes(table: NodeTable, nodes: tuple[int, ...]) -> frozenset[int]:
    for node in nodes:
        if not 0 <= node < len(table):
            raise UserError(f"node {node}: out of range, there are {len(table)}")
    return frozenset(nodes)


def _name(table: NodeTable, key: Latent) -> str:
    return f"{table.sites[key[0]].short} {key[1]}"
