"""Fetches files of the Hugging Face Hub into its cache, through huggingface_hub.

The library fetches, locks, links and tries again. What is done here: one commit for all files of a revision, room on
the disk before the first byte, one count of bytes over all files, and the hash of each file once it is there.

While the process lives, the library resumes a file whose connection breaks. A later process starts such a file again,
for it is no longer resumed (https://github.com/huggingface/huggingface_hub/pull/4306); finished files stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.hub.explain_error import explain_error, no_room, transport_error
from circuit_tui.core.views import LoadProgress

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PIECE = 1 << 24


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a repository at a commit; `size` in bytes."""

    repo: str
    path: str
    commit: str
    size: int

    @property
    def cached(self) -> Path | None:
        """Where the cache has it, None if it does not."""
        return cached_file(self.repo, self.path, self.commit)


def repo_folder(repo: str) -> Path:
    """Returns where the cache keeps the model repository `repo`."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"


def cached_file(repo: str, path: str, revision: str = "main") -> Path | None:
    """Returns a file of the cache without asking the Hub; None if it is not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, path, revision=revision)
    return Path(found) if isinstance(found, str) else None


def blob_hash(path: Path) -> str:
    """Returns the hash by which the cache names a file that it links to; empty for any other file.

    It is the SHA-256 of a large file and git's hash of another. A file from Xet storage lies where repositories share
    it, under a hash of another kind, and its name in the repository is a second link (huggingface_hub's
    `utils/_shared_blobs.py`). So this takes one step along the links and does not follow them to the end.
    """
    target = Path(os.readlink(path)) if path.is_symlink() else path
    return target.name if target.parent.name == "blobs" and _HASH.fullmatch(target.name) else ""


def is_commit(revision: str) -> bool:
    """Whether a revision is a commit, not a branch or tag that may move."""
    return _COMMIT.fullmatch(revision) is not None


