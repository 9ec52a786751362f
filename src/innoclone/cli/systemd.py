"""Commands of innoclone as systemd services: how command lines are written, service and timer of a nightly clone."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["HARDENING", "Units", "command_line", "nightly", "quoted"]

HARDENING = """\
# Clones are written wherever they are asked for, so the file system can't be read-only as a whole.
ProtectSystem=full
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
NoNewPrivileges=yes
CapabilityBoundingSet={capabilities}
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027
"""
SERVICE = """\
# {made}
[Unit]
Description=innoclone: {what}
After=network-online.target mysql.service mysqld.service
Wants=network-online.target

[Service]
Type=oneshot
ExecStart={command}
# It reads the server's files, and clones belong to this user, so mysqld must be able to use them.
User={user}
# The history is in {state}/innoclone.
Environment=XDG_STATE_HOME={state}
StateDirectory={folder}
StateDirectoryMode=0700
# The server comes first.
Nice=10
IOSchedulingClass=best-effort
IOSchedulingPriority=7
TimeoutStopSec=90
KillMode=mixed
LimitNOFILE=65536

{hardening}"""
TIMER = """\
# {made}
[Unit]
Description=innoclone: {what}, by the clock

[Timer]
OnCalendar={calendar}
# One that was due while the machine was off is made up for.
Persistent=yes
AccuracySec=1min

[Install]
WantedBy=timers.target
"""
MYSQL = "mysql"  # mysqld's user, which the agent's unit runs as, too
# What root needs to read another user's data directory, to give files away, to see who uses a clone, and for --boot.
ROOTS = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_KILL CAP_SETGID CAP_SETUID CAP_SYS_PTRACE"

Units = dict[str, str]
"""Names of unit files and what is in them."""


def command_line(words: Sequence[str]) -> str:
    """``ExecStart=`` for a command of this installation of innoclone."""
    program = shutil.which("innoclone", path=str(Path(sys.executable).parent)) or shutil.which("innoclone")
    start = [program] if program else [sys.executable, "-m", "innoclone"]
    return " ".join(quoted(word) for word in [*start, *words])


def quoted(word: str) -> str:
    """As systemd.service(5) reads command lines: specifiers, variables, blanks, a semicolon that ends nothing."""
    if word == ";":
        return "\\;"
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not word or escaped != word or any(char in word for char in " \t'") else word


def nightly(name: str, words: Sequence[str], *, what: str, calendar: str, user: str, made: str) -> Units:
    """A service that runs a command of innoclone, ``what``, as ``user``, and a timer for it.

    ``calendar`` is as in systemd.time(7); ``made`` is a comment that says how to make them anew. Those of mysqld's user
    share their history with the agent.
    """
    folder = "innoclone" if user == MYSQL else f"innoclone-{user}"
    state = "/var/lib" if user == MYSQL else f"/var/lib/{folder}"
    hardening = HARDENING.format(capabilities=ROOTS if user in ("root", "0") else "")
    command, what = command_line(words), f"{what} on schedule"
    return {
        f"{name}.service": SERVICE.format(
            made=made,
            what=what,
            command=command,
            user=user,
            state=state,
            folder=folder,
            hardening=hardening,
        ),
        f"{name}.timer": TIMER.format(made=made, what=what, calendar=calendar),
    }
