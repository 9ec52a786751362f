"""The comparison runs from end to end; what it measures is no matter here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from innoclone.server.programs import Programs
from paths import ROOT


def test_compares_and_draws(programs: Programs, tmp_path: Path) -> None:
    rows = ["ours-plain-1", "stock-plain-1"]
    command = [
        sys.executable,
        "-m",
        "bench",
        "--size=8M",
        "--rounds=1",
        f"--rows={','.join(rows)}",
        f"--out={tmp_path}",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "innoclone, plain, 1 connection" in done.stdout
    assert "recipient CPU / stock recipient's, plain, 1 connection: " in done.stdout
    found = json.loads((tmp_path / "compare.json").read_text())
    assert list(found["rows"]) == rows
    assert found["not_available"] == {}
    sizes = []
    for row in rows:
        (run,) = found["rows"][row]["runs"].values()
        assert run["wall"] > 0
        assert run["recipient_cpu"] > 0
        assert run["memory"] > 0
        sizes.append(run["size"])
    assert max(sizes) < 1.1 * min(sizes), "both have the same files"
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"compare.json", "compare.png"}, "the servers' data is removed"


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