class HubClient:
    """Fetches files for one `flag` (what the user asked for, for messages), reporting as `stage`."""

    def __init__(self, flag: str, report: Callable[[LoadProgress], None], stage: LoadProgress) -> None:
        self.flag, self._report, self._stage = flag, report, stage
        self._commits: dict[tuple[str, str], str] = {}

    def commit(self, repo: str, revision: str = "main") -> str:
        """Returns the commit of a branch, tag or commit: the Hub's answer, or else the last one the cache knows.

        Raises:
            UserError: neither knows one.
        """
        key = (repo, revision)
        if key not in self._commits:
            self._commits[key] = self._resolve(repo, revision)
        return self._commits[key]

    def locate(self, repo: str, path: str, revision: str = "main") -> HubFile:
        """Finds a file in the cache, or else asks the Hub about it.

        Raises:
            huggingface_hub.errors.EntryNotFoundError: the repository has no such file.
            UserError: the repository or the Hub cannot be read, and the file is not in the cache.
        """
        from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

        commit = self.commit(repo, revision)
        if (here := cached_file(repo, path, commit)) is not None:
            return HubFile(repo, path, commit, here.stat().st_size)
        try:
            found = get_hf_file_metadata(hf_hub_url(repo, path, revision=commit))
        except errors.RemoteEntryNotFoundError:
            raise
        except (OSError, transport_error()) as error:
            explained = explain_error(error, self.flag, repo)
            if repo_folder(repo).is_dir() and not isinstance(error, errors.HfHubHTTPError):
                # The Hub cannot be asked, but an optional file of a fetched repository may rightly be absent.
                raise errors.LocalEntryNotFoundError(str(explained)) from error
            raise explained from error
        if found.size is None:
            raise UserError(f"{self.flag}: the answer for {path} has no size; check HF_ENDPOINT")
        return HubFile(repo, path, commit, found.size)

    def get(self, repo: str, path: str, revision: str = "main") -> Path:
        """Returns one file, fetched if need be. Raises as `locate` and `fetch` do."""
        return self.fetch([self.locate(repo, path, revision)])[0]

    def fetch(self, files: Sequence[HubFile]) -> list[Path]:
        """Fetches what the cache lacks of `files` and returns where all of them lie.

        Raises:
            UserError: no room, no access, or the connection stays down; finished files stay for the next time.
        """
        paths = {file: file.cached for file in files}
        missing = [file for file, path in paths.items() if path is None]
        if missing:
            self._check_room(missing)
            progress = DownloadProgress(self._report, self._stage, sum(file.size for file in missing))
            for number, file in enumerate(missing, 1):
                count = f" ({number} of {len(missing)})" if len(missing) > 1 else ""
                progress.begin(f"downloading {file.repo} {file.path}{count}", file.size)
                paths[file] = self._fetch_one(file, progress)
        return [path for path in (paths[file] for file in files) if path is not None]

    def _resolve(self, repo: str, revision: str) -> str:
        from huggingface_hub import HfApi, constants, errors

        api = HfApi()
        try:
            # This also stores the commit in the cache, where it is found without a network.
            offline = constants.HF_HUB_OFFLINE
            return str(api.resolve_revision(repo, revision=revision, local_files_only=offline).resolved)
        except (errors.RevisionResolutionError, OSError, transport_error(), ValueError) as error:
            with contextlib.suppress(errors.RevisionResolutionError, ValueError):
                return str(api.resolve_revision(repo, revision=revision, local_files_only=True).resolved)
            raise explain_error(error, self.flag, repo) from error

    def _check_room(self, files: Sequence[HubFile]) -> None:
        needed = sum(file.size for file in files)
        folder = repo_folder(files[0].repo)
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise no_room(self.flag, needed, free)

    def _fetch_one(self, file: HubFile, progress: DownloadProgress) -> Path:
        from huggingface_hub import hf_hub_download

        bar: Any = progress.bar()
        try:
            with _retries_told(progress):
                path = Path(hf_hub_download(file.repo, file.path, revision=file.commit, tqdm_class=bar))
        # hf_xet raises RuntimeError, also when it was made to end.
        except (OSError, transport_error(), RuntimeError, ValueError) as error:
            progress.check_cancelled()
            raise explain_error(error, self.flag, file.repo, file.path) from error
        progress.check_cancelled()
        self._check_hash(file, path, progress)
        return path

    def _check_hash(self, file: HubFile, path: Path, progress: DownloadProgress) -> None:
        """Compares a file with the hash that the cache names it by, before anybody uses it."""
        if not _agrees(path, blob_hash(path), lambda: progress.notice("checking")):
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            raise UserError(f"{self.flag}: {file.path} of {file.repo} arrived damaged and was deleted; run again")


def listed_file(repo: str, commit: str, entry: Any) -> HubFile:
    """Returns the file that an entry of a repository's listing (with metadata) describes."""
    return HubFile(repo, entry.rfilename, commit, int(entry.size or 0))


@contextlib.contextmanager
def _retries_told(progress: DownloadProgress) -> Iterator[None]:
    """Turns the library's log lines about a broken connection, which a full screen would hide, into progress."""

    def told(record: logging.LogRecord) -> bool:
        if "Trying to resume" not in str(record.msg):
            return True
        progress.notice("connection lost, trying again")
        return False

    log = logging.getLogger("huggingface_hub.file_download")
    log.addFilter(told)
    try:
        yield
    finally:
        log.removeFilter(told)


def _agrees(path: Path, expected: str, step: Callable[[], None]) -> bool:
    """Whether a file has the hash `expected`: SHA-256 of large files, git's hash of a blob of others.

    A name that is neither proves nothing and is taken as it is. `step` is called now and then.
    """
    if _SHA256.fullmatch(expected):
        digest: Any = hashlib.sha256()
    elif _COMMIT.fullmatch(expected):
        digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        return True
    with path.open("rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
            step()
    return bool(digest.hexdigest() == expected)
