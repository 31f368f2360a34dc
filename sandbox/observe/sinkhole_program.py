"""The program inside the sinkhole container; it stands alone, on the standard library only.

It owns an otherwise empty network namespace, makes every IPv4 and IPv6 address local to it (Linux "AnyIP": a `local`
default route on `lo`), answers DNS with addresses out of 198.18.0.0/15, accepts TCP on common ports, and watches `lo`
for every first packet to any address, port and protocol. Nothing can leave: there is no other interface.

Each attempt is one line of JSON on stdout, once. `{"ready": …}` comes first, `{"end": …}` last; without the last line
the record is not complete. All that is parsed here was sent by the tool, so every parser is bounded and never raises.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import struct
import sys
import time
from typing import Any

PORTS = (21, 22, 25, 53, 80, 443, 587, 853, 993, 1337, 3128, 3306, 4444, 5000, 5432, 6379, 8000, 8080, 8443, 9000, 9001)
MAX_RECORDS = 5000
MAX_CONNECTIONS = 128
MAX_NAMES = 65_000
FIRST_BYTES = 160
PATIENCE = 1.5

_IP_PKTINFO, _IPV6_RECVPKTINFO, _IPV6_PKTINFO = 8, 49, 50
_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_SOL_PACKET, _PACKET_STATISTICS = 263, 6
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_KERNEL_CHATTER = (0, 1, 58)  # hop-by-hop (multicast reports), ICMP, ICMPv6: what the kernel itself answers with
_ECHO_REQUEST: dict[int, tuple[bytes, ...]] = {0: (), 1: (b"\x08",), 58: (b"\x80",)}
_TYPES = {1: "A", 2: "NS", 5: "CNAME", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 65: "HTTPS"}


# parsers: bytes in, plain values out, never an exception


def escaped(data: bytes, limit: int = FIRST_BYTES) -> str:
    """`data` as printable ASCII, everything else as `\\xNN`."""
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in data[:limit])


def dns_question(packet: bytes) -> tuple[str, int, int] | None:
    """Name, type and end of the first question of a DNS query; None where there is none."""
    if len(packet) < 17 or packet[2] & 0x80 or packet[4:6] == b"\0\0":
        return None
    at, labels, length = 12, [], 0
    while at < len(packet) and packet[at]:
        size = packet[at]
        if size > 63 or at + 1 + size >= len(packet):
            return None
        labels.append(escaped(packet[at + 1 : at + 1 + size], 63))
        length += size + 1
        at += size + 1
        if length > 254:
            return None
    if at + 5 > len(packet):
        return None
    return ".".join(labels), int.from_bytes(packet[at + 1 : at + 3], "big"), at + 5


def dns_answer(packet: bytes, end: int, kind: int, address: bytes) -> bytes:
    """A reply with the one A record `address`; without any answer for another type of question."""
    has = kind == 1
    head = packet[:2] + struct.pack("!HHHHH", 0x8180, 1, int(has), 0, 0) + packet[12:end]
    return head + (b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + address if has else b"")


def server_name(data: bytes) -> str:
    """The server name (SNI) in a TLS ClientHello; empty where there is none (RFC 8446, 4.1.2; RFC 6066, 3)."""
    if data[:1] != b"\x16" or data[5:6] != b"\x01":
        return ""
    at = 43
    for width in (1, 2, 1):  # session id, cipher suites, compression methods
        if at + width > len(data):
            return ""
        at += width + int.from_bytes(data[at : at + width], "big")
    end = min(len(data), at + 2 + int.from_bytes(data[at : at + 2], "big"))
    at += 2
    while at + 4 <= end:
        kind, size = struct.unpack("!HH", data[at : at + 4])
        if kind == 0 and size > 5 and at + 4 + size <= end:
            return escaped(data[at + 9 : at + 4 + size], 255)
        at += 4 + size
    return ""


def http_host(data: bytes) -> str:
    """The Host header of an HTTP/1 request; empty where there is none."""
    for line in data.split(b"\r\n")[1:64]:
        if line[:5].lower() == b"host:":
            return escaped(line[5:].strip(), 255)
    return ""


def first_packet(packet: bytes) -> tuple[str, str, int, bytes] | None:
    """Kind, destination, port and payload of an IP packet that opens something; None for replies and for noise."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        header, protocol = (packet[0] & 15) * 4, packet[9]
        target = socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif version == 6 and len(packet) >= 40:
        header, protocol = 40, packet[6]
        target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return None
    body = packet[header:]
    if protocol in (6, 17) and len(body) >= (14 if protocol == 6 else 8):
        port = int.from_bytes(body[2:4], "big")
        if protocol == 17:
            return "udp", target, port, body[8:]
        return ("tcp", target, port, b"") if body[13] & 0x12 == 2 else None  # SYN without ACK
    if protocol in _KERNEL_CHATTER and body[0:1] not in _ECHO_REQUEST[protocol]:
        return None
    return "ip", target, 0, bytes([protocol])


