"""The sinkhole's parsers: whatever a tool sends is read with bounds, and nothing raises."""

from __future__ import annotations

import json
import socket
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.observe.parsing import MAX_LINES, is_ready, parse_report
from sandbox.observe.sinkhole_program import (
    FIRST_BYTES,
    dns_answer,
    dns_question,
    escaped,
    first_packet,
    from_our_dns,
    http_host,
    server_name,
)
from sandbox.record import Observed

quick = settings(max_examples=150, deadline=None)


def query(labels: list[bytes], kind: int = 1) -> bytes:
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + struct.pack("!HH", kind, 1)


def hello(name: bytes) -> bytes:
    """A ClientHello with one extension before the server name."""
    entry = b"\0" + struct.pack("!H", len(name)) + name
    names = struct.pack("!H", len(entry)) + entry
    extensions = struct.pack("!HH", 23, 0) + struct.pack("!HH", 0, len(names)) + names
    body = b"\x03\x03" + bytes(32) + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
    body += struct.pack("!H", len(extensions)) + extensions
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack("!H", len(handshake)) + handshake


labels = st.lists(st.binary(min_size=1, max_size=63), min_size=1, max_size=3)


@quick
@given(labels, st.integers(0, 65_535))
def test_a_dns_question_is_read_with_its_type(parts: list[bytes], kind: int) -> None:
    """Labels may hold any bytes; they are shown as printable ASCII."""
    packet = query(parts, kind)
    found = dns_question(packet)
    assert found is not None
    assert found == (".".join(escaped(part, 63) for part in parts), kind, len(packet))


@quick
@given(st.binary(max_size=600))
@example(b"\0" * 12 + b"\xc0\x0c\0\x01\0\x01")
@example(query([b"a" * 63] * 5))
@example(query([b"x"])[:-1])
def test_no_packet_makes_the_dns_parser_raise(packet: bytes) -> None:
    """Pointers, endless names, truncation: no question."""
    found = dns_question(packet)
    if found is not None:
        name, kind, end = found
        assert name.isascii()
        assert len(name) <= 4 * 255
        assert 0 <= kind <= 65_535
        assert dns_answer(packet, end, kind, b"\1\2\3\4")[:2] == packet[:2]


def test_an_answer_is_what_a_resolver_understands() -> None:
    """One A record for an A question, none for others."""
    packet = query([b"evil", b"example"])
    answer = dns_answer(packet, len(packet), 1, socket.inet_aton("198.18.0.1"))
    assert struct.unpack("!HHHH", answer[4:12]) == (1, 1, 0, 0)
    assert answer.endswith(socket.inet_aton("198.18.0.1"))
    other = dns_answer(packet, len(packet), 28, b"")
    assert struct.unpack("!HHHH", other[4:12]) == (1, 0, 0, 0)


@quick
@given(st.from_regex(r"[a-z0-9-]{1,20}(\.[a-z]{2,10}){1,3}", fullmatch=True))
def test_the_server_name_is_read_from_a_client_hello(name: str) -> None:
    """Also behind other extensions."""
    assert server_name(hello(name.encode())) == name


@quick
@given(st.binary(max_size=300), st.integers(0, 120))
@example(b"\x16\x03\x01\0\0\x01", 0)
def test_no_bytes_make_the_tls_parser_raise(data: bytes, cut: int) -> None:
    """Random bytes, random tails, truncated hellos."""
    for attempt in (data, b"\x16\x03\x01\x00\x50\x01" + data, hello(b"c2.example")[:cut], hello(data[:100])):
        assert len(server_name(attempt)) <= 4 * 255


@quick
@given(st.binary(max_size=300))
@example(b"GET / HTTP/1.1\r\nHOST:  a.example \r\n\r\n")
def test_no_bytes_make_the_http_parser_raise(data: bytes) -> None:
    """The host is bounded and printable."""
    assert http_host(data).isascii()
    assert http_host(b"GET / HTTP/1.1\r\nHost: x\r\n" + data) == "x"


def ip4(protocol: int, body: bytes, target: str = "203.0.113.7") -> bytes:
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0)
    return header + socket.inet_aton("10.0.0.1") + socket.inet_aton(target) + body


def ip6(protocol: int, body: bytes) -> bytes:
    source, target = (socket.inet_pton(socket.AF_INET6, a) for a in ("fd00::1", "2001:db8::7"))
    return struct.pack("!IHBB", 6 << 28, len(body), protocol, 64) + source + target + body


