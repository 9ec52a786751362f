"""The agent as a systemd service: the unit that ``innoclone agent --systemd-unit`` prints."""

from __future__ import annotations

from pathlib import Path

from innoclone.cli.systemd import HARDENING, command_line

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

{hardening}ProtectProc=invisible

[Install]
WantedBy=multi-user.target
"""


def unit(config: Path | None) -> str:
    """For this installation of innoclone, with this configuration file."""
    words = ["agent", *([f"--config={config.absolute()}"] if config is not None else [])]
    return TEMPLATE.format(command=command_line(words), hardening=HARDENING.format(capabilities=""))
