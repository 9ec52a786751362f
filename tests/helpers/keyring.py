"""A mysqld with a keyring: MySQL's own component_keyring_file, set up beside the installed files."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clones import rows
from innoclone.sandbox.server import DONOR_OPTIONS
from innoclone.server.mysqld import Server
from innoclone.server.programs import Programs

__all__ = ["restarted_with_keyring"]


@contextmanager
def restarted_with_keyring(programs: Programs, server: Server, folder: Path) -> Iterator[Server]:
    """A donor, ended and started anew with a keyring; ``folder`` gets the keys.

    A server looks for the list of components beside its own program file, and the component for its settings in the
    plugin directory (manual, "Keyring Component Installation"), so both get a folder of links.
    """
    plugins = folder / "plugin"
    plugins.mkdir()
    for file in Path(str(rows(server, "SELECT @@plugin_dir")[0][0])).iterdir():
        (plugins / file.name).symlink_to(file)
    (folder / "mysqld").symlink_to(programs.mysqld[-1])
    (folder / "mysqld.my").write_text(json.dumps({"components": "file://component_keyring_file"}))
    settings = {"path": str(folder / "keys"), "read_only": False}
    (plugins / "component_keyring_file.cnf").write_text(json.dumps(settings))
    options = (*programs.server_options, f"--plugin-dir={plugins}")
    with_keyring = dataclasses.replace(
        programs, mysqld=(*programs.mysqld[:-1], str(folder / "mysqld")), server_options=options
    )
    server.stop()
    with restarted(with_keyring, server) as again:
        assert rows(again, "SELECT 1 FROM performance_schema.keyring_component_status")
        yield again


@contextmanager
def restarted(programs: Programs, server: Server) -> Iterator[Server]:
    """A donor that has ended, started anew; its log goes on in the same file."""
    again = Server.start(
        programs, server.datadir, port=0, options=[*DONOR_OPTIONS, "--server-id=99"], error_log=server.error_log
    )
    try:
        yield again
    finally:
        again.kill()
