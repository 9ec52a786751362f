"""Options of a clone through ssh that don't fit together: nothing is begun."""

from __future__ import annotations

import pytest

from commandline import environment, in_this_process, innoclone_here

__all__ = ["environment", "in_this_process", "innoclone_here"]


@pytest.mark.parametrize("words", [["--from-dir=/x"], ["--via=ssh://-oProxyCommand=id", "--from-dir=/x"],
                                   ["--via=ssh://h", "--from-dir="], ["--via=ssh://h", "mysql://u:p@localhost"],
                                   ["--via=ssh://h", "--from-dir=/x", "mysql://h2"],
                                   ["--via=ssh://h", "--from-dir=/x", "-uroot"]])  # fmt: skip
def test_options_that_do_not_fit(words, innoclone_here, tmp_path, monkeypatch):
    monkeypatch.setattr("subprocess.Popen", None)  # no ssh is started
    done = innoclone_here("clone", "--no-defaults", *words, str(tmp_path / "taken"))
    assert done.returncode == 2
    assert not (tmp_path / "taken").exists()
