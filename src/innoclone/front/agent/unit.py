"""The agent as a systemd service: the unit that ``innoclone agent --systemd-unit`` prints."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

__all__ = ["unit"]

TEMPLATE = """\
# innoclone agent --systemd-unit >/etc/systemd/system/innoclone-agent.service
[Unit]
Description=innoclone agent: CLONE for MySQL clients
After=network-online.target mysql.service mysqld.service
Wants=network-online.target

[Service]
Type=notify
ExecStart={command}
# Clones belong to this user, so mysqld must be able to use them. CLONE LOCAL reads the server's files.
User=mysql
# Accounts, keys and the history are in /var/lib/innoclone.
Environment=XDG_STATE_HOME=/var/lib
StateDirectory=innoclone
StateDirectoryMode=0700
Restart=on-failure
RestartSec=5
# A clone that runs is stopped in order, so that it can go on: longer than the agent's stop_timeout.
TimeoutStopSec=90
# It has a process of its own, which outlives an agent that crashes; the next agent takes it up.
KillMode=process
LimitNOFILE=65536

# Clones are written wherever a statement says, so the file system can't be read-only as a whole.
ProtectSystem=full
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
NoNewPrivileges=yes
CapabilityBoundingSet=
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
UMask=0027

[Install]
WantedBy=multi-user.target
"""


def unit(config: Path | None) -> str:
    """For this installation of innoclone, with this configuration file."""
    program = shutil.which("innoclone", path=str(Path(sys.executable).parent)) or shutil.which("innoclone")
    words = [program] if program else [sys.executable, "-m", "innoclone"]
    words += ["agent", *([f"--config={config.absolute()}"] if config is not None else [])]
    return TEMPLATE.format(command=" ".join(_quoted(word) for word in words))


def _quoted(word: str) -> str:
    """As systemd.service(5) reads command lines: specifiers, variables, blanks."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if " " in word or escaped != word else word
