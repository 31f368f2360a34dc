"""The image check names what is wrong with an image, how bad it is, and how to mend it."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest

from checks.image import check_image
from checks.interface import CheckResult, Level, Status
from pratique.digests import sha256_bytes
from pratique.intake.image import ArchiveImage, LayoutImage, open_image, read_inventory
from tests.assets.images import Item, MadeImage, entry, made

PASSWD = ("etc/passwd", b"root:x:0:0::/:\nnobody:x:65534:65534::/:\n")


def _judged(tmp_path: Path, image: MadeImage) -> CheckResult:
    top = image.manifest()
    layout = image.write_layout(tmp_path / "image", [top])
    opened = open_image(LayoutImage(layout), expected=top["digest"], workdir=tmp_path)
    return check_image(opened, read_inventory(opened))


def _image(*items: Item, **run: Any) -> MadeImage:
    """A harmless image with `items` and `run` on top."""
    return made(PASSWD, ("usr/bin/ls", b""), *items, run={"User": "65534", **run})


def test_a_careful_image_passes_without_findings(tmp_path: Path) -> None:
    """Nothing is invented."""
    result = _judged(tmp_path, _image(entry("opt/tool", mode=0o755), Entrypoint=["/opt/tool"], Env=["PATH=/opt"]))
    assert (result.status, result.findings) == (Status.PASSED, ())
    assert (result.measured("layers"), result.measured("files"), result.measured("setuid")) == (1, 3, 0)


TOOL = entry("opt/tool", mode=0o755)
CASES: dict[str, tuple[MadeImage, str, Level]] = {
    "no user": (_image(User=""), "runs-as-root", Level.WARNING),
    "user root": (_image(User="root:nogroup"), "runs-as-root", Level.WARNING),
    "user zero": (_image(User="0:0"), "runs-as-root", Level.WARNING),
    "user zero in disguise": (_image(User="000"), "runs-as-root", Level.WARNING),
    "user that /etc/passwd makes root": (
        made(("etc/passwd", b"root:x:0:0::/:\ntool:x:0:0::/:\n"), run={"User": "tool"}),
        "runs-as-root",
        Level.WARNING,
    ),
    "user nobody knows": (_image(User="tool"), "unknown-user", Level.WARNING),
    "LD_PRELOAD": (_image(Env=["LD_PRELOAD=/opt/hook.so"]), "preloaded-library", Level.ERROR),
    "LD_AUDIT": (_image(Env=["LD_AUDIT=/opt/hook.so"]), "preloaded-library", Level.ERROR),
    "ld.so.preload behind a link": (
        _image(entry("etc/ld.so.preload", tarfile.SYMTYPE, linkname="/opt/list"), ("opt/list", b"/opt/hook.so\n")),
        "preloaded-library",
        Level.ERROR,
    ),
    "ld.so.preload too long to be read": (
        _image(("etc/ld.so.preload", b"#" * 2**20 + b"\n/opt/hook.so\n")),
        "accounts-too-long",
        Level.ERROR,
    ),
    "accounts in a folder behind a link": (
        made(
            entry("etc", tarfile.SYMTYPE, linkname="opt/lists"),
            ("opt/lists/passwd", b"root:x:0:0::/:\ntoor:x:0:0::/:\n"),
            run={"User": "1"},
        ),
        "second-root",
        Level.ERROR,
    ),
    "second root whose number is long": (
        made(("etc/passwd", b"root:x:0:0::/:\ntoor:x:" + b"0" * 5000 + b":0::/:\n"), run={"User": "1"}),
        "second-root",
        Level.ERROR,
    ),
    "ld.so.preload": (_image(("etc/ld.so.preload", b"/opt/hook.so\n")), "preloaded-library", Level.ERROR),
    "code in the environment": (_image(Env=["PYTHONSTARTUP=/x.py"]), "code-in-environment", Level.WARNING),
    "PATH with an empty part": (_image(Env=["PATH=/usr/bin:"]), "open-search-path", Level.WARNING),
    "PATH with a relative part": (_image(Env=["PATH=bin:/usr/bin"]), "open-search-path", Level.WARNING),
    "PATH anybody can write": (
        _image(entry("scratch", tarfile.DIRTYPE, mode=0o777), Env=["PATH=/scratch"]),
        "open-search-path",
        Level.WARNING,
    ),
    "health check": (_image(Healthcheck={"Test": ["CMD", "/beacon"]}), "healthcheck", Level.WARNING),
    "volume": (_image(Volumes={"/data": {}}), "volumes", Level.WARNING),
    "ONBUILD": (_image(OnBuild=["RUN x"]), "onbuild", Level.WARNING),
    "port": (_image(ExposedPorts={"80/tcp": {}}), "exposed-ports", Level.NOTE),
    "entry point that is not there": (_image(Entrypoint=["/opt/absent"]), "entrypoint-missing", Level.ERROR),
    "entry point not executable": (_image(("opt/x", b""), Entrypoint=["/opt/x"]), "entrypoint-missing", Level.ERROR),
    "entry point not on the PATH": (_image(TOOL, Cmd=["tool"]), "entrypoint-missing", Level.ERROR),
    "setuid of its own": (_image(entry("opt/helper", mode=0o4755)), "setuid-program", Level.ERROR),
    "setgid of its own": (_image(entry("opt/helper", mode=0o2755)), "setuid-program", Level.ERROR),
    "setuid named like a usual one elsewhere": (_image(entry("opt/su", mode=0o4755)), "setuid-program", Level.ERROR),
    "hard link to a setuid program": (
        _image(entry("usr/bin/su", mode=0o4755), entry("opt/l", tarfile.LNKTYPE, linkname="usr/bin/su")),
        "setuid-program",
        Level.ERROR,
    ),
    "file capabilities": (
        _image(entry("opt/raw", mode=0o755, pax_headers={"SCHILY.xattr.security.capability": "x"})),
        "setuid-program",
        Level.ERROR,
    ),
    "usual setuid program": (_image(entry("usr/bin/su", mode=0o4755)), "usual-setuid-program", Level.WARNING),
    "disk device": (_image(entry("opt/sda", tarfile.BLKTYPE)), "device-node", Level.ERROR),
    "disk device called null": (_image(entry("dev/null", tarfile.BLKTYPE)), "device-node", Level.ERROR),
    "memory device": (_image(entry("dev/mem", tarfile.CHRTYPE, devmajor=1, devminor=1)), "device-node", Level.ERROR),
    "climbing link": (
        _image(entry("opt/l", tarfile.SYMTYPE, linkname="../../etc/shadow")),
        "climbing-symlink",
        Level.WARNING,
    ),
    "file anybody can change": (_image(entry("opt/a", mode=0o666)), "world-writable-file", Level.WARNING),
    "directory anybody can change": (
        _image(entry("opt/d", tarfile.DIRTYPE, mode=0o777)),
        "world-writable-directory",
        Level.NOTE,
    ),
    "shell": (_image(entry("bin/sh", mode=0o755)), "shell", Level.NOTE),
    "second root": (
        made(("etc/passwd", b"root:x:0:0::/:\ntoor:x:0:0::/:\n"), run={"User": "1"}),
        "second-root",
        Level.ERROR,
    ),
    "second root by another spelling of zero": (
        made(("etc/passwd", b"root:x:0:0::/:\ntoor:x:00:0::/:\n"), run={"User": "1"}),
        "second-root",
        Level.ERROR,
    ),
    "account without a password": (
        _image(("etc/shadow", b"root:*:1::\ntool::1::\n")),
        "account-with-password",
        Level.ERROR,
    ),
    "account with a stored password": (
        _image(("etc/shadow", b"root:$6$salt$hash:1::\n")),
        "account-with-password",
        Level.ERROR,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_fault_has_its_finding_and_its_fix(tmp_path: Path, name: str) -> None:
    """One rule a fault, with a level, a place and what to do; errors fail the check and nothing else does."""
    image, rule, level = CASES[name]
    result = _judged(tmp_path, image)
    found = [finding for finding in result.findings if finding.rule_id == f"image/{rule}"]
    assert len(found) == 1, [finding.rule_id for finding in result.findings]
    assert (found[0].level, bool(found[0].fix), bool(found[0].where)) == (level, True, True)
    failed = any(finding.level is Level.ERROR for finding in result.findings)
    assert result.status is (Status.FAILED if failed else Status.PASSED)


def test_usual_device_nodes_and_links_say_nothing(tmp_path: Path) -> None:
    """What `debootstrap` leaves in /dev, and links that stay inside."""
    items = [entry(f"dev/{name}", tarfile.CHRTYPE, devmajor=1) for name in ("null", "zero", "tty", "ptmx")]
    links = [entry("opt/l", tarfile.SYMTYPE, linkname="../etc/passwd"), entry("m", tarfile.SYMTYPE, linkname="/proc/x")]
    assert _judged(tmp_path, _image(*items, *links)).findings == ()


def test_many_files_make_one_short_finding(tmp_path: Path) -> None:
    """A report stays readable."""
    result = _judged(tmp_path, _image(*(entry(f"opt/{n:04}", mode=0o666) for n in range(500))))
    assert len(result.findings) == 1
    assert "and 492 more" in result.findings[0].message
    assert len(result.findings[0].message) < 300


def test_an_archive_without_a_manifest_is_told_so(tmp_path: Path) -> None:
    """No signature can speak of it."""
    image = _image()
    (tmp_path / "image.tar").write_bytes(image.docker_archive())
    opened = open_image(ArchiveImage(tmp_path / "image.tar"), expected=sha256_bytes(image.config()), workdir=tmp_path)
    rules = [finding.rule_id for finding in check_image(opened, read_inventory(opened)).findings]
    assert rules == ["image/no-manifest"]
