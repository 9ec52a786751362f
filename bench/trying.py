"""Runs that may fail while the others go on: what failed is said and missing in the medians, nothing else is lost."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import pymysql

from bench.measure import CommandFailed
from bench.others import Company, undisturbed
from innoclone.errors import CloneError

__all__ = ["FAILURES", "Failures", "ratio_of", "save"]

T = TypeVar("T")

FAILURES = (Company, CommandFailed, OSError, subprocess.CalledProcessError, pymysql.MySQLError, CloneError)


class Failures(list[str]):
    """A line for each run that failed."""

    def note(self, what: str, error: BaseException) -> None:
        """Say at once what failed, and keep it."""
        told = getattr(error, "stderr", None) or ""
        self.append(f"{what}: {error} {told[-300:] if isinstance(told, str) else ''}".strip())
        print(f"  FAILED: {self[-1]}", flush=True)

    def undisturbed(self, what: str, run: Callable[[], T], *, insist: bool) -> T | None:
        """What a run returns, as `bench.others.undisturbed`; None where it failed."""
        try:
            return undisturbed(run, insist=insist)[0]
        except FAILURES as error:
            self.note(what, error)
            return None


def ratio_of(found: Sequence[float | None], others: Sequence[float | None]) -> float | None:
    """The median of the rounds' ratios, of those rounds in which neither failed."""
    pairs = [(one, other) for one, other in zip(found, others, strict=True) if one is not None and other is not None]
    return median(one / other for one, other in pairs) if pairs else None


def save(path: Path, results: Any) -> None:
    """Write what there is so far, so that what comes later can lose nothing of it."""
    path.write_text(json.dumps(results, indent=1) + "\n")
