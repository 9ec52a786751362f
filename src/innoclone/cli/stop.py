"""``innoclone stop``: end a clone from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from innoclone.cli.arguments import OutputArgs, expand
from innoclone.commands.options import STOP_TIMEOUT
from innoclone.errors import TargetUnusable

__all__ = ["stop"]


@expand
def stop(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIRECTORY", help="A directory that a clone is made in, or whose data is replaced."),
    ],
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Wait this long for the end.")] = STOP_TIMEOUT,
    output: OutputArgs,
) -> None:
    """End a clone that runs, to go on later.

    The work on the directory is ended in order, as by Ctrl-C; other work of the same process, as an agent's, goes on.
    Where nobody works on it, nothing is done.
    """
    from innoclone.cli.describe import progress_words, resume_words
    from innoclone.commands.inspect import Condition, inspect
    from innoclone.commands.stop import stop as run

    out = output.open()
    directory = directory.absolute()
    stopped = run(directory, timeout=timeout)
    pid = stopped.holder.pid if stopped else None
    if stopped is None:
        out.message(f"no process works on {directory}")
    else:
        out.message(f"{stopped.holder} has ended its work on {directory}")
    found = None
    if stopped is not None and stopped.replacing:
        out.message("the server was left on its old data, unless it was up on the new by then (innoclone history)")
    else:
        try:
            found = inspect(directory)
        except TargetUnusable:
            out.message(f"nothing is left in {directory}")
    if found is None:
        out.result({"directory": str(directory), "stopped": pid, "condition": None})
    else:
        if found.condition is Condition.COMPLETE:
            out.message(f"the clone in {directory} is complete")
        elif found.last:
            out.message(f"it came to {progress_words(found.last)}; {resume_words(found.last, time.time())}")
        out.result(found.fields | {"stopped": pid})
    out.completed()
