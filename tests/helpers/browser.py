"""A headless Chromium for the tests: the one on PATH, or Debian's, unpacked into the cache folder, not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from xml.sax.saxutils import escape

from innoclone.server.debian import provide_packages
from innoclone.server.programs import cache_directory

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
PACKAGES = ("chromium-headless-shell", "fonts-dejavu-core")
UNWANTED = ("libllvm", "libz3", "mesa-libgallium", "libgl1-mesa", "perl")  # drivers of graphics cards: 200 MB
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
    "--disable-extensions", "--disable-background-networking",
    "--virtual-time-budget=3000",  # milliseconds of the page's clock, not of ours
)  # fmt: skip
PATIENCE = 60  # seconds


class Browser:
    """Each call is a process of its own, with a new profile below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = dict(os.environ)
        found = next(filter(None, map(shutil.which, NAMES)), None)
        self._command = [found] if found else self._private()

    def dom(self, url: str, *options: str) -> str:
        """The page as the browser has it after its scripts ran for three seconds."""
        return self._run(url, "--dump-dom", *options)

    def screenshot(self, url: str, path: Path, *options: str) -> None:
        """A PNG of the page."""
        self._run(url, f"--screenshot={path}", *options)

    def _run(self, url: str, *options: str) -> str:
        profile = self._folder / "profile"
        done = subprocess.run(
            [*self._command, *OPTIONS, f"--user-data-dir={profile}", *options, url],
            capture_output=True, text=True, check=False, timeout=PATIENCE, env=self._environment,
        )  # fmt: skip
        shutil.rmtree(profile, ignore_errors=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _private(self) -> list[str]:
        """It starts itself anew for each of its processes, so a script has to stand between it and its loader.

        The loader is copied beside it, because there it looks for its resources: beside the running program.
        """
        root = cache_directory() / "chromium"
        provide_packages(root, PACKAGES, unwanted=UNWANTED, report=print)
        program = root / "usr" / "lib" / "chromium" / "chromium-headless-shell"
        (original,) = root.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*")
        loader = program.with_name("loader")
        if not loader.exists():
            beside = Path(shutil.copy2(original, self._folder / "loader"))
            shutil.move(beside, loader)
        folders = ":".join(map(str, (original.parent, original.parent / "pulseaudio", program.parent)))
        start = self._folder / "chromium"
        start.write_text(f'#!/bin/sh\nexec "{loader}" --library-path "{folders}" "{program}" "$@"\n')
        start.chmod(0o755)
        fonts = self._folder / "fonts.conf"
        fonts.write_text(
            f"<fontconfig><dir>{escape(str(root / 'usr' / 'share' / 'fonts'))}</dir>"
            f"<cachedir>{escape(str(self._folder / 'fonts'))}</cachedir></fontconfig>\n"
        )
        self._environment["FONTCONFIG_FILE"] = str(fonts)
        return [str(start), "--no-zygote", f"--browser-subprocess-path={start}"]
