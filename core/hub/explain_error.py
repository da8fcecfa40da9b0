"""Explains errors of the Hub, each in one line that says what to do."""

from __future__ import annotations

import errno

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.sizes import size_text

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_KEPT = "finished files stay, one that broke off starts again"


def explain_error(error: Exception, flag: str, repo: str, file: str = "") -> UserError:
    """Returns the `UserError` for what huggingface_hub raised while `flag` (``--model gpt2``) was fetched from `repo`.

    `file` is the path of the file that was being downloaded, if one was. A `UserError` is returned as it is. Nothing is
    looked up: the line is made of the error, the endpoint and the cache.
    """
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError | errors.RevisionResolutionError):
        # Neither in the cache nor to be had from the Hub; the cause says why not.
        cause = error.__cause__
        error = cause if isinstance(cause, Exception) else errors.OfflineModeIsEnabled()
    if isinstance(error, UserError):
        return error
    endpoint = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        return UserError(
            f"{flag}: {repo} is gated; accept its terms at {endpoint}/{repo} "
            "and set HF_TOKEN to a token of that account"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return UserError(f"{flag}: {repo} has no such revision; it may have been deleted")
    if isinstance(error, errors.RepositoryNotFoundError):
        return UserError(
            f"{flag}: there is no {repo} at {endpoint}, or it is private; check the name, "
            "and for a private one set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return UserError(f"{flag}: {repo} has no such file ({_path(error)}): its layout is not the one expected")
    if isinstance(error, errors.HfHubHTTPError):
        return _by_status(error, flag, repo, endpoint)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return UserError(
            f"{flag}: {repo} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids fetching it; "
            "unset that, or copy the cache of a machine that has it and point HF_HOME there"
        )
    if isinstance(error, errors.FileMetadataError):
        return UserError(f"{flag}: {_reason(error)}")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return UserError(
            f"{flag}: the disk of {constants.HF_HUB_CACHE} is full; free some room or set HF_HOME to a larger disk, "
            f"then run again: {_KEPT}"
        )
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
        return UserError(
            f"{flag}: cannot write to the cache {constants.HF_HUB_CACHE}; set HF_HOME to a folder of yours"
        )
    if file:
        return UserError(f"{flag}: the download of {file} from {repo} broke off ({_reason(error)}); run again: {_KEPT}")
    if isinstance(error, transport_error() | OSError):
        return UserError(
            f"{flag}: cannot reach {endpoint} ({_reason(error)}); check the network, or HF_ENDPOINT for a mirror"
        )
    return UserError(f"{flag}: cannot be fetched from {repo}: {_reason(error)}")


def transport_error() -> type[Exception]:
    """Returns the base class of what the Hub's HTTP library raises; its versions use different libraries."""
    from huggingface_hub.errors import HfHubHTTPError

    base: type[Exception] = HfHubHTTPError.__bases__[0]
    return base


def no_room(flag: str, needed: int, free: int) -> UserError:
    """Returns the `UserError` for a download of `needed` bytes where `free` bytes are left."""
    from huggingface_hub import constants

    return UserError(
        f"{flag}: {size_text(needed)} are to be downloaded, but the disk of {constants.HF_HUB_CACHE} has "
        f"{size_text(free)} free; make room or set HF_HOME to a larger disk"
    )


def _by_status(error: Exception, flag: str, repo: str, endpoint: str) -> UserError:
    status = int(getattr(getattr(error, "response", None), "status_code", 0))
    if status == 401:
        return UserError(f"{flag}: {endpoint} refuses the token; set HF_TOKEN to a valid one, or unset it")
    if status == 403:
        return UserError(f"{flag}: the token may not read {repo}; ask for access at {endpoint}/{repo}")
    if status == 429:
        return UserError(f"{flag}: {endpoint} has had too many requests; wait a few minutes, or set HF_TOKEN")
    if status >= 500:
        return UserError(f"{flag}: {endpoint} fails with status {status}; try again later")
    return UserError(f"{flag}: cannot be fetched from {repo}: {_reason(error)}")


def _path(error: Exception) -> str:
    url = getattr(getattr(getattr(error, "response", None), "request", None), "url", "")
    return str(url).rpartition("/resolve/")[2].partition("/")[2] or "unnamed"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split("\n", 1)[0].split()) or type(error).__name__
