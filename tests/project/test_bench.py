"""The comparison runs from end to end; what it measures is no matter here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from innoclone.server.programs import Programs
from paths import ROOT


def test_compares_and_draws(programs: Programs, tmp_path: Path) -> None:
    rows = ["ours-plain-1", "stock-plain-1", "ours-encrypted-4"]
    command = [
        sys.executable,
        "-m",
        "bench",
        "--size=8M",
        "--rounds=1",
        "--places=disk",
        f"--rows={','.join(rows)}",
        f"--out={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "innoclone, plain, 1 connection" in done.stdout
    assert "others had " in done.stdout
    assert "recipient CPU / stock's, plain, 1 connection: " in done.stdout
    assert "innoclone, encrypted donor, TLS, 4 connections" in done.stdout
    found = json.loads((tmp_path / "compare.json").read_text())["disk"]
    assert list(found["rows"]) == rows
    assert found["not_available"] == {}
    sizes = []
    for row in rows:
        (run,) = found["rows"][row]["runs"].values()
        assert run["wall"] > 0
        assert run["recipient_cpu"] > 0
        assert run["memory"] > 0
        sizes.append(run["size"])
    assert max(sizes[:2]) < 1.1 * min(sizes[:2]), "both have the same files"
    assert max(sizes) < 1.2 * min(sizes), "so has the encrypted donor, but for what the load wrote meanwhile"
    assert (tmp_path / "compare-disk.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare-disk.png"}, (
        "the servers' data is removed"
    )


def test_nothing_is_published_while_others_work(tmp_path: Path) -> None:
    """Somebody else's process is one that doesn't descend from the benchmark."""
    others = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        command = [sys.executable, "-m", "bench", "--publish", f"--out={tmp_path}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    finally:
        others.kill()
        others.wait()
    assert done.returncode == 1
    assert "something else runs on the machine: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_published_comparison_is_a_whole_one(tmp_path: Path) -> None:
    for few in ("--size=1G", "--rounds=6", "--rows=raw", "--places=disk"):
        command = [sys.executable, "-m", "bench", "--publish", few, f"--out={tmp_path}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "--publish takes all rows" in done.stderr


def test_whose_work_it_is() -> None:
    """A child of the watcher is the watcher's own; one of this process is somebody else's, also when it has ended."""
    spin = "import time; end = time.monotonic() + 1\nwhile time.monotonic() < end: pass"
    watcher = """
import os, subprocess, sys
from bench.others import Others, _others
with subprocess.Popen(["sleep", "60"]) as own:
    seen = {pid for pid, _ in _others()}
    assert {os.getpid(), own.pid} & seen == set() and os.getppid() in seen
    own.kill()
others = Others()
print("begun", flush=True)
sys.stdin.readline()
print(others.work().cpu)
"""
    command = [sys.executable, "-c", watcher]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", spin], check=True)
        share = 0.2 / (time.monotonic() - began) / (os.cpu_count() or 1)  # of a second that it spins a fifth at least
        assert float(child.communicate("\n")[0]) > share


def bench(name: str, *options: str) -> str:
    """What a benchmark printed."""
    command = [sys.executable, "-m", f"bench.{name}", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_local_measures_verify(programs: Programs, tmp_path: Path) -> None:
    text = bench("local", "--size=0.02", "--rounds=1", "--only=verify", f"--out={tmp_path}")
    assert "verify, cold " in text
    assert "verify, warm " in text
    assert {path.name for path in tmp_path.iterdir()} == {"local.json", "local.png"}, "data and servers are gone"


def test_scale_names_what_a_unit_costs(programs: Programs, tmp_path: Path) -> None:
    text = bench("scale", "--sizes=-", "--tables=3", "--rounds=1", f"--out={tmp_path}")
    (case,) = json.loads((tmp_path / "scale.json").read_text())
    assert case["count"] == 3
    assert case["ours"][0] > 0
    assert case["stock"][0] > 0
    assert case["memory"][0] > 1 << 20
    assert " s for each 1,000 tables (growth " in text
    assert {path.name for path in tmp_path.iterdir()} == {"scale.json", "scale.png"}, "data and servers are gone"


def test_a_run_that_fails_is_said_and_missing() -> None:
    """The others go on, and rounds are compared in which both ran."""
    script = """
from bench.measure import CommandFailed
from bench.trying import Failures, ratio_of
failed = Failures()
def fail():
    raise CommandFailed("ended with 1")
found = [failed.undisturbed("a row", run, insist=False) for run in (lambda: 2.0, fail, lambda: 9.0)]
assert found == [2.0, None, 9.0] and failed == ["a row: ended with 1"]
assert ratio_of(found, [4.0, 1.0, None]) == 0.5 and ratio_of(found, [None, 1.0, None]) is None
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "FAILED: a row: ended with 1" in done.stdout


def test_scale_begins_nothing_late(programs: Programs, tmp_path: Path) -> None:
    """What was measured is kept, and what is left out is said."""
    command = [sys.executable, "-m", "bench.scale", "--tables=3", "--sizes=-", "--minutes=0", f"--out={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "failed: 3 tables: left out: 0 minutes have passed" in done.stdout
    assert json.loads((tmp_path / "scale.json").read_text()) == []


def test_donor_serves_recipients_and_increments(programs: Programs, tmp_path: Path) -> None:
    bench(
        "donor", "--kinds=plain-1", "--link=loopback", "--parts=0.01", "--size=0.01", "--base=0.02", "--rounds=1",
        f"--out={tmp_path}",
    )  # fmt: skip
    found = json.loads((tmp_path / "donor.json").read_text())
    assert len(found["recipients"]) == 2, "cold and warm"
    for row in found["recipients"]:
        assert row["ours"][0]["wall"] > 0
        assert row["stock"][0]["wall"] > 0
    (link,) = found["increments"]
    full, *others = link["rows"]
    assert full["program"] == "full clone"
    assert [row["part"] for row in others if row["program"] == "innoclone"] == [0.01]
    assert all(row["seconds"] > 0 and 0 < row["pages"] < full["pages"] for row in others)
    assert {path.name for path in tmp_path.iterdir()} == {"donor.json", "donor.png"}, "data and servers are gone"


def test_the_library_beside_python() -> None:
    command = [sys.executable, "-m", "bench.native", "--size=4", "--rounds=1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("native library: ")
    rows = ("check pages of 16 KiB", "compare equal buffers", "receive over TLS", "hash each page")
    assert [row for row in rows if f"\n{row}" not in done.stdout] == []
    assert " 0.00 GB/s" not in done.stdout


def test_startup_reaches_a_donor() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.startup", "--runs=1"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("until clone connects ")
    wall, cpu, _ = map(int, last.split()[-3:])
    assert wall > 0
    assert cpu > 0
