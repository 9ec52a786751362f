"""The suite's ``include`` folder with another donor or recipient in it.

All CLONE statements of the suite stand in two files there, those about the plugin in the tests. What the tests compare
with their recorded results (host, port, user, password) reads afterwards as it did before.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

RESTARTED = "the suite's recipient was restarted"  # what it was told by SET GLOBAL is forgotten then
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
    --let $INNOCLONE_PORT = 0
  }
  if (!$INNOCLONE_PORT) {
    --exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/{control}; echo $PORT >&3; cat <&3' > $MYSQLTEST_VARDIR/tmp/innoclone.inc
    --source $MYSQLTEST_VARDIR/tmp/innoclone.inc
    --remove_file $MYSQLTEST_VARDIR/tmp/innoclone.inc
  }
}
"""
# Statements for the recipient, as they stand in the suite's file.
TOLD = re.compile(
    r"(?P<indent>\s*)(?:--(?:send_)?eval (?P<eval>(?:CLONE INSTANCE|SET GLOBAL clone_).*)"
    r"|(?P<plain>(?:SET GLOBAL clone_|SHOW VARIABLES LIKE \"%clone|select .* from performance_schema\.clone_).*);)\s*"
)
# The same of the tests themselves.
PLUGIN = re.compile(r"(?:--eval )?((?:UN)?INSTALL PLUGIN clone\b[^;]*);?\s*")
ASKED = re.compile(r"((?i:show variables like 'clone_autotune_concurrency'));")
# A file that is there already is told by the donor. What the statement said is compared.
IN_THE_WAY = re.compile(r"(MYSQL_TMP_DIR \$HOST.*\n\s*--error )\$clone_err")
# A list of donors.
LISTED = re.compile(r"clone_valid_donor_list = '.*'")
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


def copied(suite: Path, work: Path) -> Path:
    """The suite's folders as they are, but that a server which a test starts itself runs as root there, too: the
    package's own user is missing. The ``include`` folder."""
    for name in ("include", "t"):
        shutil.copytree(suite / name, work / name)
    path = work / "include/clone_connection_begin.inc"
    path.write_text(path.read_text().replace(" --server-id=$SERVER_ID", " --user=root --server-id=$SERVER_ID"))
    path = work / "t/error_features.test"
    text = path.read_text().replace(" --initialize-insecure", " --user=root --initialize-insecure")
    # What is refused before the recipient has made anything leaves nothing to remove.
    path.write_text(text.replace("--force-rmdir $CLONE", "--error 0,1\n--force-rmdir $CLONE"))
    return work / "include"


def with_donor(suite: Path, work: Path, control: int) -> None:
    """Statements name a donor that the process behind port ``control`` has started for the one that was meant."""
    include = copied(suite, work)
    for name in FILES:
        path = include / name
        path.write_text(ASK.replace("{control}", str(control)) + _renamed(path.read_text()))
    path, own = work / "t/error_features.test", "--let $skip_donor_config = 1\n"  # it sets the list of donors itself
    ask = ASK.replace("{control}", str(control))
    path.write_text(_renamed(path.read_text().replace(own, ask + own)))


def _renamed(text: str) -> str:
    lines: list[str] = []
    for line in IN_THE_WAY.sub(r"\1ER_CLONE_DONOR", text).splitlines():
        if STATEMENT in line:
            line = line.replace(STATEMENT, OURS)
            indent = line[: len(line) - len(line.lstrip())]
            known = next((at for at, before in enumerate(lines[-4:]) if "--replace_regex" in before), None)
            if known is None:
                at = -1 if "--error" in lines[-1] else len(lines)  # an expected error is said last of all
                lines.insert(at, f"{indent}--replace_regex {SAME}")
            else:
                lines[known - 4] += f" {SAME}"
        line = line.replace("$PORT PORT", "$PORT PORT $INNOCLONE_PORT PORT")
        lines.append(LISTED.sub(lambda found: found[0].replace("$PORT", "$INNOCLONE_PORT"), line))
    return "\n".join(lines) + "\n"


def with_recipient(suite: Path, work: Path, control: int) -> None:
    """Statements, and what is asked afterwards, go to the process behind port ``control``, which knows the answers."""
    include = copied(suite, work)
    teller = include / "tell"
    teller.write_text(TELL.replace("{control}", str(control)))
    teller.chmod(0o755)
    path = include / FILES[0]
    stock = path.read_text()
    path.write_text(f"if ($remote_clone) {{\n{_told(stock, teller)}}}\nif (!$remote_clone) {{\n{stock}}}\n")
    sent = (include / FILES[1]).read_text()
    (include / FILES[1]).write_text(
        f"if ($remote_clone) {{\n{_told(sent, teller)}{SENT}}}\nif (!$remote_clone) {{\n{sent}}}\n"
    )
    for test in (work / "t").glob("*.test"):
        test.write_text(_told_both(test.read_text(), teller))


def _told(text: str, teller: Path) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        found = TOLD.fullmatch(line)
        if found is not None:
            statement = found["eval"] or found["plain"]
            quote = "'" if '"' in statement else '"'
            lines.append(f"{found['indent']}--exec {teller} {quote}{statement}{quote}")
        elif "--error " not in line:  # what is told comes to no error of the test's: the answer is compared
            lines.append(line)
    return "\n".join(lines) + "\n"


def _told_both(text: str, teller: Path) -> str:
    """A test that (un)installs the plugin does so at the donor, silently, and at the agent; what it asks of the plugin,
    it asks the agent."""
    lines: list[str] = []
    for line in text.splitlines():
        if (found := ASKED.fullmatch(line)) is not None:
            lines.append(f'--exec {teller} "{found[1]}"')
        elif (found := PLUGIN.fullmatch(line)) is not None:
            shown = [lines.pop() for _ in range(2) if lines and lines[-1].startswith(("--error", "--replace"))]
            errors = [one for one in shown if one.startswith("--error")]
            lines += ["--disable_query_log", "--disable_result_log", *errors, line]
            lines += ["--enable_result_log", "--enable_query_log", *(one for one in shown if one not in errors)]
            lines.append(f'--exec {teller} "{found[1]}"')
        else:
            lines.append(line)
            if line.strip() == "--source include/restart_mysqld.inc":
                lines.append(f'--exec {teller} "{RESTARTED}"')
    return "\n".join(lines) + "\n"
