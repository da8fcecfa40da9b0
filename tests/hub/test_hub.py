"""Fetching files: what arrives, what a break costs, and what is said when they cannot be had."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from reach import reach
from server import TOKEN, Hub, git_hash

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub import download_progress as traffic
from circuit_tui.core.hub.download import Hub as Client
from circuit_tui.core.hub.download import cached_file, repo_folder
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.models.model_files import fetch_model
from circuit_tui.core.views import LoadProgress

REPO, BIG = "org/model", "model.safetensors"
CONTENT = random.Random(0).randbytes(300_000)
FILES = {"config.json": b"{}", "tokenizer.json": b"[1]", BIG: CONTENT, "README.md": b"no", "onnx/model.onnx": b"no"}
STAGE = LoadProgress("loading", 2, 7)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between two attempts."""
    monkeypatch.setattr(DownloadProgress, "wait", lambda self, text, seconds: self.begin(text, 0))


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
    assert not list((repo_folder(REPO) / "blobs").glob("*.incomplete"))


def test_what_is_there_is_not_fetched_again(hub: Hub) -> None:
    hub.add(REPO, FILES)
    fetch()
    hub.heal()
    assert fetch().is_dir()
    assert not hub.sent[BIG]


def test_progress_counts_every_byte_of_all_files(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)
    monkeypatch.setattr(traffic, "REPORT_EVERY", 0.0)
    seen: list[LoadProgress] = []
    fetch(report=seen.append)
    assert {(stage.done, stage.total) for stage in seen} == {(2, 7)}
    total = sum(len(FILES[name]) for name in ("config.json", "tokenizer.json", BIG))
    counts = [stage.bytes_done or 0 for stage in seen]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1], seen[-1].bytes_total) == (0, total, total)
    assert f"downloading {REPO} {BIG} (3 of 3)" in {stage.text for stage in seen}


def test_the_time_left_is_that_of_the_recent_rate() -> None:
    seen: list[LoadProgress] = []
    now = [0.0]
    counter = DownloadProgress(seen.append, STAGE, 1_000_000, clock=lambda: now[0])
    counter.begin("a file", 200_000)
    assert seen[-1].seconds_left is None, "nothing is known yet"
    for _ in range(20):  # slowly at first
        now[0] += 1
        counter.add(1_000)
    assert seen[-1].seconds_left == pytest.approx(780_000 / 1_000)
    for _ in range(12):
        now[0] += 1
        counter.add(50_000)
    assert seen[-1].seconds_left == pytest.approx(180_000 / 50_000)
    assert (seen[-1].bytes_done, seen[-1].bytes_total, seen[-1].text) == (820_000, 1_000_000, "a file")
    shown = len(seen)
    counter.add(1)
    assert len(seen) == shown, "no more often than a person can read"


@pytest.mark.parametrize("cuts", [[120_000], [0, 50_000, 1, 77_777]])
def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, cuts: list[int]) -> None:
    hub.add(REPO, FILES)
    hub.cut[BIG] = list(cuts)
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert hub.sent[BIG] == len(CONTENT), "no byte twice"
    ranges = [wanted for _, path, wanted in hub.requests if path.startswith("/store/")]
    assert ranges[-1] == f"bytes={sum(cuts)}-"


def test_another_process_goes_on_where_one_gave_up(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.cut[BIG] = [200_000] + [0] * 20
    said = refusal()
    assert "keeps breaking at 200 KB of 300 KB of model.safetensors" in said
    assert "run again, what has arrived is kept" in said
    assert not cached_file(REPO, BIG)
    hub.cut.clear()
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert hub.sent[BIG] == len(CONTENT)


def test_a_cancelled_download_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(REPO, FILES)

    class Cancelled(BaseException):
        pass

    def report(stage: LoadProgress) -> None:
        if (stage.bytes_done or 0) > 100_000:
            raise Cancelled

    monkeypatch.setattr(traffic, "REPORT_EVERY", 0.0)
    with pytest.raises(Cancelled):
        fetch(report=report)
    (part,) = (repo_folder(REPO) / "blobs").glob("*.incomplete")
    assert part.read_bytes() == CONTENT[: part.stat().st_size]
    assert part.stat().st_size > 90_000
    assert (fetch() / BIG).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_sends_all_of_it(hub: Hub) -> None:
    hub.add(REPO, FILES)
    hub.no_ranges = True
    hub.cut[BIG] = [120_000]
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert hub.sent[BIG] == len(CONTENT) + 120_000


def test_a_busy_server_is_asked_again(hub: Hub) -> None:
    hub.add(REPO, FILES)
    client = Client("--model org/model", lambda _: None, STAGE)
    file = client.locate(REPO, BIG)
    hub.broken = [503, 503]
    assert client.fetch([file])[0].read_bytes() == CONTENT


def test_what_arrives_damaged_never_enters_the_cache(hub: Hub) -> None:
    repo = hub.add(REPO, FILES)
    client = Client(f"--model {REPO}", lambda _: None, STAGE)
    file = client.locate(REPO, BIG)
    repo.files = {**FILES, BIG: CONTENT[:-1] + b"?"}
    hub.requests.clear()
    kept = repo_folder(REPO)
    # The store now holds other bytes of the same length than those the hash was of.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(repo), "commit", file.commit)
        with pytest.raises(UserError, match="arrived damaged and was deleted; run again"):
            client.fetch([file])
    assert not list((kept / "blobs").glob("*"))


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

    monkeypatch.setattr(DownloadProgress, "add", full)
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
    assert "HF_HUB_OFFLINE forbids to fetch it" in said
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

    monkeypatch.setattr(Path, "symlink_to", refuse)
    assert (fetch() / BIG).read_bytes() == CONTENT
    assert not (fetch() / BIG).is_symlink()
