"""Fetching files: what arrives, what a break costs, and what is said when they cannot be had.

What both ways have in common is tried on both: over plain HTTP, and from a Xet store through hf_xet itself.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from reach import reach
from server import TOKEN, Hub, git_hash
from xet import xet_hash

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub import download_progress
from circuit_tui.core.hub.download import HubClient, blob_hash, cached_file, repo_folder
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.hub.orphans import orphans
from circuit_tui.core.models.model_files import fetch_model
from circuit_tui.core.models.weights_hash import file_sha256
from circuit_tui.core.views import LoadProgress

REPO, BIG = "org/model", "model.safetensors"
CONTENT = random.Random(0).randbytes(300_000)
FILES = {"config.json": b"{}", "tokenizer.json": b"[1]", BIG: CONTENT, "README.md": b"no", "onnx/model.onnx": b"no"}
STAGE = LoadProgress("loading", 2, 7)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes come in small pieces, each reported at once."""
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    monkeypatch.setattr(download_progress, "REPORT_EVERY", 0.0)


@pytest.fixture(params=["plain", "xet"])
def either(request: pytest.FixtureRequest, hub: Hub) -> Hub:
    """The server, which has large files in its own store or in a Xet store."""
    hub.xet = request.param == "xet"
    return hub


def unfinished() -> list[Path]:
    return [Path(orphan.path) for orphan in orphans()]


def fetch(name: str = REPO, revision: str = "main", report: Callable[[LoadProgress], None] = lambda _: None) -> Path:
    return fetch_model(name, revision, f"--model {name}", report, STAGE)


def refusal(name: str = REPO, revision: str = "main") -> str:
    with pytest.raises(UserError) as error:
        fetch(name, revision)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"--model {name}: ")
    return str(error.value)


def test_what_a_model_needs_lands_in_the_cache_s_own_layout(hub: Hub) -> None:
    repo = hub.add(REPO, FILES)
    folder = fetch()
    assert folder == repo_folder(REPO) / "snapshots" / repo.commit
    assert {path.name for path in folder.iterdir()} == {"config.json", "tokenizer.json", BIG}
    assert (folder / BIG).read_bytes() == CONTENT
    assert (folder / BIG).resolve() == repo_folder(REPO) / "blobs" / hashlib.sha256(CONTENT).hexdigest()
    assert (folder / "config.json").resolve().name == git_hash(b"{}")
    # The Hub's own client finds it all.
    assert cached_file(REPO, BIG) == folder / BIG
    assert not unfinished()


def test_a_file_is_known_by_its_sha256_however_it_was_fetched(either: Hub) -> None:
    """From a Xet store the blob is a link to where repositories share it, under the hash of that store."""
    either.add(REPO, FILES)
    folder = fetch()
    assert (folder / BIG).read_bytes() == CONTENT
    assert ((folder / BIG).resolve().name == xet_hash(CONTENT)) == either.xet
    assert blob_hash(folder / BIG) == file_sha256(folder / BIG) == hashlib.sha256(CONTENT).hexdigest()
    assert blob_hash(folder / "config.json") == git_hash(b"{}")
    assert blob_hash((folder / BIG).resolve().parent / "no such file") == ""


def test_what_is_there_is_not_fetched_again(either: Hub) -> None:
    either.add(REPO, FILES)
    fetch()
    either.heal()
    assert fetch().is_dir()
    assert not either.sent[BIG]


def test_progress_counts_every_byte_of_all_files(either: Hub) -> None:
    either.add(REPO, FILES)
    either.pace = 0.02
    seen: list[LoadProgress] = []
    fetch(report=seen.append)
    assert {(stage.done, stage.total) for stage in seen} == {(2, 7)}
    total = sum(len(FILES[name]) for name in ("config.json", "tokenizer.json", BIG))
    counts = [stage.bytes_done or 0 for stage in seen]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], seen[-1].bytes_total) == (0, total, total)
    assert any(5 < count < total for count in counts), "nothing was told while the large file came"
    assert f"downloading {REPO} {BIG} (3 of 3)" in {stage.text for stage in seen}


