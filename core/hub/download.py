"""Fetches files into the Hugging Face cache, in the cache's own layout.

The Hub's client begins a file anew in every process, so a cut of the line late in a large file costs all of it. Here
what has arrived stays beside the blob as ``ETAG.incomplete`` and the next attempt, in this process or another, asks
for the rest. A finished file is compared with its hash before it enters the cache: SHA-256 where the Hub keeps
large files under that, git's blob hash otherwise.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.hub.explain_error import explain_error, no_room, transport_error
from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.views import LoadProgress

ATTEMPTS = 5
"""Breaks in a row, without a byte between them, after which a download gives up."""
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository at `commit`, which is where `revision` (a branch, tag or commit) is now.

    `etag` is its hash; `size` in bytes; `cached` where it lies, if it does.
    """

    repo: str
    path: str
    revision: str
    commit: str
    etag: str
    size: int
    cached: Path | None

    @property
    def folder(self) -> Path:
        """The repository's folder in the cache."""
        return repo_folder(self.repo)


def repo_folder(repo: str) -> Path:
    """Where the cache keeps the model repository `repo`."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def cached_file(repo: str, path: str, revision: str = "main") -> Path | None:
    """A file of the cache, without asking the Hub; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, path, revision=revision)
    return Path(found) if isinstance(found, str) else None


class Hub:
    """Fetches files for one `flag` (what the user asked for, for messages), reporting as `stage`."""

    def __init__(self, flag: str, report: Callable[[LoadProgress], None], stage: LoadProgress) -> None:
        self.flag, self._report, self._stage = flag, report, stage
        self._located: dict[tuple[str, str, str], HubFile] = {}

    def locate(self, repo: str, path: str, revision: str = "main") -> HubFile:
        """Asks the Hub about a file; if the Hub cannot be asked, the cache.

        Raises:
            huggingface_hub.errors.EntryNotFoundError: the repository has no such file.
            UserError: the repository or the Hub cannot be read, and the file is not in the cache.
        """
        key = (repo, path, revision)
        if key not in self._located:
            self._located[key] = self._locate(repo, path, revision)
        return self._located[key]

    def get(self, repo: str, path: str, revision: str = "main") -> Path:
        """One file, fetched if need be. Raises as `locate` and `fetch` do."""
        return self.fetch([self.locate(repo, path, revision)])[0]

    def fetch(self, files: Sequence[HubFile]) -> list[Path]:
        """Fetches what the cache lacks of `files` and returns where all of them lie.

        Raises:
            UserError: no room, no access, or the line stays down; what has arrived is kept for the next time.
        """
        missing = [file for file in files if file.cached is None and not _snapshot_path(file).is_file()]
        if missing:
            total = sum(file.size for file in missing)
            self._check_room(missing)
            traffic = DownloadProgress(self._report, self._stage, total)
            for number, file in enumerate(missing, 1):
                count = f" ({number} of {len(missing)})" if len(missing) > 1 else ""
                self._fetch_one(file, f"downloading {file.repo} {file.path}{count}", traffic)
        for file in files:
            if file.cached is None:
                _note_revision(file)
        return [file.cached or _snapshot_path(file) for file in files]

    def _locate(self, repo: str, path: str, revision: str) -> HubFile:
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        if is_commit(revision) and (here := cached_file(repo, path, revision)) is not None:
            return _cached(repo, path, revision, here)  # a commit never changes
        try:
            found = get_hf_file_metadata(hf_hub_url(repo, path, revision=revision))
            if found.commit_hash is None or found.etag is None or found.size is None:
                raise UserError(
                    f"{self.flag}: the answer for {path} is not that of a Hub (no commit, hash or size); "
                    "check HF_ENDPOINT"
                )
            return _file(repo, path, revision, found.commit_hash, found.etag, found.size)
        except errors.RemoteEntryNotFoundError:
            raise
        except (OSError, transport_error(), errors.OfflineModeIsEnabled) as error:
            here = cached_file(repo, path, revision)
            if here is None:
                if repo_folder(repo).is_dir() and not isinstance(error, errors.HfHubHTTPError):
                    # The Hub cannot be asked; an optional file of a repository that was fetched is rightly absent.
                    raise errors.LocalEntryNotFoundError(str(explain_error(error, self.flag, repo))) from error
                raise explain_error(error, self.flag, repo) from error
            return _cached(repo, path, revision, here)

    def _check_room(self, files: Sequence[HubFile]) -> None:
        needed = sum(file.size - _size(_part(file)) for file in files)
        folder = files[0].folder
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise no_room(self.flag, needed, free)

    def _fetch_one(self, file: HubFile, text: str, traffic: DownloadProgress) -> None:
        from huggingface_hub.utils import WeakFileLock

        part, blob = _part(file), file.folder / "blobs" / file.etag
        lock = file.folder.parent / ".locks" / file.folder.name / f"{file.etag}.lock"
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            lock.parent.mkdir(parents=True, exist_ok=True)
            with WeakFileLock(lock):
                if not blob.is_file():
                    if _size(part) > file.size:
                        part.unlink()
                    traffic.begin(text, _size(part))
                    self._stream(file, part, text, traffic)
                    self._check_hash(file, part)
                    os.replace(part, blob)
                _link(blob, _snapshot_path(file))
        except (OSError, transport_error()) as error:
            raise explain_error(error, self.flag, file.repo) from error

    def _stream(self, file: HubFile, part: Path, text: str, traffic: DownloadProgress) -> None:
        """Appends to `part` until it is whole, over any number of connections."""
        breaks = 0
        part.touch()
        while _size(part) < file.size:
            before = _size(part)
            try:
                self._receive(file, part, traffic)
                problem: Exception = OSError("the file ended too early")
            except (OSError, transport_error()) as error:
                if not _passes(error):
                    raise
                problem = error
            if _size(part) >= file.size:
                return
            breaks = 1 if _size(part) > before else breaks + 1
            if breaks > ATTEMPTS:
                raise UserError(
                    f"{self.flag}: the connection keeps breaking at {size_text(_size(part))} of "
                    f"{size_text(file.size)} of {file.path} ({_first_line(problem)}); run again, "
                    "what has arrived is kept"
                )
            traffic.wait(f"connection lost, trying again: {text}", 0.25 * 2**breaks)

    def _receive(self, file: HubFile, part: Path, traffic: DownloadProgress) -> None:
        from huggingface_hub import constants, get_session, hf_hub_url
        from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

        have = _size(part)
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        url = hf_hub_url(file.repo, file.path, revision=file.commit)
        timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
        # The session drops the token by itself where it is sent on to another host.
        with get_session().stream("GET", url, headers=headers, timeout=timeout, follow_redirects=True) as response:
            hf_raise_for_status(response)
            with part.open("ab") as stream:
                if have and response.status_code != 206:
                    stream.truncate(0)  # a server that cannot resume sends all of it
                    traffic.add(-have)
                for (
                    chunk
                ) in response.iter_bytes():  # as they come: what is held back to fill a piece is lost in a break
                    stream.write(chunk)
                    traffic.add(len(chunk))

    def _check_hash(self, file: HubFile, part: Path) -> None:
        if _size(part) == file.size and _hash_agrees(part, file.etag):
            return
        part.unlink(missing_ok=True)
        raise UserError(f"{self.flag}: {file.path} of {file.repo} arrived damaged and was deleted; run again")


