"""System variables: every clone_* of the real plugin with its default, range and messages, ours, and those that clients
ask for when they connect.

E2 of the guide: ``clone_max_*_bandwidth`` is in MiB/s up to 1048576, as MySQL's; a larger number is bytes per second.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.statements import ResetPersist, Setting
from innoclone.agent.variables.donorlist import check_list
from innoclone.agent.variables.kinds import Choice, Content, Definition, Note, Number, Switch, Text
from innoclone.errors import FileError
from innoclone.files.replacefile import replace_file
from innoclone.files.system import file_error

__all__ = ["CLONE_VARIABLES", "Variables", "bandwidth"]

NAME, UNINSTALLED, INSTALLED = "variables.json", "clone-uninstalled", "clone-installed"
MIB = 1 << 20
LARGEST_MIB = 1 << 20  # MiB/s: what the real variables allow


@dataclass(frozen=True)
class Bandwidth(Number):
    """MiB/s, or bytes per second."""

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises error 1232."""
        taken, notes = Number(0, 0, LARGEST_MIB * MIB).read(name, setting)
        if isinstance(taken, int) and taken > LARGEST_MIB:
            notes.append(("Note", 1105, f"{name}: {taken} is above {LARGEST_MIB} and taken as bytes per second"))
        return taken, notes


CLONE_VARIABLES: dict[str, Definition] = {
    "clone_autotune_concurrency": Switch(True),
    "clone_block_ddl": Switch(False),
    "clone_boot": Switch(False),  # ours: start a mysqld on each clone, for its recovery and binlog position
    "clone_buffer_size": Number(4 << 20, 1 << 20, 256 << 20, 1 << 20),
    "clone_ddl_timeout": Number(300, 0, 2592000),
    "clone_delay_after_data_drop": Number(0, 0, 3600),
    "clone_discard_changes": Switch(False),  # ours: update a clone on which a server has run
    "clone_donor_timeout_after_network_failure": Number(5, 0, 30),
    "clone_enable_compression": Switch(False),
    "clone_error_numbering": Choice("mysql", ("mysql", "guide")),  # ours: the guide's own numbers
    "clone_get_server_public_key": Switch(False),  # ours: REQUIRE NO SSL takes the RSA key that the donor sends
    "clone_incremental": Choice("AUTO", ("AUTO", "OFF", "REQUIRE")),  # ours: take only what an earlier clone lacks
    "clone_keep_old_data": Switch(False),  # ours: what a managed server's data was, beside it
    "clone_max_concurrency": Number(16, 1, 128),
    "clone_max_data_bandwidth": Bandwidth(0, 0, LARGEST_MIB),
    "clone_max_network_bandwidth": Bandwidth(0, 0, LARGEST_MIB),
    "clone_resume_on_start": Switch(False),  # ours: go on with a clone that the agent's end cut off
    "clone_server_public_key_path": Text(),  # ours: the donor's RSA key for REQUIRE NO SSL
    "clone_ssl_ca": Text(),
    "clone_ssl_cert": Text(),
    "clone_ssl_key": Text(),
    "clone_status_history": Switch(True),  # ours: OFF: clone_status has the last clone alone, as the plugin's
    "clone_valid_donor_list": Text(check=check_list),
}

DEFAULTS: dict[str, Content] = {name: kind.default for name, kind in CLONE_VARIABLES.items()}


def bandwidth(value: Content) -> float:
    """A bandwidth variable's content in MiB/s."""
    number = int(value or 0)
    return number if number <= LARGEST_MIB else number / MIB


