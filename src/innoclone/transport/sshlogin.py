"""How each ssh of one run logs in: somebody who has to type is asked once.

Where nobody can be asked, ssh is told to ask nothing. On a terminal the first ssh may ask. If keys or an agent let the
others in, each has a connection of its own. If not, they come through the first one's (ssh's ControlMaster), by a
socket in a folder of this run that nobody else can look into. Who shares connections by his own configuration is left
to that.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

__all__ = ["SshLogins"]

BATCH = "-oBatchMode=yes"
TYPING = 3.0  # seconds that a login takes in which somebody is asked
ANSWERS_WITHIN = 10.0  # seconds for ssh to read its configuration
LONGEST = 80  # bytes of a socket's path, to which ssh appends 17 for a moment (sun_path has 108)
# What ssh would do where the shared connection takes no more: log in by itself. Nobody types that, so it must not try.
NO_OTHER_WAY = "-oProxyCommand=exit 1"


class SshLogins:
    """Gives ssh's options; for use by many threads."""

    def __init__(self, route: Sequence[str], *, asks: bool) -> None:
        """``route``: what is behind ``ssh`` on its command line, up to the host. ``asks``: there is a terminal."""
        self._route, self._asks = list(route), asks
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._looked = False
        self._firsts = 0
        self.is_shared = False  # the others come through the first one's connection
        self.one_at_a_time = False  # each of them may ask

    def first(self) -> list[str]:
        """For the one that others may come through."""
        if not self._asks:
            return [BATCH]
        with self._lock:
            if not self._looked:
                self._looked, self._folder = True, self._own_folder()
            self._firsts += 1  # one that was killed leaves its socket
            if self._folder is None:
                return []
            return ["-oControlMaster=yes", "-oControlPersist=no", f"-oControlPath={self._folder / str(self._firsts)}"]

    def first_took(self, seconds: float) -> None:
        """So long the first one's login took."""
        if not self._asks or seconds < TYPING:
            return
        with self._lock:
            self.is_shared, self.one_at_a_time = self._folder is not None, self._folder is None

    def other(self) -> list[str]:
        """For any other one."""
        with self._lock:
            if not self._asks:
                return [BATCH]
            if self._folder is None:
                return []
            if not self.is_shared:
                return [BATCH]
            shared = f"-oControlPath={self._folder / str(self._firsts)}"
            return [BATCH, "-oControlMaster=no", shared, NO_OTHER_WAY]

    def share(self) -> bool:
        """One with a connection of its own was not let in: whether the next one may come through the first one's."""
        with self._lock:
            self.is_shared = self._folder is not None
            return self.is_shared

    def close(self) -> None:
        """No ssh is left."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder, self._looked, self.is_shared = None, False, False

    def _own_folder(self) -> Path | None:
        """A new one, of this user alone; none where ssh is configured to share by itself, or can't here."""
        if self._is_configured():
            return None
        with contextlib.suppress(OSError):
            folder = Path(tempfile.mkdtemp(prefix="innoclone-ssh-"))  # mode 0700
            if len(bytes(folder)) < LONGEST and "%" not in str(folder) and " " not in str(folder):
                return folder
            folder.rmdir()
        return None

    def _is_configured(self) -> bool:
        """Whether ssh's configuration names a socket for this host, or can't be asked."""
        try:
            found = subprocess.run(
                ["ssh", "-G", *self._route], stdin=subprocess.DEVNULL, capture_output=True, timeout=ANSWERS_WITHIN,
                check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return True
        for line in found.stdout.decode("utf-8", "replace").splitlines():
            name, _, value = line.partition(" ")
            if name.lower() == "controlpath" and value.strip().lower() != "none":
                return True
        return False
