"""Where results go that are published: a page of the documentation and its pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

__all__ = ["ROOT", "other_pages", "publish"]

ROOT = Path(__file__).resolve().parent.parent


def publish(page: str, text: str, pictures: Iterable[Path]) -> None:
    """Write ``docs/PAGE.md``, with the pictures that it refers to beside it in ``images``."""
    images = ROOT / "docs" / "images"
    images.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        shutil.copyfile(picture, images / picture.name)
    (ROOT / "docs" / f"{page}.md").write_text(text)
    print(f"published in docs/{page}.md")


def other_pages() -> list[str]:
    """Links to what the other benchmarks published, for the first page."""
    pages = sorted((ROOT / "docs").glob("bench-*.md"))
    return [f"* [{page.read_text().splitlines()[0].removeprefix('# Benchmark: ')}]({page.name})" for page in pages]
