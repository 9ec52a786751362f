"""New data for a managed server is tried out by a private mysqld, before that server is stopped.

What can't be tried out is an error, and where that can be known beforehand, before anything is copied.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from innoclone.errors import AccessDenied, CloneError, PrivilegeMissing, ServerNotFound, TargetUnusable
from innoclone.records.managedserver import Managed
from innoclone.server.cloned import Visit, run_as
from innoclone.server.managedfacts import account_words, ask
from innoclone.server.mysqld import Server
from innoclone.server.programs import find_programs
from innoclone.transport.endpoint import Endpoint

__all__ = ["account_visit", "check_trial"]

LEFT_OUT = "trial = false in the configuration leaves the trial out"


def check_trial(managed: Managed, version: str, data: Path, folder: Path) -> None:
    """Whether there is a mysqld that can try out new data in ``folder``, as the owner of ``data``.

    It must be of the server's ``version``: an older or a newer one could leave what the server refuses. Raises
    `ServerNotFound`, `BootFailed`, `TargetUnusable`.
    """
    try:
        programs = find_programs(managed.mysqld)
    except ServerNotFound as error:
        raise ServerNotFound(
            f"there is no mysqld that new data could be tried out with: {error.message}",
            hint=f"name the managed server's own with mysqld in the configuration; {LEFT_OUT}",
        ) from error
    if not re.match(rf"{re.escape(programs.version)}(?!\d)", version):
        raise ServerNotFound(
            f"new data can't be tried out: the managed server is MySQL {version}, {programs.mysqld[-1]} is"
            f" {programs.version}",
            hint=f"name the managed server's own mysqld in the configuration; {LEFT_OUT}",
        )
    _refuse_unreachable(folder, run_as(data, programs))


def _refuse_unreachable(folder: Path, user: tuple[int, int] | None) -> None:
    """Whether mysqld can pass through to the new data, as that user, or, without one, as ourselves."""
    whom: dict[str, Any] = {} if user is None else {"user": user[0], "group": user[1], "extra_groups": []}
    passes = ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)]  # subprocess's own cwd is taken before the user is
    if subprocess.run(passes, stderr=subprocess.DEVNULL, check=False, **whom).returncode:
        raise TargetUnusable(
            f"new data can't be tried out: the owner of the data (user id {user[0] if user else os.geteuid()}) can't"
            f" reach {folder}",
            hint=f"let that user pass through (chmod o+x) each directory above; {LEFT_OUT}",
        )


def account_visit(managed: Managed, variables: Mapping[str, str]) -> Visit:
    """A look at new data that also asks whether the account that the managed server is asked with will do there.

    The private server has its accounts then, is reached on the same way as the managed one, whose ``variables`` these
    are, and is asked the same. The visit raises `AccessDenied` or `PrivilegeMissing`.
    """
    endpoint = managed.endpoint
    options = ["--super-read-only=ON"]  # whoever else gets in changes nothing
    if endpoint.socket is None:  # the account's host depends on the address and on what the server makes of it
        options += [f"--bind-address={endpoint.host}", f"--skip-name-resolve={variables['skip_name_resolve']}"]
        for name in ("ssl_ca", "ssl_cert", "ssl_key"):
            if value := variables.get(name):
                options.append(f"--{name.replace('_', '-')}={Path(variables['datadir']) / value}")
    return Visit(True, None if endpoint.socket else 0, tuple(options), lambda server: _ask(endpoint, server))


def _ask(endpoint: Endpoint, server: Server) -> None:
    there = replace(endpoint, socket=server.socket) if endpoint.socket else replace(endpoint, port=server.port)
    try:
        ask(there)
    except CloneError as error:
        kind = PrivilegeMissing if isinstance(error, PrivilegeMissing) else AccessDenied
        raise kind(
            f"the account {endpoint.user}, which the managed server is asked with, does not do on the donor's data:"
            f" {error.message}",
            hint=f"on the donor: {account_words(endpoint)}; the managed server was left as it is",
        ) from error
