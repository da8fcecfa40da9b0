"""What a circuit file says of latents and nodes, in the numbers of an open problem."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from circuit_tui.core.circuits.schema import CircuitFile, LabelPart, NodePart, NotedPart
from circuit_tui.core.latents.annotations import Annotations, Group, Label
from circuit_tui.core.splice.problem import Problem

NodeName = tuple[str, str, int]
"""(hook, position name, latent)"""


def annotations_of_file(
    file: CircuitFile, problem: Problem, numbers_of: Callable[[Sequence[NodeName]], list[int]]
) -> Annotations:
    """Returns the labels, notes, marks and groups of `file`; `numbers_of` maps nodes to their numbers in `problem`."""
    every: list[tuple[str, NodePart | NotedPart]] = [(site.hook, node) for site in file.sites for node in site.nodes]
    every += [(node.hook, node) for node in file.noted]
    numbers = numbers_of([(hook, node.position, node.latent) for hook, node in every])
    labels: dict[tuple[int, int], tuple[Label, ...]] = {}
    notes, marks, site_of = dict[tuple[int, int], str](), set[int](), problem.space.site.tolist()
    for number, (_, node) in zip(numbers, every, strict=True):
        key = (site_of[number], node.latent)
        known = labels.get(key, ())
        new = tuple(label for label in map(_label, node.labels) if label not in known)
        if known or new:
            labels[key] = known + new
        if node.note:
            notes[key] = node.note
        if node.mark:
            marks.add(number)
    groups = tuple(
        Group(
            part.name,
            part.colour,
            tuple(sorted(numbers_of([(node.hook, node.position, node.latent) for node in part.nodes]))),
        )
        for part in file.groups
    )
    return Annotations(labels, notes, frozenset(marks), groups)


def _label(part: LabelPart) -> Label:
    return Label(part.text, part.source, part.date, part.score)