def tcp(flags: int, port: int = 4444) -> bytes:
    return struct.pack("!HHIIBBHHH", 50_000, port, 0, 0, 0x50, flags, 0, 0, 0)


PACKETS = {
    "a SYN": (ip4(6, tcp(0x02)), ("tcp", "203.0.113.7", 4444, b"")),
    "a SYN over IPv6": (ip6(6, tcp(0x02)), ("tcp", "2001:db8::7", 4444, b"")),
    "an answer to a SYN": (ip4(6, tcp(0x12)), None),
    "later packets": (ip4(6, tcp(0x10)), None),
    "a datagram": (ip4(17, struct.pack("!HHHH", 1, 9999, 12, 0) + b"data"), ("udp", "203.0.113.7", 9999, b"data")),
    "a ping": (ip4(1, b"\x08\0\0\0\0\0\0\0"), ("ip", "203.0.113.7", 0, b"\x01")),
    "the kernel's own unreachable": (ip4(1, b"\x03\x03\0\0\0\0\0\0"), None),
    "SCTP": (ip4(132, bytes(12)), ("ip", "203.0.113.7", 0, b"\x84")),
    "a truncated header": (ip4(6, b"")[:10], None),
    "nothing": (b"", None),
}


@pytest.mark.parametrize(("packet", "expected"), PACKETS.values(), ids=PACKETS.keys())
def test_first_packets_are_told_from_replies(packet: bytes, expected: tuple[str, str, int, bytes] | None) -> None:
    """What opens something is an attempt, what answers is not."""
    assert first_packet(packet) == expected


@quick
@given(st.binary(max_size=120), st.sampled_from([b"\x45", b"\x4f", b"\x40", b"\x60"]))
def test_no_packet_makes_the_packet_parser_raise(data: bytes, first: bytes) -> None:
    """Wrong header lengths, short bodies."""
    for packet in (data, first + data):
        found = first_packet(packet)
        if found is not None:
            assert found[0] in {"tcp", "udp", "ip"}
            from_our_dns(packet)


@quick
@given(st.binary(max_size=500))
def test_escaped_bytes_are_short_printable_ascii(data: bytes) -> None:
    """And can be told apart: a backslash is escaped too."""
    text = escaped(data)
    assert text.isascii()
    assert text.isprintable()
    assert len(text) <= 4 * FIRST_BYTES


READY = b'{"ready": true}\n'
END = b'{"end": true, "dropped": 0, "lost_packets": 0}\n'
ATTEMPT = {"kind": "tcp", "name": "", "address": "203.0.113.7", "port": 4444, "detail": "", "t": 0.1}


def line(**changes: object) -> bytes:
    return json.dumps({**ATTEMPT, **changes}).encode() + b"\n"


def test_a_whole_report_is_complete() -> None:
    """Ready, attempts, end."""
    report = parse_report(READY + line() + END)
    assert (report.observed, report.detail, len(report.observations)) == (Observed.COMPLETE, "", 1)
    assert is_ready(READY)
    assert not is_ready(READY[:-1])


PARTIAL = {
    "no end": READY + line(),
    "nothing at all": b"",
    "attempts dropped": READY + END.replace(b'"dropped": 0', b'"dropped": 7'),
    "packets lost": READY + END.replace(b'"lost_packets": 0', b'"lost_packets": 7'),
    "an end without counts": READY + b'{"end": true}\n',
    "a line that is no JSON": READY + b"Traceback\n" + END,
    "a line that is no object": READY + b"[1]\n" + END,
    "an unknown kind": READY + line(kind="telepathy") + END,
    "a port out of range": READY + line(port=70_000) + END,
    "an unknown field": READY + line(extra=1) + END,
    "a key twice": READY + b'{"kind":"tcp","kind":"udp"}\n' + END,
    "too many lines": READY + line() * (MAX_LINES + 1) + END,
}


@pytest.mark.parametrize("data", PARTIAL.values(), ids=PARTIAL.keys())
def test_a_report_with_anything_missing_or_odd_is_partial(data: bytes) -> None:
    """Never complete, so that "not seen" is not read as "did nothing"."""
    report = parse_report(data)
    assert report.observed is Observed.PARTIAL
    assert report.detail


@quick
@given(st.binary(max_size=400))
def test_no_bytes_make_the_report_parser_raise(data: bytes) -> None:
    """And only the exact end makes it complete."""
    assert parse_report(READY + data).observed in {Observed.PARTIAL, Observed.COMPLETE}
    assert parse_report(data.replace(b"end", b"")).observed is Observed.PARTIAL
