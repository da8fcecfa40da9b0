"""The logger for what the user must know while work goes on: the command line and the explorer show its lines."""

from __future__ import annotations

import logging

user_log = logging.getLogger("circuit_tui.user")
