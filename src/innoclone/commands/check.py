"""The checks of a clone without the clone."""

from __future__ import annotations

from innoclone.commands.destination import check_place
from innoclone.commands.options import CheckOptions
from innoclone.server import preflight
from innoclone.server.programs import find_programs

__all__ = ["check"]


def check(options: CheckOptions) -> preflight.DonorFacts:
    """Look at the donor, and at the directory if one is named; problems are in the result.

    Raises a `CloneError` only if the login fails, since nothing can be seen then, if ``mysqld`` can't be used, or if no
    clone may ever be where ``directory`` is.
    """
    if options.directory is not None:
        check_place(options.directory)
    local = find_programs(options.mysqld) if options.mysqld is not None else None
    return preflight.check(
        options.donor,
        options.directory,
        mapping=options.map_paths,
        install_plugin=options.install_plugin,
        dry_run=True,
        local=local,
    )