def listed_file(repo: str, revision: str, commit: str, entry: Any) -> HubFile:
    """The file that one entry of a repository's listing (with metadata) describes."""
    etag = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
    return _file(repo, entry.rfilename, revision, commit, str(etag), int(entry.size or 0))


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, not a branch or tag that may move."""
    return _COMMIT.fullmatch(revision) is not None


def _file(repo: str, path: str, revision: str, commit: str, etag: str, size: int) -> HubFile:
    file = HubFile(repo, path, revision, commit, etag, size, None)
    here = _snapshot_path(file)
    return replace(file, cached=here) if here.is_file() else file


def _cached(repo: str, path: str, revision: str, here: Path) -> HubFile:
    commit = here.parents[path.count("/")].name
    return HubFile(repo, path, revision, commit, here.resolve().name, here.stat().st_size, here)


def _snapshot_path(file: HubFile) -> Path:
    return file.folder / "snapshots" / file.commit / file.path


def _part(file: HubFile) -> Path:
    return file.folder / "blobs" / f"{file.etag}.incomplete"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _link(blob: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(os.path.relpath(blob, link.parent))
    except OSError:  # a file system without links: the cache then holds the file itself
        shutil.copyfile(blob, link)


def _note_revision(file: HubFile) -> None:
    """Remembers which commit a branch was at, for the day there is no network."""
    if not is_commit(file.revision):
        note = file.folder / "refs" / file.revision
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(file.commit)


def _hash_agrees(path: Path, etag: str) -> bool:
    """Whether a file is what its hash says; a hash of no known kind proves nothing and is taken as it is."""
    if _SHA256.fullmatch(etag):
        digest: Any = hashlib.sha256()
    elif _COMMIT.fullmatch(etag):
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return True
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return bool(digest.hexdigest() == etag)


def _passes(error: Exception) -> bool:
    """Whether trying again may help: a line that broke, or a server that is busy."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if isinstance(error, HfHubHTTPError):
        status = int(getattr(error.response, "status_code", 0))
        return status in (408, 425, 429) or status >= 500
    local = isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError)
    return not local and not isinstance(error, OfflineModeIsEnabled)


def _first_line(error: Exception) -> str:
    with contextlib.suppress(IndexError):
        return str(error).strip().splitlines()[0]
    return type(error).__name__