class Variables:
    """The global values. ``fixed`` are those that can't be set. PERSIST keeps values over a restart."""

    def __init__(self, folder: Path, fixed: Mapping[str, Content]) -> None:
        """Raises a file error."""
        self._path, self.fixed = folder / NAME, dict(fixed)
        self.on_change: Callable[[str], None] = lambda _: None  # called with the name of each variable that was set
        self._lock = threading.Lock()
        self._persisted = _read(self._path)
        self._values = DEFAULTS | self._persisted
        self._uninstalled, self._installed = folder / UNINSTALLED, folder / INSTALLED

    @property
    def installed(self) -> bool:
        """Whether the plugin ``clone`` is there; UNINSTALL PLUGIN is remembered over a restart, as by a server."""
        return not self._uninstalled.exists()

    def install(self, *, there: bool) -> bool:
        """INSTALL or UNINSTALL PLUGIN; False for an INSTALL after an INSTALL.

        A new agent can clone at once, and the first INSTALL succeeds all the same, as on a new server. After an
        UNINSTALL the variables begin with their defaults. Raises a file error.
        """
        was_there = self.installed
        if there and was_there and self._installed.exists():
            return False
        present, absent = (self._installed, self._uninstalled) if there else (self._uninstalled, self._installed)
        try:
            present.touch(mode=0o600)
            absent.unlink(missing_ok=True)
        except OSError as error:
            raise file_error(error, f"can't write {present}") from error
        if there and not was_there:
            with self._lock:
                self._values = dict(DEFAULTS)  # what is persisted waits for the next start, as in a server
        return True

    def __getitem__(self, name: str) -> Content:
        """A clone variable's value."""
        return self._values[name]

    def number(self, name: str) -> int:
        """A number's value."""
        return int(self._values[name] or 0)

    def text(self, name: str) -> str:
        """A text's value, empty for NULL."""
        return str(self._values[name] or "")

    @property
    def guide_numbers(self) -> bool:
        """Whether errors have the guide's own numbers."""
        return self["clone_error_numbering"] == "guide"

    @property
    def shows_history(self) -> bool:
        """Whether clone_status has all clones, each with a number of its own."""
        return bool(self["clone_status_history"])

    def all(self) -> dict[str, Content]:
        """Everything that SHOW GLOBAL VARIABLES shows, by name."""
        return dict(sorted((self.fixed | (self._values if self.installed else {})).items()))

    def persisted(self) -> dict[str, Content]:
        """What SET PERSIST and PERSIST_ONLY keep."""
        return dict(self._persisted)

    def reset(self, statement: ResetPersist) -> list[Note]:
        """RESET PERSIST: forget what is kept; values stay as they are. Raises error 3615, a file error."""
        with self._lock:
            if statement.name is not None and statement.name not in self._persisted:
                missing = StatementError(3615, statement.name)
                if not statement.if_exists:
                    raise missing
                return [("Warning", missing.code, missing.message)]
            left = {name: value for name, value in self._persisted.items() if statement.name not in (None, name)}
            _write(self._path, left)
            self._persisted = left
        return []

    def knows(self, name: str) -> bool:
        """Whether there is such a variable."""
        return name in self.fixed or (name in CLONE_VARIABLES and self.installed)

    def read(self, setting: Setting) -> tuple[Content, list[Note]]:
        """The value that SET GLOBAL, PERSIST or PERSIST_ONLY would set. Raises 1193, 1229, 1231, 1232, 3869."""
        name = setting.name
        if not self.knows(name):
            raise StatementError(1193, name)
        if setting.scope == "session":
            raise StatementError(1229, name)
        kind = CLONE_VARIABLES[name]
        return (kind.default, []) if setting.is_default else kind.read(name, setting)

    def set(self, setting: Setting, value: Content) -> None:
        """Set what `read` gave. Raises a file error."""
        name = setting.name
        with self._lock:
            if setting.scope in ("persist", "persist_only"):
                persisted = self._persisted | {name: value}
                _write(self._path, persisted)
                self._persisted = persisted
            if setting.scope != "persist_only":
                self._values[name] = value
        if setting.scope != "persist_only":
            self.on_change(name)


def _read(path: Path) -> dict[str, Content]:
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise file_error(error, f"can't read {path}") from error
    except ValueError as error:
        raise FileError(f"{path} is damaged: {error}", hint="remove it: persisted variables are lost") from error
    return {name: value for name, value in content.items() if name in CLONE_VARIABLES}


def _write(path: Path, values: Mapping[str, Content]) -> None:
    replace_file(path, json.dumps(values, indent=1) + "\n")
