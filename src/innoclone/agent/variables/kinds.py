"""Kinds of system variables: what a value may be, and what MySQL says about one that is not right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from innoclone.agent.faults import StatementError
from innoclone.agent.sql.statements import Setting

__all__ = ["LARGEST", "Choice", "Content", "Definition", "Note", "Number", "Switch", "Text", "whole"]

SMALLEST, LARGEST = -(1 << 63), (1 << 64) - 1
Note = tuple[str, int, str]  # level, number, message of SHOW WARNINGS
Content = str | int | bool | None


def whole(name: str, setting: Setting) -> None:
    """Raises error 1232 for a number that is none of 64 bits."""
    too_large = isinstance(setting.value, int) and not SMALLEST <= setting.value <= LARGEST
    if setting.is_number_with_point or too_large:
        raise StatementError(1232, name)


@dataclass(frozen=True)
class Switch:
    """ON or OFF."""

    default: bool

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises error 1231."""
        given = setting.value
        whole(name, setting)
        if isinstance(given, str) and given.upper() in ("ON", "OFF", "TRUE", "FALSE"):
            return given.upper() in ("ON", "TRUE"), []
        if isinstance(given, int) and given in (0, 1):
            return bool(given), []
        raise StatementError(1231, name, "NULL" if given is None else given)


@dataclass(frozen=True)
class Number:
    """A whole number; one out of range becomes the nearest that is allowed, with a warning."""

    default: int
    least: int
    most: int
    unit: int = 1

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises error 1232."""
        whole(name, setting)
        if not isinstance(setting.value, int):
            raise StatementError(1232, name)
        taken = max(self.least, min(self.most, setting.value)) // self.unit * self.unit
        wrong = (
            []
            if taken == setting.value
            else [("Warning", 1292, f"Truncated incorrect {name} value: '{setting.value}'")]
        )
        return taken, wrong


@dataclass(frozen=True)
class Text:
    """Any text, that ``check`` may refuse."""

    default: str | None = None
    check: Callable[[str], None] = lambda _: None

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises error 1232, and what ``check`` raises."""
        if setting.value is not None and not isinstance(setting.value, str):
            raise StatementError(1232, name)
        if setting.value is not None:
            self.check(setting.value)
        return setting.value, []


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    default: str
    values: tuple[str, ...]
    numbered: bool = False  # whether their numbers are taken too

    def read(self, name: str, setting: Setting) -> tuple[Content, list[Note]]:
        """Raises errors 1231, 1232."""
        whole(name, setting)
        given = setting.value
        if isinstance(given, int) and self.numbered and 0 <= given < len(self.values):
            return self.values[given], []
        for value in self.values:
            if isinstance(given, str) and given.lower() == value.lower():
                return value, []
        raise StatementError(1231, name, "NULL" if setting.value is None else setting.value)


Definition = Switch | Number | Text | Choice