@pytest.mark.parametrize("cuts", [[120_000], [0, 50_000, 1, 77_777]])
def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, cuts: list[int]) -> None:
    hub.add(REPO, FILES)
    hub.cut[BIG] = list(cuts)
    seen: list[LoadProgress] = []
    assert (fetch(report=seen.append) / BIG).read_bytes() == CONTENT
    # The library writes pieces of DOWNLOAD_CHUNK_SIZE; what did not fill one is asked for again.
    kept = sum(cut // 10_000 * 10_000 for cut in cuts)
    ranges = [wanted for method, path, wanted in hub.requests if path.startswith("/store/") and method == "GET"]
    assert (len(ranges), ranges[-1]) == (1 + len(cuts), f"bytes={kept}-")
    lost = f"connection lost, trying again: downloading {REPO} {BIG} (3 of 3)"
    assert sum(before.text != lost == after.text for before, after in itertools.pairwise(seen)) >= 1
    assert seen[-1].bytes_done == seen[-1].bytes_total


def test_what_broke_off_begins_anew_and_finished_files_stay(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.cut[BIG] = [200_000] + [0] * 20
    said = refusal()
    assert f"the download of {BIG} from {REPO} broke off" in said
    assert "run again: finished files stay, one that broke off starts again" in said
    assert not cached_file(REPO, BIG)
    assert not unfinished()
    hub.heal()
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert hub.sent[BIG] == len(CONTENT)
    assert not hub.sent["config.json"]


class Cancelled(BaseException):
    pass


def test_a_download_can_be_cancelled_and_begun_again(either: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    either.add(REPO, FILES)
    either.pace = 0.05  # a second for the large file

    underway: list[Path] = []

    def report(stage: LoadProgress) -> None:
        if (stage.bytes_done or 0) > 100_000:
            underway.extend(unfinished())
            raise Cancelled

    with pytest.raises(Cancelled):
        fetch(report=report)
    assert len(underway) == 1, "a process that is killed here leaves it"
    sent = either.sent[BIG]
    assert 100_000 < sent < len(CONTENT), "it went on"
    assert not cached_file(REPO, BIG)
    assert not unfinished()
    assert "Traceback" not in capfd.readouterr().err
    either.pace = 0.0
    assert (fetch() / BIG).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all_of_it(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.no_ranges = True
    hub.cut[BIG] = [120_000]
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert hub.sent[BIG] == len(CONTENT) + 120_000


def test_a_busy_server_is_asked_again(hub: Hub) -> None:
    hub.add(REPO, FILES)
    client = HubClient("--model org/model", lambda _: None, STAGE)
    file = client.locate(REPO, BIG)
    hub.broken = [503, 503]
    assert client.fetch([file])[0].read_bytes() == CONTENT


@pytest.mark.parametrize("path", [BIG, "config.json"])
def test_what_arrives_damaged_does_not_stay_in_the_cache(either: Hub, path: str) -> None:
    either.add(REPO, FILES)
    content = FILES[path]
    either.damaged[path] = content[:-1] + bytes([content[-1] ^ 1])
    assert f"{path} of {REPO} arrived damaged and was deleted; run again" in refusal()
    assert not cached_file(REPO, path)
    blobs = repo_folder(REPO).parent.rglob("blobs/**/*")
    assert not [blob for blob in blobs if blob.is_file() and blob.read_bytes() == either.damaged[path]]
    either.heal()
    assert (fetch() / path).read_bytes() == content


def test_all_files_are_of_one_commit(hub: Hub) -> None:
    repo = hub.add(REPO, FILES)
    client = HubClient("--model org/model", lambda _: None, STAGE)
    first = client.get(REPO, "config.json")
    before = repo.commit
    repo.move_to({**FILES, "tokenizer.json": b"[2]"})
    assert client.get(REPO, "tokenizer.json").read_bytes() == b"[1]"
    assert client.locate(REPO, BIG).commit == before == first.parent.name


def test_shards_or_one_file_and_safetensors_before_bin(hub: Hub) -> None:
    hub.add(REPO, {"config.json": b"{}", "pytorch_model.bin": b"old", BIG: CONTENT})
    assert {path.name for path in fetch().iterdir()} == {"config.json", BIG}
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    shards = {f"model-0000{n}-of-00002.safetensors": CONTENT[n:] for n in (1, 2)}
    hub.add("org/shards", {"config.json": b"{}", "model.safetensors.index.json": index, **shards})
    assert set(shards) < {path.name for path in fetch("org/shards").iterdir()}
    hub.add("org/none", {"config.json": b"{}", "weights.gguf": b""})
    assert "has no weights that can be loaded" in refusal("org/none")


def test_a_gated_model(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES, gated=True)
    for token in (None, "hf_of_somebody_else"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        said = refusal()
        assert f"gated; accept its terms at {hub.url}/{REPO} and set HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert (fetch() / BIG).read_bytes() == CONTENT


def test_what_is_not_there(hub: Hub) -> None:
    hub.add(REPO, FILES)
    assert f"there is no org/nothing at {hub.url}, or it is private" in refusal("org/nothing")
    assert "no such revision" in refusal(revision="0" * 40)


def test_a_hub_that_fails(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.broken = [500] * 10
    assert "fails with status 500; try again later" in refusal()


def test_no_room_is_told_before_the_first_byte(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.huge[BIG] = 10**15
    said = refusal()
    assert "1000 TB are to be downloaded" in said
    assert "set HF_HOME to a larger disk" in said
    assert not hub.sent[BIG]


def test_a_disk_that_fills_up_on_the_way(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(DownloadProgress, "at", full)
    assert "is full; free some room or set HF_HOME" in refusal()


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    closed = "http://127.0.0.1:9"
    reach(monkeypatch, closed, tmp_path / "cache")
    said = refusal()
    assert f"cannot reach {closed}" in said
    assert "HF_ENDPOINT" in said
    reach(monkeypatch, hub.url, tmp_path / "cache")
    folder = fetch()
    reach(monkeypatch, closed, tmp_path / "cache")
    assert fetch() == folder, "what is cached serves without a network"


def test_offline_the_cache_has_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    reach(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    said = refusal()
    assert "HF_HUB_OFFLINE forbids fetching it" in said
    reach(monkeypatch, hub.url, tmp_path / "cache")
    folder = fetch()
    hub.requests.clear()
    reach(monkeypatch, hub.url, tmp_path / "cache", offline=True)
    assert fetch() == folder
    assert not hub.requests
    # Half a model is none.
    (folder / BIG).unlink()
    assert "HF_HUB_OFFLINE" in refusal()


def test_a_cache_that_cannot_be_written_to(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.add(REPO, FILES)
    if os.getuid() == 0:
        (tmp_path / "cache").write_text("a file where the folder should be")
        assert "cannot" in refusal()
        return
    (tmp_path / "cache").mkdir(mode=0o500)
    assert "set HF_HOME to a folder of yours" in refusal()


def test_a_file_system_without_links(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.setattr("huggingface_hub.file_download._are_symlinks_supported_in_dir", {})
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert not (fetch() / BIG).is_symlink()
