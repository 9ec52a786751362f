"""``./scripts/attack``: play attacks on an agent that makes a clone, and print what was tried, what came of it, and how
much longer the clone took than alone."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from agents import RunningAgent, beside
from attacks.player import ATTACKS, Player
from attacks.target import PASSWORDS, Target
from innoclone.sandbox.fill import fill
from innoclone.sandbox.server import ACCOUNT
from innoclone.server.mysqld import Server
from innoclone.server.programs import provide_programs
from servers import PASSWORD, ServerFactory

LONGER = 1.5  # times its time alone that a clone may take
TRIES = 100
UNDERWAY = 0.5  # seconds from an attack's start to the clone's
CLONED = "SELECT STATE, TIMESTAMPDIFF(MICROSECOND, BEGIN_TIME, END_TIME) FROM performance_schema.clone_status"


def main() -> int:
    """Run the command; returns its exit status."""
    options = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="attack-", dir=options.work)).resolve()
    folder.chmod(0o755)  # the attacker of this host must reach the socket
    (folder / "templates").mkdir()
    programs = provide_programs(print)
    factory = ServerFactory(programs, folder, folder / "templates")
    try:
        donor = factory()
        fill(donor.connect, options.size << 20)
        config = folder / "agent.toml"
        config.write_text("block_time = 5\nconnect_timeout = 5\nmax_connections = 60\n")
        beside(donor, folder / "templates")
        with (folder / "templates" / "agent.toml").open() as server:
            config.write_text(config.read_text() + server.read())
        with RunningAgent(programs, folder / "state", f"--config={config}", "--web-port=0") as agent:
            (folder / "state").chmod(0o755)
            return _play(agent, donor, folder, options)
    finally:
        factory.close()
        shutil.rmtree(folder, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/attack", description="Attacks on an agent with a running clone.")
    parser.add_argument("--only", type=_names, default=list(ATTACKS), help="of: " + ", ".join(ATTACKS))
    parser.add_argument("--size", type=int, default=300, help="MiB of the donor's data (default 300)")
    parser.add_argument("--work", type=Path, help="folder to work in (default: the system's temporary one)")
    parser.add_argument(
        "--longer", type=float, default=LONGER, help="times its time alone that a clone may take (0: any)"
    )
    return parser.parse_args()


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(";" if ";" in text else ",")]
    if unknown := set(names) - ATTACKS.keys():
        raise argparse.ArgumentTypeError(f"no such attack: {', '.join(sorted(unknown))}")
    return names


def _play(agent: RunningAgent, donor: Server, folder: Path, options: argparse.Namespace) -> int:
    accounts = ", ".join(f"{user} IDENTIFIED BY '{password}'" for user, password in PASSWORDS.items())
    agent.rows(f"CREATE USER {accounts}")
    agent.rows("GRANT CREATE USER, PROCESS ON *.* TO maker")
    agent.rows("GRANT BACKUP_ADMIN ON *.* TO operator")
    agent.rows("GRANT ALL ON *.* TO strong WITH GRANT OPTION")
    agent.rows(f"SET GLOBAL clone_valid_donor_list = '127.0.0.1:{donor.port}'")
    web_port = int(agent.log.read_text().partition("http://127.0.0.1:")[2].partition("/")[0])
    alone: list[float] = []
    failed = 0
    print(f"{'attack':32} {'clone':>7} {'alone':>7} {'times':>6} {'agent':>8}  came of it")
    for number, name in enumerate(options.only, 2):
        target = Target(
            agent.port, web_port, agent.socket, f"127.0.0.1:{donor.port}", agent.folder, f"127.0.0.{number}"
        )
        alone.append(_clone(agent, donor, folder))
        player = Player(name, target)
        time.sleep(UNDERWAY)
        seconds = _clone(agent, donor, folder)
        good, words = player.end()
        times = seconds / statistics.median(alone)
        slow = options.longer and times > options.longer
        failed += bool(not good or slow)
        print(
            f"{name:32} {seconds:6.2f}s {statistics.median(alone):6.2f}s {times:6.2f} {_memory(agent):4d} MiB "
            f" {words}{' (TOO SLOW)' if slow else ''}",
            flush=True,
        )
    failed += _look_at_the_rest(agent)
    print(f"load of the machine: {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors")
    print(f"{len(options.only)} attacks, {failed} failures")
    return 1 if failed else 0


def _clone(agent: RunningAgent, donor: Server, folder: Path) -> float:
    """Seconds from its beginning to its end, as the table has them."""
    target = folder / "clone"
    statement = f"CLONE INSTANCE FROM {ACCOUNT}@127.0.0.1:{donor.port} IDENTIFIED BY '{PASSWORD}'"
    for _ in range(TRIES):  # who may clone may be in the way for a moment
        done = agent.mysql(f"{statement} DATA DIRECTORY = '{target}'")
        if "ERROR 3874" not in done.stderr:
            break
        time.sleep(0.05)
    if done.returncode:
        raise RuntimeError(f"the clone failed: {done.stderr}")
    state, microseconds = agent.rows(CLONED)[-1]
    shutil.rmtree(target)
    if state != "Completed":
        raise RuntimeError(f"the clone is {state}")
    return float(microseconds) / 1e6


def _memory(agent: RunningAgent) -> int:
    """MiB that are resident."""
    status = Path(f"/proc/{agent.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


def _look_at_the_rest(agent: RunningAgent) -> int:
    """What must hold after all of it; how much does not."""
    log = agent.log.read_text()
    failed = 0
    for what, bad in {
        "the agent lives": agent.process.poll() is not None,
        "no traceback in its log": "Traceback" in log,
        "no forged line in its log": any(line.startswith("innoclone: clone 99") for line in log.splitlines()),
        "no control characters in its log": any(ord(char) < 32 for char in log.replace("\n", "")),
        "no password in its log": any(secret in log for secret in (*PASSWORDS.values(), PASSWORD, "log-secret")),
        "the accounts are as they were": bool(agent.mysql("SHOW GRANTS FOR strong").returncode),
    }.items():
        print(f"{what}: {'NO' if bad else 'yes'}")
        failed += bad
    if "Traceback" in log:
        print(log[log.index("Traceback") :][:3000])
    return failed


if __name__ == "__main__":
    sys.exit(main())
