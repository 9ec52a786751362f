"""Attacks of somebody who has no account."""

from __future__ import annotations

import contextlib
import random
import select
import socket

from attacks.target import PASSWORDS, Attack, Breach, Counts, Raw, Stop, Target, as_nobody, until
from innoclone.wire import commands as com

__all__ = ["LOGINS"]

FAST_OK, OK = b"\x01\x03", b"\x00"
CROWD = 400


def hang_up(target: Target, stop: Stop) -> str:
    """A scramble for each guess, and away at the answer, which tells enough."""
    counts = Counts()
    number = 0
    while not stop.is_set():
        number += 1
        with contextlib.suppress(OSError, EOFError), target.raw() as sock:
            raw = Raw(sock)
            if raw.refused:
                counts[f"error {raw.refused}"] += 1
                continue
            raw.send(raw.scramble("strong", f"guess{number}"), 1)
            answer = raw.payload()
            if answer in (FAST_OK, OK):
                raise Breach(f"guess {number} was right")
            counts["guess answered"] += 1
    return str(counts)


def all_at_once(target: Target, stop: Stop) -> str:
    """Many guesses before one of them is decided."""
    counts = Counts()
    while not stop.is_set():
        with contextlib.ExitStack() as stack:
            waiting = {}
            for number in range(100):
                with contextlib.suppress(OSError, EOFError):
                    raw = Raw(stack.enter_context(target.raw()))
                    if raw.refused:
                        counts[f"error {raw.refused}"] += 1
                        continue
                    raw.send(raw.scramble("strong", f"guess{number}"), 1)
                    waiting[raw.sock] = raw
            for sock in select.select(list(waiting), [], [], 1)[0]:
                with contextlib.suppress(OSError, EOFError):
                    counts["guess answered" if waiting[sock].payload()[:1] == b"\x01" else "refused"] += 1
    return str(counts)


def half_open(target: Target, stop: Stop) -> str:
    """Connections that never say a word."""
    counts = Counts()
    with contextlib.ExitStack() as stack:
        for _ in range(1000):
            if stop.is_set():
                break
            with contextlib.suppress(OSError, EOFError):
                raw = Raw(stack.enter_context(target.raw()))
                counts[f"error {raw.refused}" if raw.refused else "held open"] += 1
        until(stop)
    return str(counts)


def junk(target: Target, stop: Stop) -> str:
    """Random bytes, queries before a login, packets out of order, a login packet of 16 MiB."""
    counts, chance = Counts(), random.Random(1)
    query = com.Query("SELECT 'in' 'side'").serialize()
    while not stop.is_set():
        with contextlib.suppress(OSError, EOFError), target.raw() as sock:
            raw = Raw(sock)
            if raw.refused:
                counts[f"error {raw.refused}"] += 1
                continue
            kind = chance.randrange(4)
            if kind == 0:
                sock.sendall(chance.randbytes(chance.choice((1, 5, 36, 70_000))))
            elif kind == 1:
                raw.send(query, 1)
            elif kind == 2:
                raw.send(raw.scramble("strong", "x"), 7)
            else:
                sock.sendall(b"\xff\xff\xff\x01" + b"x" * (1 << 20))
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            if b"inside" in answer:
                raise Breach("a query was answered without a login")
            counts["refused" if answer[4:5] == b"\xff" else "cut off"] += 1
    return str(counts)


def replay(target: Target, stop: Stop) -> str:
    """A scramble that was right once, sent again on another connection; and CHANGE_USER to root without a password."""
    counts = Counts()
    target.connect("weak").close()  # its fast path is open
    with target.raw() as sock:
        right = Raw(sock).scramble("weak", PASSWORDS["weak"])
    while not stop.is_set():
        with contextlib.suppress(OSError, EOFError), target.raw() as sock:
            raw = Raw(sock)
            if not raw.refused:
                raw.send(right, 1)
            if raw.refused or raw.payload() not in (FAST_OK, OK):
                counts["replay refused" if not raw.refused else f"error {raw.refused}"] += 1
            else:
                raise Breach("a scramble was good twice")
        with contextlib.suppress(OSError, EOFError), target.raw() as sock:
            raw = Raw(sock)
            if raw.refused:
                continue
            raw.send(raw.scramble("weak", PASSWORDS["weak"]), 1)
            if raw.payload() != FAST_OK or raw.payload()[:1] != OK:
                continue
            raw.send(com.ChangeUser("root", b"").serialize(), 0)
            raw.payload()
            raw.send(b"\0", 2)
            if raw.payload()[:1] == OK:
                raise Breach("CHANGE_USER made an administrator")
            counts["change refused"] += 1
    return str(counts)


def unix_flood(target: Target, stop: Stop) -> str:
    """A user of this host opens as many connections as he can, and guesses on each."""
    as_nobody()
    counts = Counts()
    with contextlib.ExitStack() as stack:
        for number in range(CROWD):
            if stop.is_set():
                break
            with contextlib.suppress(OSError, EOFError):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX))
                sock.settimeout(5)
                sock.connect(str(target.socket))
                raw = Raw(sock)
                if raw.refused:
                    counts[f"error {raw.refused}"] += 1
                    continue
                if number % 2:
                    counts["held open"] += 1
                    continue
                raw.send(raw.scramble("strong", f"guess{number}"), 1)
                counts["guess answered" if raw.payload()[:1] == b"\x01" else "refused"] += 1
        until(stop)
    return str(counts)


def page(target: Target, stop: Stop) -> str:
    """Idle connections to the status page, requests by the byte, answers not taken, and other hosts' names."""
    counts = Counts()
    address = ("127.0.0.1", target.web_port)
    while not stop.is_set():
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    stack.enter_context(socket.create_connection(address, 5)).sendall(b"G")
            for _ in range(10):
                with contextlib.suppress(OSError):
                    sock = stack.enter_context(socket.create_connection(address, 5))
                    sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 400)
            for host in ("evil.example", "localhost:80@evil.example", "127.0.0.1.evil.example", "localhost"):
                with contextlib.suppress(OSError), socket.create_connection(address, 5) as sock:
                    sock.sendall(f"GET /status.json HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                    answer = b""
                    while piece := sock.recv(65536):
                        answer += piece
                    if host != "localhost" and b"history" in answer:
                        raise Breach(f"the page was told to {host}")
                    counts[f"status {answer[9:12].decode() or 'none'}"] += 1
    return str(counts)


LOGINS: dict[str, Attack] = {
    "guesses that hang up": hang_up,
    "guesses all at once": all_at_once,
    "1000 half-open connections": half_open,
    "bytes that are no login": junk,
    "replayed scrambles": replay,
    "a flood by the Unix socket": unix_flood,
    "the status page": page,
}
