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