def from_our_dns(packet: bytes) -> bool:
    """Whether a UDP packet comes from port 53, which nobody without CAP_NET_BIND_SERVICE may hold here."""
    header = (packet[0] & 15) * 4 if packet[0] >> 4 == 4 else 40
    return packet[header : header + 2] == b"\x00\x35"


# the sinkhole


class Recorder:
    """Writes each attempt once, up to a number; counts what it does not write."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.seen: set[tuple[Any, ...]] = set()
        self.dropped = 0

    def note(self, kind: str, name: str, address: str, port: int, detail: str) -> None:
        """One attempt."""
        key = (kind, name, address, port, detail if kind == "payload" else "")
        if key in self.seen:
            return
        if len(self.seen) >= MAX_RECORDS:
            self.dropped += 1
            return
        self.seen.add(key)
        moment = round(time.monotonic() - self.start, 3)
        self.line({"kind": kind, "name": name, "address": address, "port": port, "detail": detail, "t": moment})

    def line(self, value: dict[str, Any]) -> None:
        """One line of JSON."""
        sys.stdout.write(json.dumps(value, ensure_ascii=True) + "\n")
        sys.stdout.flush()


class Sinkhole:
    """One loop over all sockets; no thread, so that nothing the tool does makes it grow."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.selector = selectors.DefaultSelector()
        self.names: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self.open: dict[socket.socket, float] = {}
        self.ending = False
        self.packets = self._packet_socket()

    def serve(self) -> None:
        """Until SIGTERM, and then until nothing is waiting."""
        signal.signal(signal.SIGTERM, self._end)
        self._listen()
        self.recorder.line({"ready": True})
        while True:
            ready = self.selector.select(0.02 if self.ending else 0.25)
            for key, _ in ready:
                key.data(key.fileobj)
            self._close_idle()
            if self.ending and not ready:
                break
        lost = struct.unpack("II", self.packets.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        self.recorder.line({"end": True, "dropped": self.recorder.dropped, "lost_packets": lost})

    def _end(self, *_: object) -> None:
        self.ending = True

    def _packet_socket(self) -> socket.socket:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        packets.bind(("lo", 0))
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        packets.setblocking(False)
        self.selector.register(packets, selectors.EVENT_READ, self._on_packets)
        return packets

    def _listen(self) -> None:
        for family, anywhere in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 (its own network)
            try:
                self._open_family(family, anywhere)
            except OSError:
                continue  # a kernel without IPv6: then the tool has none either
        if len(self.selector.get_map()) < 2:
            raise SystemExit("the sinkhole could not listen")

    def _open_family(self, family: socket.AddressFamily, anywhere: str) -> None:
        make_everything_local(family)
        names = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET:
            names.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            names.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            names.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        names.bind((anywhere, 53))
        names.setblocking(False)
        self.selector.register(names, selectors.EVENT_READ, self._on_question)
        for port in PORTS:
            listener = socket.socket(family, socket.SOCK_STREAM)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((anywhere, port))
            listener.listen(64)
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ, self._on_connection)

    def _on_packets(self, packets: socket.socket) -> None:
        for _ in range(256):
            try:
                frame, origin = packets.recvfrom(2048)
            except BlockingIOError:
                return
            found = first_packet(frame[14:]) if origin[2] != _PACKET_OUTGOING else None
            if found is None:
                continue
            kind, target, port, payload = found
            if kind == "udp" and (port == 53 or from_our_dns(frame[14:])):
                continue  # questions are noted by name where they are answered
            detail = f"protocol {payload[0]}" if kind == "ip" else escaped(payload)
            self.recorder.note(kind, self.addresses.get(target, ""), target, port, detail)

    def _on_question(self, names: socket.socket) -> None:
        try:
            packet, extra, _, client = names.recvmsg(4096, 256)
        except OSError:
            return
        asked = dns_question(packet)
        server, reply = _asked_server(extra)
        if asked is None:
            self.recorder.note("udp", "", server, 53, escaped(packet))
            return
        name, kind, end = asked
        self.recorder.note("dns", name, server, 53, _TYPES.get(kind, str(kind)))
        try:
            names.sendmsg([dns_answer(packet, end, kind, self._address_of(name))], reply, 0, client)
        except OSError:
            return  # the asker has gone

    def _address_of(self, name: str) -> bytes:
        if name not in self.names and len(self.names) < MAX_NAMES:
            number = (198 << 24) + (18 << 16) + 1 + len(self.names)
            self.names[name] = socket.inet_ntoa(struct.pack("!I", number))
            self.addresses[self.names[name]] = name
        return socket.inet_aton(self.names.get(name, "198.19.255.254"))

    def _on_connection(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self.open) >= MAX_CONNECTIONS:
            connection.close()  # the attempt itself was seen as a packet
            return
        connection.setblocking(False)
        self.open[connection] = time.monotonic() + PATIENCE
        self.selector.register(connection, selectors.EVENT_READ, self._on_data)

    def _on_data(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
            target, port = connection.getsockname()[:2]
            if data:
                name = server_name(data) or http_host(data) or self.addresses.get(target, "")
                self.recorder.note("payload", name, target, port, escaped(data))
            if data[:4] in (b"GET ", b"POST", b"HEAD", b"PUT "):
                connection.send(_OK)
        except OSError:
            pass
        self._close(connection)

    def _close_idle(self) -> None:
        now = time.monotonic()
        for connection in [one for one, end in self.open.items() if end < now]:
            self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self.selector.unregister(connection)
        self.open.pop(connection, None)
        connection.close()


def _asked_server(extra: list[tuple[int, int, bytes]]) -> tuple[str, list[tuple[int, int, bytes]]]:
    """The address a question was sent to, and the control message that makes it the sender of the reply."""
    for level, kind, data in extra:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(data) >= 12:
            address = data[8:12]
            return socket.inet_ntoa(address), [(level, kind, struct.pack("I4s4s", 0, address, b"\0" * 4))]
        if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and len(data) >= 20:
            return socket.inet_ntop(socket.AF_INET6, data[:16]), [(level, kind, data[:16] + b"\0" * 4)]
    return "", []


def make_everything_local(family: int) -> None:
    """`ip route add local default dev lo`, by netlink (RTM_NEWROUTE); raises `OSError`."""
    table_local, boot, host, link, local = 255, 3, 254, 0, 2
    scope = host if family == socket.AF_INET else link
    route = struct.pack("BBBBBBBBI", family, 0, 0, 0, table_local, boot, scope, local, 0)
    device = struct.pack("HHI", 8, 4, socket.if_nametoindex("lo"))
    body = route + device
    flags = 0x1 | 0x4 | 0x400 | 0x100  # request, acknowledge, create, replace
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(struct.pack("IHHII", 16 + len(body), 24, flags, 1, 0) + body)
        error = struct.unpack("i", netlink.recv(4096)[16:20])[0]
    if error:
        raise OSError(-error, "the local default route was refused")


if __name__ == "__main__":
    Sinkhole().serve()
