"""A mysqld that we start with a keyring: MySQL's component_keyring_file, set up for this one server.

A server looks for the list of its components beside its program file, and the component for its settings among the
plugins (manual, "Keyring Component Installation"). Both are other people's folders: so the server gets folders of its
own, with links to what is there. Nothing of the installation is changed, and whatever it is set up with does not count.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from innoclone.dataclass import dataclass
from innoclone.errors import ServerNotFound, SqlError
from innoclone.files.keyring import COMPONENT, COMPONENT_LIST
from innoclone.files.system import file_error
from innoclone.server.programs import Programs
from innoclone.transport.sql import Sql

__all__ = ["Keyring", "has_component", "has_keyring"]

_PLUGIN_DIR = "--plugin-dir="
_VARIABLE = re.compile(r"^(basedir|plugin-dir) +(\S.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Keyring:
    """A keyring file for a server; with ``read_only`` the server adds no key to it."""

    path: Path
    read_only: bool = True

    def programs(self, programs: Programs, folder: Path) -> Programs:
        """``programs`` with a mysqld that has this keyring; ``folder`` is for the links. Raises `ServerNotFound` where
        the component is missing, a file error."""
        plugins, said = _found(programs)
        settings = {"path": str(self.path), "read_only": self.read_only}
        try:
            ours, program = folder / "plugin", folder / "bin" / "mysqld"
            for made in (ours, program.parent):
                made.mkdir()
                made.chmod(0o755)  # the server may run as another user
            for entry in plugins.iterdir():
                if entry.name != f"{COMPONENT}.cnf":
                    (ours / entry.name).symlink_to(entry)
            (ours / f"{COMPONENT}.cnf").write_text(json.dumps(settings))
            program.symlink_to(os.path.realpath(programs.mysqld[-1]))
            (program.parent / COMPONENT_LIST).write_text(json.dumps({"components": f"file://{COMPONENT}"}))
        except OSError as error:
            raise file_error(error, f"can't set up a keyring in {folder}") from error
        others = [option for option in programs.server_options if not option.startswith(_PLUGIN_DIR)]
        if "basedir" in said:  # the links must not be taken for the installation
            others.append(f"--basedir={said['basedir']}")
        mysqld = (*programs.mysqld[:-1], str(program))
        return replace(programs, mysqld=mysqld, server_options=(*others, f"{_PLUGIN_DIR}{ours}"))


def has_component(programs: Programs) -> bool:
    """Whether a mysqld of ours can have such a keyring."""
    try:
        _found(programs)
    except ServerNotFound:
        return False
    return True


def has_keyring(sql: Sql) -> bool:
    """Whether a server has a keyring component, and so may encrypt. Raises what connections do."""
    with suppress(SqlError):  # one that is too old to have any, or that does not say
        return bool(sql.value("SELECT COUNT(*) FROM performance_schema.keyring_component_status"))
    return False


def _found(programs: Programs) -> tuple[Path, dict[str, str]]:
    """The folder of plugins, and what `_said` had to be asked for. Raises `ServerNotFound`."""
    told = [one.removeprefix(_PLUGIN_DIR) for one in programs.server_options if one.startswith(_PLUGIN_DIR)]
    said = {} if told else _said(programs)
    return _plugins(told[0] if told else said.get("plugin-dir", ""), programs), said


def _said(programs: Programs) -> dict[str, str]:
    """What an installed mysqld takes for the variables that its place decides."""
    command = [*programs.mysqld, "--no-defaults", "--verbose", "--help"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return {name: value.strip() for name, value in _VARIABLE.findall(done.stdout)}


def _plugins(folder: str, programs: Programs) -> Path:
    """The folder of plugins, in which the component must be. Raises `ServerNotFound`."""
    if not folder or not (Path(folder) / f"{COMPONENT}.so").exists():
        raise ServerNotFound(
            f"there is no {COMPONENT} among the plugins of {programs.mysqld[-1]}",
            hint="install MySQL's package with that component, or name another mysqld with --mysqld",
        )
    return Path(folder)
