"""Makes docs/images/clone.svg: what a terminal shows while the command after ``--`` runs, at one moment of it.

``python docs/make_picture.py 'FILE COPY.* 6\\d %' -- innoclone clone ...`` takes the first screen that the pattern
matches. The command runs in a real terminal of its own (pty(7)); nothing is drawn that it did not print.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich.ansi import AnsiDecoder
from rich.console import Console

PICTURE = Path(__file__).parent / "images" / "clone.svg"
COLUMNS, ROWS = 110, 24
# What the programs that are pictured here send beside text and colours: line up, erase line, cursor on and off.
CONTROL = re.compile(r"\x1b\[(\d*)A|\x1b\[2?K|\x1b\[\?25[lh]|\r|\n")
COLOURS = re.compile(r"\x1b\[[\d;]*m")
# rich's own frame asks a web server for its font; a picture in a repository should not.
PLAIN_SVG = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: "Fira Code", "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-family: sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""


def screen(output: str) -> list[str]:
    """The lines that a terminal shows after ``output``, colours left in."""
    lines, row = [""], 0
    for piece in re.split(f"({CONTROL.pattern.replace('(', '(?:')})", output):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif piece.endswith("A") and piece.startswith("\x1b["):
            row = max(0, row - int(piece[2:-1] or 1))
        elif piece.endswith("K") and piece.startswith("\x1b["):
            lines[row] = ""
        elif not CONTROL.fullmatch(piece):
            lines[row] += piece
    return lines


def run(command: list[str], pattern: str) -> list[str]:
    """Run it in a terminal; the first screen that matches, else the last one."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        output, found = "", None
        while data := _read(ours):
            output += data.decode()
            if found is None and any(re.search(pattern, COLOURS.sub("", line)) for line in screen(output)):
                found = screen(output)
    if process.returncode:
        sys.exit(output)
    return found or screen(output)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # EIO: nobody is at the other end any more
        return b""


def main() -> None:
    """Run the command and write the picture."""
    pattern, separator, *command = sys.argv[1:]
    assert separator == "--", __doc__
    lines = [f"\x1b[1m$\x1b[0m {' '.join(command)}", *run(command, pattern)]
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in AnsiDecoder().decode("\n".join(lines).rstrip()):
        console.print(line)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(console.export_svg(title="innoclone", code_format=PLAIN_SVG))


if __name__ == "__main__":
    main()
