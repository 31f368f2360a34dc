"""Fetching advisories from a server that is honest, slow, broken or hostile: fresh, or could not decide."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from checks.advisories import load
from checks.advisories.mirror import Fetching, update
from console.terminal.app import app
from pratique.digests import Digest, sha256_bytes
from pratique.errors import CouldNotDecide, UsageError
from tests.assets.clocks import fixed_clock
from tests.unit.checks.feeds import record, write_zip

NOW = fixed_clock(datetime(2026, 7, 10, 12, tzinfo=UTC))
QUICK = Fetching(silence=2.0, deadline=20.0, attempts=3, pause=0.0)
MODIFIED = "Thu, 09 Jul 2026 08:00:00 GMT"
Answer = Callable[["Handler"], None]


@dataclass
class Mirror:
    """What the server has and how it behaves; `asked` holds path and Range of every request."""

    archive: bytes
    answers: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    """Serves the archive with ranges, unless the test says otherwise for a request."""

    mirror: Mirror

    def do_GET(self) -> None:
        """One request."""
        self.mirror.asked.append((self.path, self.headers.get("Range", "")))
        answer = self.mirror.answers.pop(0) if self.mirror.answers else honest
        answer(self)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def start(self, code: int, body: int, **headers: str) -> None:
        """Status line and headers."""
        fields = {"ETag": f'"{len(self.mirror.archive)}"', "Last-Modified": MODIFIED, "Content-Length": str(body)}
        self.mirror.sent.append(code)
        self.send_response(code)
        for name, value in (fields | {k.replace("_", "-"): v for k, v in headers.items()}).items():
            if value:
                self.send_header(name, value)
        self.end_headers()


def honest(handler: Handler) -> None:
    """The archive, the part asked for, or that nothing changed."""
    data = handler.mirror.archive
    asked = handler.headers.get("Range", "")
    if handler.headers.get("If-None-Match") == f'"{len(data)}"':
        handler.start(304, 0)
        return
    if asked and handler.headers.get("If-Range") == f'"{len(data)}"':
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        handler.start(206, len(data) - start, Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.wfile.write(data[start:])
    else:
        handler.start(200, len(data))
        handler.wfile.write(data)


def breaks_off(handler: Handler) -> None:
    """Half of what was promised, then the connection is closed."""
    data = handler.mirror.archive
    handler.start(200, len(data))
    handler.wfile.write(data[: len(data) // 2])
    handler.wfile.flush()
    handler.close_connection = True


def answers(code: int, body: bytes = b"", **headers: str) -> Answer:
    """A fixed answer; headers may name half and whole of the archive, and the last of the next 50 bytes."""

    def answer(handler: Handler) -> None:
        whole = len(handler.mirror.archive)
        places = {"half": whole // 2, "last": whole // 2 + 49, "whole": whole}
        handler.start(code, len(body), **{name: value.format(**places) for name, value in headers.items()})
        handler.wfile.write(body)

    return answer


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A mirror with one PyPI advisory on this machine."""
    archive = write_zip(
        tmp_path / "feed" / "PyPI" / "all.zip", [record("GHSA-aaaa-bbbb-cccc", note=os.urandom(3000).hex())]
    )
    state = Mirror(archive.read_bytes())
    handler = type("OfThisTest", (Handler,), {"mirror": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(mirror: Mirror, home: Path, **options: object) -> date:
    """Day of the snapshot that was fetched."""
    return update(home, "PyPI", clock=NOW, base=mirror.url, how=QUICK, **options).taken  # type: ignore[arg-type]


def present(home: Path) -> int:
    """How many snapshots there are."""
    try:
        with load(home) as store:
            return len(store.snapshots)
    except CouldNotDecide:
        return 0


def test_a_mirror_is_as_fresh_as_it_says(mirror: Mirror, tmp_path: Path) -> None:
    assert fetch(mirror, tmp_path) == date(2026, 7, 9)
    assert mirror.asked == [("/PyPI/all.zip", "")]
    assert present(tmp_path) == 1
    assert not list((tmp_path / "downloads" / "PyPI").glob("[!.]*"))


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_mirror_on_this_machine_is_asked_through_no_proxy(
    name: str, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is said in the clear may be answered by whoever is asked: through a proxy that is the proxy."""
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    fetch(mirror, tmp_path / "home")
    assert present(tmp_path / "home")


def test_what_did_not_change_is_not_fetched_again(mirror: Mirror, tmp_path: Path) -> None:
    fetch(mirror, tmp_path)
    before = sorted(path.name for path in tmp_path.glob("*.sqlite"))
    assert fetch(mirror, tmp_path) == date(2026, 7, 9)
    assert mirror.sent == [200, 304]
    assert sorted(path.name for path in tmp_path.glob("*.sqlite")) == before
    assert present(tmp_path) == 1


def test_the_source_itself_makes_what_did_not_change_fresh(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """osv.dev says today that the export is still the same, so the snapshot is as good as today's."""
    monkeypatch.setattr("checks.advisories.mirror.SOURCE", mirror.url)
    fetch(mirror, tmp_path)
    later = fixed_clock(datetime(2026, 7, 15, 12, tzinfo=UTC))
    assert update(tmp_path, "PyPI", clock=later, base=mirror.url, how=QUICK).taken == date(2026, 7, 15)
    assert mirror.sent == [200, 304]
    with load(tmp_path) as store:
        assert store.taken == date(2026, 7, 15)


def test_a_mirror_that_stopped_does_not_grow_young_by_saying_that_nothing_changed(
    mirror: Mirror, tmp_path: Path
) -> None:
    fetch(mirror, tmp_path)
    mirror.answers = [answers(304, Last_Modified="Fri, 10 Jul 2026 08:00:00 GMT")]
    assert fetch(mirror, tmp_path) == date(2026, 7, 9)


def test_a_mirror_that_went_back_does_not_replace_what_is_newer(mirror: Mirror, tmp_path: Path) -> None:
    fetch(mirror, tmp_path)
    mirror.archive += b"\0"  # another file
    mirror.answers = [answers(200, mirror.archive, Last_Modified="Wed, 01 Jul 2026 08:00:00 GMT")]
    with pytest.raises(CouldNotDecide, match="older than what is in use"):
        fetch(mirror, tmp_path)


def spoilt(home: Path) -> None:
    database = next(home.glob("*.sqlite"))
    database.write_bytes(database.read_bytes()[:-1])


@pytest.mark.parametrize("loss", [spoilt, lambda home: (home / "index.json").unlink()], ids=["altered", "no index"])
def test_what_is_no_longer_whole_is_fetched_again_even_if_it_did_not_change(
    loss: Callable[[Path], None], mirror: Mirror, tmp_path: Path
) -> None:
    fetch(mirror, tmp_path)
    loss(tmp_path)
    fetch(mirror, tmp_path)
    assert mirror.sent == [200, 200]
    assert present(tmp_path) == 1


def test_that_nothing_changed_is_no_answer_to_who_has_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [answers(304)]
    with pytest.raises(CouldNotDecide, match="304"):
        fetch(mirror, tmp_path)


def test_an_update_that_is_killed_leaves_the_old_snapshot(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch(mirror, tmp_path)
    mirror.archive = write_zip(tmp_path / "newer" / "all.zip", [record("PYSEC-1", name="other")]).read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as moment:
        moment.setattr("checks.advisories.snapshot.write_index", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(mirror, tmp_path)
    with load(tmp_path) as store:
        assert store.matches("PyPI", "widget", "1.0")
    fetch(mirror, tmp_path)
    with load(tmp_path) as store:
        assert store.matches("PyPI", "other", "1.0")
    assert len(list(tmp_path.glob("*.sqlite"))) == 1


def test_a_mirror_from_the_future_is_as_fresh_as_today(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [answers(200, mirror.archive, Last_Modified="Thu, 09 Jul 2099 08:00:00 GMT")]
    assert fetch(mirror, tmp_path) == date(2026, 7, 10)


def test_a_mirror_that_tells_no_day_needs_one(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [answers(200, mirror.archive, Last_Modified="")] * 2
    with pytest.raises(CouldNotDecide, match="--date"):
        fetch(mirror, tmp_path)
    assert fetch(mirror, tmp_path, taken=date(2026, 7, 1)) == date(2026, 7, 1)


def test_a_download_goes_on_where_it_broke_off(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [breaks_off]
    fetch(mirror, tmp_path)
    half = len(mirror.archive) // 2
    assert [asked for _, asked in mirror.asked] == ["", f"bytes={half}-"]
    assert present(tmp_path) == 1


def test_a_later_run_goes_on_where_the_earlier_broke_off(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [breaks_off]
    with pytest.raises(CouldNotDecide):
        update(tmp_path, "PyPI", clock=NOW, base=mirror.url, how=Fetching(silence=2.0, attempts=1))
    fetch(mirror, tmp_path)
    assert mirror.asked[1][1] == f"bytes={len(mirror.archive) // 2}-"


def test_bytes_that_changed_in_between_are_fetched_anew(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [breaks_off]
    with pytest.raises(CouldNotDecide):
        update(tmp_path, "PyPI", clock=NOW, base=mirror.url, how=Fetching(silence=2.0, attempts=1))
    newer = write_zip(tmp_path / "newer" / "all.zip", [record("GHSA-xxxx-yyyy-zzzz"), record("PYSEC-1", name="other")])
    mirror.archive = newer.read_bytes()
    fetch(mirror, tmp_path)
    with load(tmp_path) as store:
        assert store.snapshots[0].records == 2


def test_a_server_without_marks_starts_anew(mirror: Mirror, tmp_path: Path) -> None:
    def unmarked(handler: Handler) -> None:
        handler.start(200, len(mirror.archive), ETag='W/"x"', Last_Modified="")
        handler.wfile.write(mirror.archive[:100])
        handler.close_connection = True

    mirror.answers = [unmarked]
    fetch(mirror, tmp_path)
    assert [asked for _, asked in mirror.asked] == ["", ""]


def redirected(handler: Handler) -> None:
    """To another path of the same server."""
    handler.start(302, 0, Location="/elsewhere/all.zip")


def test_a_redirect_is_followed(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = [redirected]
    fetch(mirror, tmp_path)
    assert [path for path, _ in mirror.asked] == ["/PyPI/all.zip", "/elsewhere/all.zip"]


def test_checksums_that_the_server_gives_are_compared(mirror: Mirror, tmp_path: Path) -> None:
    def encoded(algorithm: str, data: bytes) -> str:
        return base64.b64encode(hashlib.new(algorithm, data, usedforsecurity=False).digest()).decode()

    data = mirror.archive
    right = {"Repr_Digest": f"sha-256=:{encoded('sha256', data)}:", "x_goog_hash": f"md5={encoded('md5', data)}"}
    mirror.answers = [answers(200, data, **right)]
    fetch(mirror, tmp_path)
    for wrong in (
        {"Repr_Digest": f"sha-256=:{encoded('sha256', b'x')}:"},
        {"x_goog_hash": f"crc32c=AAAAAA==,md5={encoded('md5', b'x')}"},
    ):
        mirror.answers = [answers(200, data, **wrong)]
        with pytest.raises(CouldNotDecide, match="that the server gives"):
            fetch(mirror, tmp_path)


def test_a_checksum_that_a_person_gives_must_hold(mirror: Mirror, tmp_path: Path) -> None:
    fetch(mirror, tmp_path, sha256=sha256_bytes(mirror.archive))
    with pytest.raises(CouldNotDecide, match="checksum was given"):
        fetch(mirror, tmp_path, sha256=Digest("sha256:" + "0" * 64))


def silent(handler: Handler) -> None:
    """Promises much and sends nothing."""
    handler.start(200, 10_000)
    handler.wfile.flush()
    threading.Event().wait(1.0)
    handler.close_connection = True


def dripping(handler: Handler) -> None:
    """A byte now and then, for ever."""
    handler.start(200, 10_000)
    for _ in range(40):
        try:
            handler.wfile.write(b"x")
            handler.wfile.flush()
        except OSError:
            return
        threading.Event().wait(0.05)


def too_much(handler: Handler) -> None:
    """More than is allowed, without saying so beforehand."""
    handler.start(200, 0, Content_Length="")
    try:
        handler.wfile.write(bytes(200_000))
    except OSError:
        return
    handler.close_connection = True


def headers_without_an_end(handler: Handler) -> None:
    """A header now and then, for ever: no single wait is long."""
    handler.wfile.write(b"HTTP/1.0 200 OK\r\n")
    for number in range(60):
        try:
            handler.wfile.write(b"X-%d: x\r\n" % number)
            handler.wfile.flush()
        except OSError:
            return
        threading.Event().wait(0.05)
    handler.close_connection = True


def part(where: str, **headers: str) -> Answer:
    """An answer to a request for the rest."""
    return answers(206, b"x" * 50, Content_Range=where, **headers)


HOSTILE: dict[str, list[Answer]] = {
    "not found": [answers(404)],
    "broken server": [answers(500, b"oops")],
    "empty": [answers(200)],
    "a page instead of an archive": [answers(200, b"<html>please log in</html>")],
    "nothing for a long time": [silent] * 3,
    "a byte now and then": [dripping],
    "announces more than is allowed": [answers(200, b"x", Content_Length=str(10**9))],
    "announces an absurd length": [answers(200, b"x", Content_Length="9" * 40)] * 2,
    "sends more than is allowed": [too_much],
    "compressed, which was not asked for": [answers(200, b"x" * 50, Content_Encoding="gzip")],
    "a part that was not asked for": [answers(206, b"x" * 50, Content_Range="bytes 0-49/99")],
    "continues elsewhere": [breaks_off, part("bytes 7-56/99")],
    "continues without saying where": [breaks_off, part("")],
    "continues behind its own end": [breaks_off, part("bytes {half}-99999/9999")],
    "continues with another export": [breaks_off, part("bytes {half}-99998/99999", ETag='"other"')],
    "gives a piece for the rest, again and again": [breaks_off, *[part("bytes {half}-{last}/{whole}")] * 3],
    "headers without an end": [headers_without_an_end],
    "redirect to another machine without TLS": [answers(302, Location="http://192.0.2.1/all.zip")],
    "redirects in a circle": [redirected] * 7,
    "redirect to a file": [answers(302, Location="file:///etc/passwd")],
    "redirect without a place": [answers(302, Location="")],
    "redirect to nonsense": [answers(302, Location="http://[::bad")] * 2,
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_server_that_cannot_be_used_decides_nothing(attack: str, mirror: Mirror, tmp_path: Path) -> None:
    fetch(mirror, tmp_path)
    before = (tmp_path / "index.json").read_bytes()
    mirror.answers = HOSTILE[attack].copy()
    how = Fetching(max_bytes=100_000, silence=0.4, deadline=1.0, attempts=2, pause=0.0)
    with pytest.raises(CouldNotDecide):
        update(tmp_path, "PyPI", clock=NOW, base=mirror.url, how=how)
    assert (tmp_path / "index.json").read_bytes() == before
    assert present(tmp_path) == 1


def test_a_piece_of_the_rest_is_kept_and_the_download_goes_on(mirror: Mirror, tmp_path: Path) -> None:
    def a_piece(handler: Handler) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        data = mirror.archive
        handler.start(206, 50, Content_Range=f"bytes {start}-{start + 49}/{len(data)}")
        handler.wfile.write(data[start : start + 50])

    mirror.answers = [breaks_off, a_piece]
    fetch(mirror, tmp_path)
    half = len(mirror.archive) // 2
    assert [asked for _, asked in mirror.asked] == ["", f"bytes={half}-", f"bytes={half + 50}-"]


def test_a_password_in_the_address_goes_to_the_server_alone(mirror: Mirror, tmp_path: Path) -> None:
    base = mirror.url.replace("http://", "http://somebody:secret@")
    heard: list[str] = []

    def asked_with(handler: Handler) -> None:
        heard.append(handler.headers.get("Authorization", ""))
        honest(handler)

    mirror.answers = [asked_with, answers(404)]
    taken = update(tmp_path, "PyPI", clock=NOW, base=base, how=QUICK)
    with pytest.raises(CouldNotDecide) as failed:
        update(tmp_path, "PyPI", clock=NOW, base=base, how=QUICK)
    assert heard == ["Basic " + base64.b64encode(b"somebody:secret").decode()]
    told = taken.label + str(failed.value) + (tmp_path / "index.json").read_text()
    assert "secret" not in told
    assert update(tmp_path, "PyPI", clock=NOW, base=base, how=QUICK)  # known again without it
    assert mirror.sent[-1] == 304


def test_a_home_that_is_full_or_closed_decides_nothing(mirror: Mirror, tmp_path: Path) -> None:
    (tmp_path / "downloads").write_text("a file where a directory should be")
    with pytest.raises(CouldNotDecide, match="could not be stored"):
        fetch(mirror, tmp_path)


def test_a_server_that_is_not_there_decides_nothing(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(CouldNotDecide, match="ConnectError"):
        update(tmp_path, "PyPI", clock=NOW, base="http://127.0.0.1:1", how=QUICK)
    with pytest.raises(CouldNotDecide):
        update(tmp_path, "PyPI", clock=NOW, base="https" + mirror.url.removeprefix("http"), how=QUICK)


@pytest.mark.parametrize(
    "base",
    ["http://mirror.example/osv", "ftp://mirror.example", "mirror.example", "https://", "http://[::1", "https://a?b"],
)
def test_an_address_that_cannot_be_trusted_is_wrong_usage(base: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        update(tmp_path, "PyPI", clock=NOW, base=base, how=QUICK)


@pytest.mark.parametrize("name", ["../../etc", "", "PyPI/../npm", "x" * 99])
def test_a_name_that_is_no_ecosystem_is_wrong_usage(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        update(tmp_path, name, clock=NOW, base="https://mirror.example", how=QUICK)


def test_the_command_fetches_and_says_what_failed(mirror: Mirror, tmp_path: Path) -> None:
    arguments = ["advisories", "update", "--from", mirror.url, "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, [*arguments, "--ecosystem", "PyPI"])
    assert (done.exit_code, done.stdout[:15]) == (0, "PyPI: 1 records")
    mirror.answers = [answers(404), honest]
    done = CliRunner().invoke(app, [*arguments, "--ecosystem", "Debian", "--ecosystem", "PyPI"])
    assert done.exit_code == 3
    assert "404" in done.stderr
    assert "PyPI: 1 records" in done.stdout
    odd = CliRunner().invoke(app, [*arguments, "--ecosystem", "PyPI", "--sha256", "d41d8"])
    assert (odd.exit_code, "no checksum" in odd.stderr) == (2, True)
    two = CliRunner().invoke(app, [*arguments, "--ecosystem", "a", "--ecosystem", "b", "--sha256", "0" * 64])
    assert two.exit_code == 2


@pytest.mark.parametrize("name", ["Nope", "pypi", "Go", ""])
def test_an_ecosystem_that_is_not_understood_is_answered_with_those_that_are(
    name: str, mirror: Mirror, tmp_path: Path
) -> None:
    """Nobody is asked: nothing would ever be looked up in it."""
    arguments = ["advisories", "update", "--from", mirror.url, "--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, [*arguments, "--ecosystem", "PyPI", "--ecosystem", name])
    assert (done.exit_code, done.stdout) == (2, "")
    assert all(known in done.stderr for known in ("PyPI", "Debian", "npm", "Red Hat"))
