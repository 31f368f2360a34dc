"""Reading a tool's output: framed anywhere, capped exactly, never in the way of a kill."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.logs import Frames, LogCapture


def framed(payload: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), st.binary(max_size=50)), max_size=8), st.integers(1, 20))
def test_payloads_come_out_however_the_stream_is_cut(parts: list[tuple[int, bytes]], step: int) -> None:
    """Cut into pieces of any size, also inside a header."""
    data = b"".join(framed(payload, stream) for stream, payload in parts)
    frames = Frames()
    seen = b"".join(b"".join(frames.feed(data[at : at + step])) for at in range(0, len(data), step))
    assert seen == b"".join(payload for _, payload in parts)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_a_stream_without_frames_is_an_error_not_a_log(data: bytes) -> None:
    """Only `ValueError`, and never more bytes than came in."""
    frames = Frames()
    try:
        assert sum(len(piece) for piece in frames.feed(data)) <= len(data)
    except ValueError:
        return


@pytest.mark.parametrize("header", [b"\3\0\0\0\0\0\0\1", b"\1\1\0\0\0\0\0\1", b"HTTP/1.1"])
def test_a_wrong_header_is_refused(header: bytes) -> None:
    """Streams are 0 to 2, then three zero bytes."""
    with pytest.raises(ValueError, match="not framed"):
        list(Frames().feed(header + b"x"))


def capture(tmp_path: Path, cap: int) -> tuple[socket.socket, LogCapture, threading.Event]:
    ours, theirs = socket.socketpair()
    capped = threading.Event()
    return theirs, LogCapture(ours, tmp_path / "log", cap=cap, on_cap=capped.set), capped


def test_a_log_below_the_cap_is_kept_whole(tmp_path: Path) -> None:
    """With its digest."""
    engine, log, capped = capture(tmp_path, 100)
    engine.sendall(framed(b"out\n") + framed(b"err\n", 2))
    engine.close()
    log.close()
    assert (tmp_path / "log").read_bytes() == b"out\nerr\n"
    assert log.digest == "sha256:" + hashlib.sha256(b"out\nerr\n").hexdigest()
    assert (log.seen, log.kept, log.truncated, log.problem) == (8, 8, False, "")
    assert not capped.is_set()


@pytest.mark.parametrize("written", [100, 101, 5000])
def test_the_cap_is_exact(tmp_path: Path, written: int) -> None:
    """A log of the cap's size is whole; one byte more is cut, and the run is told."""
    engine, log, capped = capture(tmp_path, 100)
    engine.sendall(framed(bytes(written)))
    engine.close()
    log.close()
    assert (tmp_path / "log").stat().st_size == 100
    assert log.truncated == (written > 100)
    assert capped.is_set() == (written > 100)


def test_an_engine_that_never_closes_the_stream_is_cut_off(tmp_path: Path) -> None:
    """Otherwise a kill would wait for a reader for ever."""
    engine, log, _ = capture(tmp_path, 100)
    engine.sendall(framed(b"x"))
    log.close(patience=0.05)
    assert log.ended
    assert engine.recv(1) == b""


def test_a_full_disk_is_said_and_the_stream_is_still_drained(tmp_path: Path) -> None:
    """The count goes on, the tool is not blocked."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    ours, engine = socket.socketpair()
    log = LogCapture(ours, Path("/dev/full"), cap=1000, on_cap=lambda: None)
    engine.sendall(framed(b"x" * 50) * 3)
    engine.close()
    log.close()
    assert (log.seen, log.kept, log.truncated) == (150, 0, True)
    assert "could not be written" in log.problem
