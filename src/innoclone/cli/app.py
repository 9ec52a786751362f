"""The program: its commands, and the one place where errors and signals become words and an exit status."""

from __future__ import annotations

import importlib
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, cast

import typer

from innoclone.cli.command import Command, Program, options_of
from innoclone.errors import CloneError, FileError, Interrupted, LocalFault, RemoteFault, UsageError, registry
from innoclone.report.output import Output, stdout_error

__all__ = ["exit_statuses", "main", "program", "run"]

# click has no public name within typer for the base of what its parser raises.
ClickException = cast(type[Exception], typer.BadParameter.__mro__[2])

# Each one is a module of that name here, with a function of that name, or an application that holds more.
COMMANDS = (
    "clone", "local", "replace", "check", "list", "restore", "backup",
    "store", "status", "stop", "discard", "history", "boot", "verify",
    "diff", "replicate", "serve", "agent", "unit", "sandbox", "version",
)  # fmt: skip
GROUPS = ("sandbox", "store")  # those that hold more
HELP = ("help", "--help", "-?", "-h")
SETTINGS = {"unit": {"allow_interspersed_args": False}}  # options behind its first argument are another command's
SIGNALLED = 128  # a shell's exit status for a process that ended by a signal is 128 + its number


def exit_statuses() -> dict[int, list[str]]:
    """Every exit status and the errors that end with it."""
    found: dict[int, list[str]] = {0: ["success"], CloneError.exit_status: ["unexpected failure"]}
    for kind in registry():
        if kind not in (CloneError, LocalFault, RemoteFault):  # those are only bases
            found.setdefault(kind.exit_status, []).append(kind.__name__)
    found[SIGNALLED + signal.SIGTERM] = ["SIGTERM"]
    return dict(sorted(found.items()))


def _epilog() -> str:
    """Exit statuses, for --help; the \\b keeps click from filling the lines."""
    import textwrap  # for this help alone

    lines = []
    for number, names in exit_statuses().items():
        words = textwrap.wrap(", ".join(names), 70)
        lines += [f"{number:>5}  {words[0]}", *(f"       {more}" for more in words[1:])]
    return "\b\n" + "\n".join(["Exit status (docs/errors.md has the details):", *lines])


class _Program(Program):
    def known_options(self) -> set[str]:
        return options_of(typer.main.get_command(program()))  # it takes its time, and is rarely asked


def program(name: str | None = None) -> typer.Typer:
    """The program with all of its commands, or, to start quickly, with that of this ``name`` alone if there is one."""
    app = typer.Typer(
        name="innoclone",
        cls=_Program,
        help="MySQL's CLONE outside the server.",
        epilog=None if name in COMMANDS else _epilog(),
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: importing rich would double the time it takes
        context_settings={"help_option_names": ["--help", "-?"]},
    )
    app.callback()(_group)  # what keeps a single command a command
    for each in [name] if name in COMMANDS else COMMANDS:
        found = getattr(importlib.import_module(f"innoclone.cli.{each}"), each)
        if isinstance(found, typer.Typer):
            app.add_typer(found)
        else:
            app.command(cls=Command, context_settings=SETTINGS.get(each))(found)
    return app


def _group() -> None:
    pass


def main() -> NoReturn:
    """The program ``innoclone``."""
    _open_streams()
    status = run(sys.argv[1:])
    _on_signals(signal.SIG_DFL)  # while what is kept for stdout waits for its reader
    lost = _flush()
    _on_signals(signal.SIG_IGN)  # all is done and said; what comes now would only hit the interpreter's own end
    if lost is not None and not status:  # else it was told
        status = _report(stdout_error(lost), FileError.exit_status)
    sys.exit(status)


def _on_signals(answer: Callable[[int, FrameType | None], None] | signal.Handlers) -> None:
    """What those signals do from now on that ask the program to end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and background jobs mean it
            signal.signal(number, answer)


def _flush() -> OSError | None:
    """Write what is kept for stdout; why that can't be done, unless nobody reads it."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the next try, at the interpreter's end
        return None if isinstance(error, BrokenPipeError) else error
    return None


