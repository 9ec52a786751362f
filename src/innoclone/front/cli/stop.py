"""``innoclone stop``: end a clone from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from innoclone.errors import TargetUnusable
from innoclone.front.cli.common import OutputArgs, expand
from innoclone.operation.options import STOP_TIMEOUT

__all__ = ["stop"]


@expand
def stop(
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="A directory that a clone is made in.")],
    *,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait this long for the process to end.")
    ] = STOP_TIMEOUT,
    output: OutputArgs,
) -> None:
    """End a clone that runs, to go on later.

    The process that works on the directory is ended in order, as by Ctrl-C. Where there is none, nothing is done.
    """
    from innoclone.front.describe import progress_words, resume_words
    from innoclone.operation.inspect import Condition, inspect
    from innoclone.operation.steer import stop as run

    out = output.open()
    directory = directory.absolute()
    holder = run(directory, timeout=timeout)
    if holder is None:
        out.message(f"no process works on {directory}")
    else:
        out.message(f"{holder} has ended")
    try:
        found = inspect(directory)
    except TargetUnusable:
        out.message(f"nothing is left in {directory}")
        out.result({"directory": str(directory), "stopped": holder.pid if holder else None, "condition": None})
        out.completed()
        return
    if found.condition is Condition.COMPLETE:
        out.message(f"the clone in {directory} is complete")
    elif found.last:
        out.message(f"it came to {progress_words(found.last)}; {resume_words(found.last, time.time())}")
    out.result(found.fields | {"stopped": holder.pid if holder else None})
    out.completed()
