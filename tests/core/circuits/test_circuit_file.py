"""Circuit files: written and read back equal, refused with one clear line, never half-written."""

from __future__ import annotations

import json
import os
import resource
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from circuit_example import METRICS, example
from command_line import Cli
from hypothesis import given
from hypothesis import strategies as st

from circuit_tui.core.atomic_file import check_target
from circuit_tui.core.circuits import schema as circuit_schema
from circuit_tui.core.circuits.circuit_file import now, read_circuit, write_circuit
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError


def make() -> CircuitFile:
    return CircuitFile.model_validate_json(json.dumps(example()))


def with_snapshots() -> dict[str, Any]:
    nodes = [{"hook": "blocks.1.hook_resid_post", "position": "verb", "latent": latent} for latent in (3, 4)]
    snapshots = [{"name": "before", "nodes": nodes, "metrics": METRICS}, {"name": "ø", "nodes": [], "metrics": None}]
    return example() | {"snapshots": snapshots}


def put(folder: Path, text: str | bytes) -> Path:
    path = folder / "c.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(UserError) as info:
        read_circuit(path)
    line = str(info.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    return line


def test_written_file_is_read_back_equal(tmp_path: Path) -> None:
    path = write_circuit(make(), tmp_path / "out.json")
    assert path == tmp_path / "out.json"
    assert read_circuit(path) == make()
    assert json.loads(path.read_text()) == example()


FINITE = st.floats(allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
SETTINGS = st.dictionaries(WORDS, FINITE | st.integers(-(2**63), 2**63) | st.booleans() | WORDS, max_size=4)
VALIDATOR = jsonschema.Draft202012Validator(circuit_schema.json_schema())
METRIC = st.fixed_dictionaries(
    dict.fromkeys(("faithfulness", "faithfulness_spliced", "kl", "logit_diff", "cross_entropy"), FINITE)
    | {"completeness": FINITE | st.none(), "accuracy": st.floats(0, 1), "per_prompt_iqr": st.tuples(FINITE, FINITE)}
)
STATS = st.fixed_dictionaries(
    {"mean_clean": FINITE, "mean_corrupt": FINITE, "max": FINITE, "frequency": st.floats(0, 1)}
    | {"effect": FINITE | st.none()}
)


@st.composite
def files(draw: st.DrawFn) -> CircuitFile:
    data = example()
    data["seed"] = draw(st.integers(-(2**31), 2**63))
    data["method"]["settings"] = draw(SETTINGS)
    data["method"]["warnings"] = draw(st.lists(st.text(st.characters(codec="utf-8")), max_size=2))
    data["task"]["positions"] = positions = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    places = st.tuples(st.sampled_from(positions), st.integers(0, 511))
    for site in data["sites"]:
        site["nodes"] = [
            {"position": position, "latent": latent, "label": draw(WORDS), "stats": draw(STATS)}
            for position, latent in draw(st.lists(places, max_size=4, unique=True))
        ]
    data["size"] = sum(len(site["nodes"]) for site in data["sites"])
    data["metrics"] = {key: draw(METRIC) for key in data["metrics"]}
    hooks = st.sampled_from([site["hook"] for site in data["sites"]])
    snapshots = draw(
        st.dictionaries(WORDS, st.tuples(st.sets(st.tuples(hooks, places), max_size=4), METRIC | st.none()), max_size=3)
    )
    data["snapshots"] = [
        {
            "name": name,
            "nodes": [
                {"hook": hook, "position": position, "latent": latent} for hook, (position, latent) in sorted(nodes)
            ],
            "metrics": metrics,
        }
        for name, (nodes, metrics) in snapshots.items()
    ]
    return CircuitFile.model_validate_json(json.dumps(data))


@given(file=files())
def test_any_file_survives_the_disk(file: CircuitFile, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write_circuit(file, tmp_path_factory.getbasetemp() / "any.json")
    again = read_circuit(path)
    assert again == file
    assert [type(value) for value in again.method.settings.values()] == [
        type(value) for value in file.method.settings.values()
    ]


def test_committed_schema_is_the_one_of_the_models() -> None:
    assert circuit_schema.SCHEMA_PATH.read_text(encoding="utf-8") == circuit_schema.schema_text(), "run make schema"
    jsonschema.Draft202012Validator.check_schema(circuit_schema.json_schema())


@pytest.mark.parametrize(
    "keys",
    [
        ("schema",),
        ("size",),
        ("sites", 0, "nodes", 0, "stats", "effect"),
        ("metrics", "test", "per_prompt_iqr"),
        ("task", "positions"),
    ],
)
def test_schema_demands_the_keys_that_others_rely_on(keys: tuple[Any, ...]) -> None:
    data = example()
    jsonschema.validate(data, circuit_schema.json_schema())
    _drop(*keys)(data)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(data, circuit_schema.json_schema())


@given(file=files())
def test_the_schema_takes_every_file_that_the_models_make(file: CircuitFile) -> None:
    VALIDATOR.validate(file.data())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_are_finite(value: float) -> None:
    data = example()
    data["metrics"]["test"] = METRICS | {"kl": value}
    with pytest.raises(ValueError, match="finite"):
        CircuitFile.model_validate_json(json.dumps(data))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b" \n\n", "the file is empty"),
        (b"circuit?", ":1: not JSON"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"[1, 2]", "not an object"),
        (b"[" * 100_000, "recursion"),
        (b'{"schema": "circuit-tui/circuit/9"}', "'circuit-tui/circuit/9', this version reads 'circuit-tui/circuit/2'"),
        (b'{"schema": 1}', "its schema is 1"),
        (b"{}", "it names no schema"),
        (b'{"size": ' + b"9" * 5000 + b"}", "not a circuit file"),
    ],
)
def test_what_is_no_circuit_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refused(put(tmp_path, content))


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.json")
    assert "is a folder" in refused(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.35, 0.5, 0.77, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    text = json.dumps(example(), indent=1)
    assert ":" in refused(put(tmp_path, text[: int(len(text) * share)]))


def test_truncation_is_called_so(tmp_path: Path) -> None:
    assert "cut off" in refused(put(tmp_path, json.dumps(example())[:-20]))


def _set(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = to

    return change


def _drop(*keys: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        del data[keys[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_drop("metrics", "test", "kl"), "$.metrics.test.kl: is missing"),
        (_drop("sites"), "$.sites: is missing"),
        (_set("sites", 0, "nodes", 1, "latent", to="3"), "$.sites[0].nodes[1].latent: should be"),
        (_set("sites", 0, "nodes", 1, "latent", to=-1), "$.sites[0].nodes[1].latent: should be"),
        (_set("sites", 0, "nodes", 1, "latent", to=512), "$.sites[0].nodes[1].latent: 512 is out of range"),
        (_set("sites", 0, "nodes", 1, "position", to="adverb"), "$.sites[0].nodes[1].position: 'adverb' is none"),
        (
            _set("sites", 0, "nodes", 1, "position", to="subject"),
            "$.sites[0].nodes[1]: latent 3 at 'subject' is listed",
        ),
        (
            _set("sites", 1, "hook", to="blocks.0.hook_resid_post"),
            "$.sites[1].hook: blocks.0.hook_resid_post is listed",
        ),
        (_set("method", "settings", "lr", to=[1]), "$.method.settings.lr: should be"),
        (_set("metrics", "test", "per_prompt_iqr", to=[0.5]), "$.metrics.test.per_prompt_iqr[1]"),
        (_set("size", to=True), "$.size: should be"),
        (_set("extra", to=1), "$.extra: is not a key"),
        (_set("ablation", "kind", to="median"), "$.ablation.kind: should be 'mean'"),
        (_set("model", "weights_sha256", to="abc"), "$.model.weights_sha256"),
        (_set("task", "source", "name", to=None), "$.task.source: kind 'builtin' needs 'name'"),
        (_set("sites", 0, "sae", "release", to=None), "$.sites[0].sae: needs 'release'"),
        (_set("metrics", "test", "kl", to=float("nan")), "$.metrics.test.kl"),
        (_set("sites", to=[]), "$.sites"),
        (_set("snapshots", 0, "nodes", 0, "hook", to="blocks.7"), "$.snapshots[0].nodes[0].hook: 'blocks.7' is none"),
        (_set("snapshots", 0, "nodes", 0, "latent", to=512), "$.snapshots[0].nodes[0].latent: 512 is out of range"),
        (_set("snapshots", 0, "nodes", 1, "position", to="adverb"), "$.snapshots[0].nodes[1].position: 'adverb' is"),
        (_set("snapshots", 0, "nodes", 1, "latent", to=3), "$.snapshots[0].nodes[1]: latent 3 at 'verb' is listed"),
        (_set("snapshots", 1, "name", to="before"), "$.snapshots[1].name: 'before' is listed twice"),
        (_drop("snapshots", 1, "metrics"), "$.snapshots[1].metrics: is missing"),
        (_set("snapshots", 0, "colour", to="red"), "$.snapshots[0].colour: is not a key"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    data = with_snapshots()
    change(data)
    assert says in refused(put(tmp_path, json.dumps(data)))


def test_snapshots_are_read_back_and_absent_where_there_are_none(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(with_snapshots()))
    file = read_circuit(path)
    assert file.snapshot_nodes() == {"before": [("blocks.1.hook_resid_post", "verb", n) for n in (3, 4)], "ø": []}
    assert json.loads(write_circuit(file, path).read_text()) == with_snapshots()
    assert "snapshots" not in json.loads(write_circuit(make(), path).read_text())


def version_1(data: dict[str, Any]) -> dict[str, Any]:
    """`data` as version 1 has it: without what its task part did not say."""
    task = {key: value for key, value in data["task"].items() if key not in ("chat_date", "bos", "tokens_sha256")}
    return data | {"schema": "circuit-tui/circuit/1", "task": task}


@pytest.mark.parametrize("steps", ["captured", "eager", None])
def test_how_steps_ran_is_read_back_and_absent_where_there_is_nothing_to_say(tmp_path: Path, steps: str | None) -> None:
    data = example()
    data["method"] |= {} if steps is None else {"steps": steps}
    path = tmp_path / "c.json"
    write_circuit(CircuitFile.model_validate_json(json.dumps(data)), path)
    assert json.loads(path.read_text())["method"] == data["method"]
    assert read_circuit(path).method.steps == steps


def test_version_1_is_read_and_written_as_version_2(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(version_1(example())))
    assert read_circuit(path) == make()
    assert json.loads(write_circuit(read_circuit(path), path).read_text()) == example()


def test_a_key_of_version_2_is_none_of_version_1(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(version_1(with_snapshots())))
    assert "$.snapshots: is not a key of 'circuit-tui/circuit/1'" in refused(path)


def test_a_wrong_field_of_version_1_is_named_by_its_path(tmp_path: Path) -> None:
    path = put(tmp_path, json.dumps(version_1(example()) | {"seed": None}))
    assert "$.seed: should be" in refused(path)


def test_size_is_left_for_the_recomputation(tmp_path: Path) -> None:
    data = example()
    del data["sites"][0]["nodes"][0]
    assert read_circuit(put(tmp_path, json.dumps(data))).size == 2


def test_a_byte_order_mark_is_no_reason_to_refuse(tmp_path: Path) -> None:
    assert read_circuit(put(tmp_path, b"\xef\xbb\xbf" + json.dumps(example()).encode())) == make()


def test_the_old_file_survives_a_full_disk(tmp_path: Path) -> None:
    path = put(tmp_path, "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(UserError, match="cannot write: File too large"):
            write_circuit(make(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_the_old_file_survives_a_failure_at_any_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = put(tmp_path, "old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(UserError, match="Read-only file system") as info:
        write_circuit(make(), path)
    monkeypatch.undo()
    assert str(info.value).startswith(f"{path}: ")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_targets_that_cannot_be_written_are_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = {
        tmp_path: "is a folder",
        tmp_path / "no" / "c.json": "no folder",
        Path("/dev/null"): "not an ordinary file",
    }
    for path, says in cases.items():
        with pytest.raises(UserError, match=says):
            check_target(path)
    with pytest.raises(UserError, match="cannot write"):
        check_target(tmp_path / "a\0b")
    check_target(tmp_path / "fine.json")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so a mode would prove nothing
    with pytest.raises(UserError, match="read-only"):
        check_target(tmp_path / "fine.json")


def test_a_link_keeps_pointing_and_the_mode_is_ordinary(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    link = tmp_path / "link.json"
    link.symlink_to(real)
    before = os.umask(0o022)
    try:
        assert write_circuit(make(), link) == real
    finally:
        os.umask(before)
    assert link.is_symlink()
    assert read_circuit(link) == make()
    assert stat.S_IMODE(real.stat().st_mode) == 0o644


def test_created_has_the_form_of_the_schema() -> None:
    data = example()
    data["created"] = now()
    assert CircuitFile.model_validate_json(json.dumps(data)).created.endswith("Z")


@pytest.mark.slow
def test_a_file_that_version_1_wrote_is_opened_and_agrees(cli: Cli) -> None:
    """A circuit of `sva-simple` on the demo, written by the last program that wrote version 1."""
    done = cli("check", Path(__file__).with_name("version_1.json"), "--json")
    assert done.code == 0, [field for field in done.data["fields"] if not field["ok"]]