def _open_streams() -> None:
    """What was closed (``>&-``) becomes /dev/null, so that no file of a clone gets the number of stdout or stderr."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest free number
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):  # a name may be no Unicode
        cast(io.TextIOWrapper, stream).reconfigure(errors="backslashreplace")


def run(args: Sequence[str]) -> int:
    """Run one command line; what comes back is the exit status."""
    stopped: list[int] = []
    done = False

    def stop(number: int, _frame: FrameType | None) -> None:
        if done:
            return
        stopped.append(number)
        if (waits := sys.modules.get("innoclone.store.persistent")) is not None:  # else no store is worked on
            waits.end_waits()
        raise KeyboardInterrupt

    _on_signals(stop)
    Output.current = Output(json_events="--json" in args)  # until the command's own one is open
    args = _as_command(list(args))
    try:
        status = program(next(iter(args)))(args=args, prog_name="innoclone", standalone_mode=False) or 0
        done = True
        Output.current.check()
    except CloneError as error:
        return _report(error, SIGNALLED + stopped[0] if stopped else error.exit_status)
    except ClickException as error:
        return _report(_usage(error, args), UsageError.exit_status)
    except (KeyboardInterrupt, typer.Abort):
        status = Interrupted.exit_status
    except SystemExit:  # click's answer to a reader of the help that has gone
        return 0
    except OSError as error:
        if error.filename is None and (args == ["version"] or not set(args).isdisjoint(HELP)):  # not through `Output`
            return 0 if isinstance(error, BrokenPipeError) else _report(stdout_error(error), FileError.exit_status)
        return _failed(_in_words(error), debug="--debug" in args)
    except Exception as error:  # noqa: BLE001 - the last line of defence: no user shall see a bare traceback
        return _unexpected(error, debug="--debug" in args)
    if stopped or status == Interrupted.exit_status:  # some versions of typer turn Ctrl-C into that status
        return _report(Interrupted("interrupted"), SIGNALLED + stopped[0] if stopped else status)
    return int(status)


def _as_command(args: list[str]) -> list[str]:
    """What is no command or option of one, but is tried: ``-h`` and ``help COMMAND`` for help, ``--version``."""
    if args in (["--version"], ["-V"]):
        return ["version"]
    if args == ["-h"]:
        return ["--help"]
    if args[:1] == ["help"]:
        return [word for word in args if word not in HELP] + ["--help"]
    if len(args) > 1 and args[0] in GROUPS and args[1] in ("help", "-h"):
        return [args[0], *args[2:], "--help"]
    return args or ["--help"]


def _usage(error: Exception, args: Sequence[str]) -> UsageError:
    """What click's parser found, as one of our errors."""
    text: str = getattr(error, "format_message", lambda: str(error))()
    where = f"innoclone {args[0]}" if args and args[0] in COMMANDS else "innoclone"
    return UsageError(text[:1].lower() + text[1:].rstrip("."), hint=f"see {where} --help")


def _report(error: CloneError, exit_status: int) -> int:
    (Output.current or Output()).error(error, exit_status)
    return exit_status


def _in_words(error: OSError) -> CloneError:
    """What the system refused, where nobody closer to it said what was being done."""
    from innoclone.files.system import file_error

    found = file_error(error, f"can't use {os.fsdecode(error.filename)}" if error.filename else type(error).__name__)
    found.advice = "" if error.filename else "--debug shows where"
    return found


def _unexpected(error: Exception, *, debug: bool) -> int:
    hint = "this is a bug in innoclone: please report it" + ("" if debug else ", with what --debug shows")
    return _failed(CloneError(f"{type(error).__name__}: {error}", hint=hint), debug=debug)


def _failed(error: CloneError, *, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    return _report(error, error.exit_status)
