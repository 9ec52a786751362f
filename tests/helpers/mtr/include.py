"""The suite's ``include`` folder with another donor or recipient in it.

All CLONE statements of the suite stand in two files there. What the tests compare with their recorded results (host,
port, user, password) reads afterwards as it did before.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

FILES = ("clone_command.inc", "clone_command_send.inc")
USER, PASSWORD = "innoclone", "clone-secret"
STATEMENT = "CLONE INSTANCE FROM $USER@$HOST:$PORT IDENTIFIED BY ''"
OURS = f"CLONE INSTANCE FROM {USER}@$HOST:$INNOCLONE_PORT IDENTIFIED BY '{PASSWORD}'"
SAME = f"/IDENTIFIED BY '{PASSWORD}'/IDENTIFIED BY ''/ /{USER}@/USER@/"
ASK = """
if ($clone_remote_replace) {
  --let $remote_clone = 1
}
if ($remote_clone) {
  if (!$skip_donor_config) {
    --exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{control}; echo $PORT >&3; cat <&3' > $MYSQLTEST_VARDIR/tmp/innoclone.inc
    --source $MYSQLTEST_VARDIR/tmp/innoclone.inc
    --remove_file $MYSQLTEST_VARDIR/tmp/innoclone.inc
  }
  if ($skip_donor_config) {
    --let $INNOCLONE_PORT = $PORT
  }
}
"""
# Statements for the recipient, as they stand in the suite's file.
TOLD = re.compile(
    r"(?P<indent>\s*)(?:--(?:send_)?eval (?P<eval>(?:CLONE INSTANCE|SET GLOBAL clone_).*)"
    r"|(?P<plain>(?:SET GLOBAL clone_|SHOW VARIABLES LIKE \"%clone|select .* from performance_schema\.clone_).*);)\s*"
)
# The agent's answer is there then, and the test waits for one of its own.
SENT = """
--disable_query_log
--send DO 0
--enable_query_log
"""
TELL = """#!/bin/bash
exec 3<>/dev/tcp/127.0.0.1/{control}
printf '%s\\n' "$1" >&3
cat <&3
"""


def copied(folder: Path, target: Path) -> None:
    """As it is, but that a server which a test restarts runs as root there, too: the package's own user is missing."""
    shutil.copytree(folder, target)
    path = target / "clone_connection_begin.inc"
    path.write_text(path.read_text().replace(" --server-id=$SERVER_ID", " --user=root --server-id=$SERVER_ID"))


def with_donor(folder: Path, target: Path, control: int) -> None:
    """Statements name a donor that the process behind port ``control`` has started for the one that was meant."""
    copied(folder, target)
    for name in FILES:
        path = target / name
        path.write_text(ASK.replace("{control}", str(control)) + _renamed(path.read_text()))


def _renamed(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if STATEMENT in line:
            line = line.replace(STATEMENT, OURS)
            indent = line[: len(line) - len(line.lstrip())]
            known = next((at for at, before in enumerate(lines[-4:]) if "--replace_regex" in before), None)
            if known is None:
                lines.append(f"{indent}--replace_regex {SAME}")
            else:
                lines[known - 4] += f" {SAME}"
        line = line.replace("$PORT PORT", "$PORT PORT $INNOCLONE_PORT PORT")
        lines.append(
            line.replace("clone_valid_donor_list = '$HOST:$PORT'", "clone_valid_donor_list = '$HOST:$INNOCLONE_PORT'")
        )
    return "\n".join(lines) + "\n"


def with_recipient(folder: Path, target: Path, control: int) -> None:
    """Statements, and what is asked afterwards, go to the process behind port ``control``, which knows the answers."""
    copied(folder, target)
    teller = target / "tell"
    teller.write_text(TELL.replace("{control}", str(control)))
    teller.chmod(0o755)
    path = target / FILES[0]
    stock = path.read_text()
    path.write_text(f"if ($remote_clone) {{\n{_told(stock, teller)}}}\nif (!$remote_clone) {{\n{stock}}}\n")
    sent = (target / FILES[1]).read_text()
    (target / FILES[1]).write_text(
        f"if ($remote_clone) {{\n{_told(sent, teller)}{SENT}}}\nif (!$remote_clone) {{\n{sent}}}\n"
    )


def _told(text: str, teller: Path) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        found = TOLD.fullmatch(line)
        if found is not None:
            statement = (found["eval"] or found["plain"]).replace('"', "'")
            lines.append(f'{found["indent"]}--exec {teller} "{statement}"')
        elif "--error " not in line:  # what is told comes to no error of the test's: the answer is compared
            lines.append(line)
    return "\n".join(lines) + "\n"
