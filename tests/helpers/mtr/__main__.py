"""Runs the suite's tests of remote clones, and prints which pass, which don't and why."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agents import RunningAgent
from innoclone.server.programs import provide_programs
from mtr.control import Donor, Recipient
from mtr.include import copied, with_donor, with_recipient
from mtr.root import SUITE, inside, own_ports, provide_root

RESULT = re.compile(r"clone\.(\S+)\s+(?:w\d+\s+)?\[ (pass|fail|skipped|disabled) \]\s*(.*)")
# What goes to a server that can't be replaced by an agent, which has none to put clones into.
REPLACING = ("remote_basic_replace", "remote_dml_replace")
REASON = re.compile(
    r".* \[ERROR\] |mysqltest: (?!Results saved|Logging|Connecting|Start|\.\.\.)|[-+](?![-+])|At line|Returned error"
    r"|(?!.*unknown variable).*[Tt]imeout"
)
WHY = 8  # lines
# What differs by design.
MEANT = {
    ("donor", "remote_error_basic"): "serve --live refuses an unfit server when it starts, [serve.NAME] each clone",
    ("donor", "remote_error_features"): (
        "a file in the way (1A) and keys without TLS (2) are told in its own words; and a snapshot that nobody takes is"
        " held for 30 s, in which the plugin can't be uninstalled"
    ),
    ("recipient", "remote_error_basic"): "an agent brings an earlier clone up to date, where the plugin refuses (2D)",
    ("recipient", "remote_error_features"): (
        "it sets the list of donors on the server itself, as users whom the agent doesn't know"
    ),
}
MINUTES = 5  # for one test


def main() -> int:
    """0 where every test that ran passed."""
    parser = argparse.ArgumentParser(prog="./scripts/mtr", description=__doc__)
    parser.add_argument("--as", dest="role", choices=("donor", "recipient", "nothing"), default=None,
                        help="what innoclone is; nothing: stock servers alone. Default: donor, recipient")  # fmt: skip
    parser.add_argument("--big", action="store_true", help="also the tests that the suite calls big")
    parser.add_argument("tests", nargs="*", help="names of tests (remote_basic); default: all that begin with remote_")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it changes the root directory for the tests, which needs root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    root = provide_root(lambda text: print(f"mtr: {text}", file=sys.stderr))
    roles = [options.role] if options.role else ["donor", "recipient"]
    return max([run(role, root, options) for role in roles])


def run(role: str, root: Path, options: argparse.Namespace) -> int:
    """The tests with innoclone in one role; the table, and whether one failed."""
    with tempfile.TemporaryDirectory(prefix="innoclone-mtr-", dir="/tmp") as folder:
        work = Path(folder)
        with prepared(role, root, work) as said, own_ports() as thread:
            command = [
                "perl", "mysql-test-run.pl", "--suite=clone", "--force", "--retry=0", f"--vardir={work}/var",
                f"--tmpdir={work}/tmp", "--user=root", "--parallel=1", f"--build-thread={thread}",
                "--nowarnings", f"--testcase-timeout={MINUTES}",
                "--max-test-fail=0", *(["--big-test"] if options.big else []), *chosen(role, root, options),
            ]  # fmt: skip
            results = follow(inside(root, work, command))
            table(role, results, list(said))
        with contextlib.suppress(OSError):
            (root / work.relative_to("/")).rmdir()
    return int(any(one.result == "fail" for one in results.values()) or not results)


def chosen(role: str, root: Path, options: argparse.Namespace) -> list[str]:
    """The tests' names."""
    folder = root / SUITE / "suite/clone/t"
    names = options.tests or sorted(path.stem for path in folder.glob("remote_*.test"))
    left_out = REPLACING if role == "recipient" and not options.tests else ()
    return [name for name in names if name not in left_out]


@contextlib.contextmanager
def prepared(role: str, root: Path, work: Path) -> Iterator[list[str]]:
    """``work/include`` and ``work/t`` for the role, and what belongs to it runs meanwhile; what our donors complain
    of."""
    suite = root / SUITE / "suite/clone"
    if role == "donor":
        with Donor(work, root / SUITE / "std_data") as control:
            with_donor(suite, work, control.port)
            yield control.said
    elif role == "recipient":
        with RunningAgent(provide_programs(print), work / "agent") as agent, Recipient(agent.socket, root) as control:
            with_recipient(suite, work, control.port)
            yield []
    else:
        copied(suite, work)
        yield []


@dataclass
class Outcome:
    """Of one test."""

    result: str
    comment: str
    why: list[str] = field(default_factory=list)  # the first lines that differ from the recorded ones, or the error


def follow(command: list[str]) -> dict[str, Outcome]:
    """Run it and show it; what came of each test. A ``TMPDIR`` of ours is not there: what a test starts fails by it."""
    found: dict[str, Outcome] = {}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                               text=True, errors="replace", env=os.environ | {"TMPDIR": "/tmp"})  # fmt: skip
    assert process.stdout is not None
    try:
        _read(process.stdout, found)
    finally:
        process.kill()  # and all that is in its namespace
        process.wait()
    return found


def _read(lines: Iterable[str], found: dict[str, Outcome]) -> None:
    last: Outcome | None = None
    for line in lines:
        if match := RESULT.search(line):
            last = found[match[1]] = Outcome(match[2], match[3].strip())
            print(f"mtr: {match[1]}: {match[2]} {match[3]}".rstrip(), file=sys.stderr, flush=True)
        elif last is not None and last.result == "fail" and REASON.match(line):
            last.why.append(line.rstrip()[:150])


def table(role: str, results: dict[str, Outcome], said: list[str]) -> None:
    """What came of it."""
    print(f"\ninnoclone is the {role}\n" if role != "nothing" else "\nstock servers\n")
    for name, one in sorted(results.items()):
        print(f"  {name:44} {one.result:8} {one.comment}".rstrip())
        for line in list(dict.fromkeys(one.why))[:WHY]:
            print(f"      {line}")
        if one.result == "fail" and (role, name) in MEANT:
            print(f"      meant to be so: {MEANT[role, name]}")
    counts = {kind: sum(one.result == kind for one in results.values()) for kind in ("pass", "fail", "skipped")}
    print(f"\n  {counts['pass']} pass, {counts['fail']} fail, {counts['skipped']} skipped")
    for line in dict.fromkeys(said):
        print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main())
