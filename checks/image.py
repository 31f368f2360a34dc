"""Is the image built with care? Its configuration, its file system and what was left in it, judged from the bytes.

Nothing is executed. The sandbox and the node override a hostile configuration anyway; an image that brings one is
told so, because other places where it will run may not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from checks.image_secrets import NOT_SEARCHED, find_secrets
from checks.interface import CheckResult, Finding, Level, Measurement, Status, status_of
from pratique.intake.image.again import read_again
from pratique.intake.image.guards import climbs
from pratique.intake.image.model import DigestOrigin, FileEntry, Image, Inventory, Kind

CHECK = "image"
VERSION = "8"
_SHOWN = 8


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CODE_VARIABLES = _words(
    "BASH_ENV ENV NODE_OPTIONS PERL5OPT PERL5LIB PYTHONSTARTUP PYTHONBREAKPOINT PYTHONINSPECT PYTHONHOME RUBYOPT "
    "JAVA_TOOL_OPTIONS _JAVA_OPTIONS GCONV_PATH LD_PROFILE R_PROFILE"
)
_LOADER_VARIABLES = frozenset(("LD_PRELOAD", "LD_AUDIT"))
_USUAL_SETUID = _words(
    "su sudo mount umount passwd chsh chfn gpasswd newgrp chage expiry wall ping ping6 ssh-agent ssh-keysign pkexec "
    "fusermount fusermount3 newuidmap newgidmap unix_chkpwd unix_update pam_timestamp_check bbsuid write crontab "
    "dbus-daemon-launch-helper polkit-agent-helper-1 at bsd-write dotlockfile"
)
_PROGRAM_FOLDERS = ("bin/", "sbin/", "usr/bin/", "usr/sbin/", "usr/lib/", "usr/libexec/", "lib/")
_USUAL_DEVICES = frozenset(
    f"dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx")
)
_MAX_LIST = 1024**2
_SHELLS = ("sh", "bash", "dash", "ash", "zsh", "busybox")


def check_image(image: Image, inventory: Inventory) -> CheckResult:
    """Judge how the image was built.

    Failed on what serves an attack or gives something away: preloaded libraries, unusual setuid programs, device
    nodes, secrets, accounts without a password, an entrypoint that is not there. *Inconclusive* where not all of what
    may hold a secret could be looked into. Measurements: `layers`, `bytes`, `files`, `setuid`, `secrets`.
    """
    started = time.monotonic()
    secrets = tuple(find_secrets(image, inventory))
    findings = (
        *_identity(image),
        *_user(image, inventory),
        *_environment(image, inventory),
        *_configuration(image, inventory),
        *_below_volumes(image, inventory),
        *_privileged_files(inventory),
        *_odd_files(inventory),
        *_accounts(image, inventory),
        *secrets,
    )
    unsearched = sum(finding.rule_id == f"{CHECK}/{NOT_SEARCHED}" for finding in secrets)
    status = Status.INCONCLUSIVE if unsearched and status_of(findings) is Status.PASSED else status_of(findings)
    errors = sum(finding.level is Level.ERROR for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    return CheckResult(
        check=CHECK,
        version=VERSION,
        status=status,
        summary=f"{len(image.layers)} layers, {len(inventory.files):,} paths: {errors} errors, {warnings} warnings"
        + (", and not all was searched for secrets" if unsearched else ""),
        findings=findings,
        measurements=(
            Measurement(name="layers", value=len(image.layers), unit="layers"),
            Measurement(name="bytes", value=inventory.bytes_, unit="bytes", method="sum of the unpacked layers"),
            Measurement(name="files", value=sum(e.kind is Kind.FILE for e in inventory.files.values()), unit="files"),
            Measurement(name="setuid", value=sum(e.setuid for e in inventory.files.values()), unit="files"),
            Measurement(name="secrets", value=len(secrets) - unsearched, unit="findings", method="names and patterns"),
        ),
        inputs={"image": image.manifest_digest, "config": image.config_digest},
        seconds=time.monotonic() - started,
    )


def _finding(
    rule: str, level: Level, message: str, fix: str, where: str = "", risks: tuple[str, ...] = ("G1",)
) -> Finding:
    return Finding(rule_id=f"{CHECK}/{rule}", level=level, message=message, where=where, fix=fix, risks=risks)


def _grouped(rule: str, level: Level, what: str, entries: Iterable[FileEntry], fix: str) -> Iterator[Finding]:
    """One finding for all `entries`, none when there are none."""
    paths = sorted("/" + entry.path for entry in entries)
    if paths:
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        yield _finding(rule, level, f"{what}: {', '.join(paths[:_SHOWN])}{more}", fix, where=paths[0])


# --- configuration ---------------------------------------------------------------------------------------------------


def _identity(image: Image) -> Iterator[Finding]:
    if image.digest_origin is DigestOrigin.SYNTHESISED:
        yield _finding(
            "no-manifest",
            Level.WARNING,
            "the archive has no image manifest: no registry and no signature knows this image by its digest",
            "Hand the image in as an OCI layout (`skopeo copy … oci:DIR`), as it was pushed and signed.",
            where=image.name,
            risks=("G3",),
        )


def _user(image: Image, inventory: Inventory) -> Iterator[Finding]:
    name = image.config.user.partition(":")[0]
    uid = name if name.isdecimal() else _uids(image, inventory).get(name, "0" if name in ("", "root") else "")
    if uid.lstrip("0") == "" and uid:
        yield _finding(
            "runs-as-root",
            Level.WARNING,
            "the image runs as root unless told otherwise",
            "Add an unprivileged user and `USER 65534:65534` (a number) to the Dockerfile.",
            where="config: User",
        )
    elif not uid:
        yield _finding(
            "unknown-user",
            Level.WARNING,
            f"the image runs as {name[:80]!r}, whom its /etc/passwd does not know",
            "Name the user by number: `USER 65534:65534`.",
            where="config: User",
        )


def _uids(image: Image, inventory: Inventory) -> dict[str, str]:
    rows = (line.split(":") for line in _lines(image, inventory, "etc/passwd"))
    return {row[0]: row[2] for row in rows if len(row) > 2}


def _environment(image: Image, inventory: Inventory) -> Iterator[Finding]:
    for name, value in image.config.env:
        if name in _LOADER_VARIABLES and value:
            yield _finding(
                "preloaded-library",
                Level.ERROR,
                f"{name} loads {value[:200]!r} into every program of the image",
                f"Remove {name} from the image; link the library where it is needed.",
                where=f"config: Env {name}",
            )
        elif name in _CODE_VARIABLES and value:
            yield _finding(
                "code-in-environment",
                Level.WARNING,
                f"{name} makes interpreters run code that the command line does not name",
                f"Remove {name} from the image.",
                where=f"config: Env {name}",
            )
        elif name in ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH") and _open_search_path(value, inventory):
            yield _finding(
                "open-search-path",
                Level.WARNING,
                f"{name} searches a relative or world-writable directory: {value[:200]!r}",
                f"Name absolute directories that only root can write in {name}, without empty parts.",
                where=f"config: Env {name}",
            )
    if any(line.strip() and not line.startswith("#") for line in _lines(image, inventory, "etc/ld.so.preload")):
        yield _finding(
            "preloaded-library",
            Level.ERROR,
            "/etc/ld.so.preload loads a library into every program of the image",
            "Remove /etc/ld.so.preload.",
            where="/etc/ld.so.preload",
        )


def _open_search_path(value: str, inventory: Inventory) -> bool:
    if not value:
        return False
    for part in value.split(":"):
        entry = inventory.resolve(part)
        if not part.startswith("/") or (entry and entry.mode & 0o002):
            return True
    return False


def _configuration(image: Image, inventory: Inventory) -> Iterator[Finding]:
    config = image.config
    if config.healthcheck and config.healthcheck[0] != "NONE":
        yield _finding(
            "healthcheck",
            Level.WARNING,
            "the image brings a health check: a command that engines run beside the tool, again and again",
            "Remove HEALTHCHECK, or write `HEALTHCHECK NONE`; a tool that runs once needs none.",
            where="config: Healthcheck",
        )
    if config.volumes:
        yield _finding(
            "volumes",
            Level.WARNING,
            f"the image declares volumes, writable even in a read-only container: {', '.join(config.volumes)[:300]}",
            "Remove VOLUME; write to the output directory given on the command line.",
            where="config: Volumes",
        )
    if config.onbuild:
        yield _finding(
            "onbuild",
            Level.WARNING,
            "the image carries instructions for whoever builds upon it",
            "Remove ONBUILD.",
            where="config: OnBuild",
        )
    if config.exposed_ports:
        yield _finding(
            "exposed-ports",
            Level.NOTE,
            f"the image says it listens on {', '.join(config.exposed_ports)[:200]}; the sandbox has no network",
            "Remove EXPOSE unless the tool is a service.",
            where="config: ExposedPorts",
        )
    yield from _entrypoint(image, inventory)


def _below_volumes(image: Image, inventory: Inventory) -> Iterator[Finding]:
    """Files that the image ships below a VOLUME: the sandbox puts an empty file system over them."""
    for volume in image.config.volumes:
        below = "/".join(part for part in volume.split("/") if part not in ("", ".")) + "/"
        yield from _grouped(
            "files-below-volume",
            Level.WARNING,
            f"files below the volume {volume[:100]}, which is an empty directory in the sandbox",
            (e for e in inventory.files.values() if e.path.startswith(below) and e.kind is not Kind.DIRECTORY),
            "Remove VOLUME from the Dockerfile, or put the files elsewhere.",
        )


def _entrypoint(image: Image, inventory: Inventory) -> Iterator[Finding]:
    command = image.config.entrypoint or image.config.cmd
    if not command:
        return
    program = command[0]
    if "/" in program:
        candidates = [program if program.startswith("/") else f"{image.config.workdir}/{program}"]
    else:
        candidates = [f"{part}/{program}" for part in dict(image.config.env).get("PATH", "/usr/bin:/bin").split(":")]
    found = [entry for candidate in candidates if (entry := inventory.resolve(candidate))]
    if not any(entry.executable for entry in found):
        yield _finding(
            "entrypoint-missing",
            Level.ERROR,
            f"the image starts {program[:200]!r}, which is not {'executable' if found else 'there'}",
            "Correct ENTRYPOINT (or CMD) in the Dockerfile, or add the program and make it executable.",
            where="config: Entrypoint",
        )


# --- files -----------------------------------------------------------------------------------------------------------


def _usual(entry: FileEntry) -> bool:
    return entry.path.startswith(_PROGRAM_FOLDERS) and entry.path.rpartition("/")[2] in _USUAL_SETUID


def _privileged_files(inventory: Inventory) -> Iterator[Finding]:
    raised = [entry for entry in inventory.files.values() if entry.setuid or entry.capabilities]
    fix = "Take the bits away in the Dockerfile: `RUN find / -xdev -perm /6000 -type f -exec chmod a-s {} +`."
    yield from _grouped(
        "setuid-program",
        Level.ERROR,
        "programs that raise the privileges of whoever starts them",
        (entry for entry in raised if not _usual(entry)),
        fix,
    )
    yield from _grouped(
        "usual-setuid-program",
        Level.WARNING,
        "programs of the operating system that raise privileges and that a tool does not need",
        (entry for entry in raised if _usual(entry)),
        fix,
    )


def _odd_files(inventory: Inventory) -> Iterator[Finding]:
    entries = inventory.files.values()
    devices = [entry for entry in entries if entry.kind in (Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE)]
    yield from _grouped(
        "device-node",
        Level.ERROR,
        "device nodes, through which a container may reach the host's hardware",
        (entry for entry in devices if entry.path not in _USUAL_DEVICES or entry.kind is Kind.BLOCK_DEVICE),
        "Remove the device nodes; engines make /dev themselves.",
    )
    yield from _grouped(
        "climbing-symlink",
        Level.WARNING,
        "symbolic links that climb above the root of the image",
        (
            e
            for e in entries
            if e.kind is Kind.SYMLINK and not e.linkname.startswith("/") and climbs(e.path, e.linkname)
        ),
        "Point the links to a path inside the image.",
    )
    yield from _grouped(
        "world-writable-file",
        Level.WARNING,
        "files that every user in the container can change",
        (entry for entry in entries if entry.kind is Kind.FILE and entry.mode & 0o002),
        "Take the permission away: `RUN chmod o-w FILE`, or `COPY --chmod=0644`.",
    )
    yield from _grouped(
        "world-writable-directory",
        Level.NOTE,
        "directories where every user can replace other users' files",
        (entry for entry in entries if entry.kind is Kind.DIRECTORY and entry.mode & 0o1002 == 0o002),
        "Give the directory to the tool's user, or set the sticky bit: `RUN chmod 1777 DIR`.",
    )
    yield from _grouped(
        "shell",
        Level.NOTE,
        "shells, which make an intruder's work easier",
        (e for e in entries if e.executable and e.path in {f"{f}bin/{s}" for f in ("", "usr/") for s in _SHELLS}),
        "Consider a base image without a shell if the tool starts no other programs.",
    )


def _accounts(image: Image, inventory: Inventory) -> Iterator[Finding]:
    yield from _grouped(
        "accounts-too-long",
        Level.ERROR,
        f"lists of accounts or libraries of more than {_MAX_LIST:,} bytes, which are not read",
        _too_long(inventory),
        "Leave in them what the tool needs.",
    )
    roots = [name for name, uid in _uids(image, inventory).items() if uid and not uid.strip("0") and name != "root"]
    if roots:
        yield _finding(
            "second-root",
            Level.ERROR,
            f"accounts with the powers of root: {', '.join(roots)[:200]}",
            "Remove the accounts from /etc/passwd.",
            where="/etc/passwd",
        )
    rows = (line.split(":") for line in _lines(image, inventory, "etc/shadow"))
    opened = [row[0] for row in rows if len(row) > 1 and (row[1] == "" or row[1].startswith(("$", "_")))]
    if opened:
        yield _finding(
            "account-with-password",
            Level.ERROR,
            f"accounts that can be logged in to, with an empty or a stored password: {', '.join(opened)[:200]}",
            "Lock the accounts: `RUN passwd -l NAME`.",
            where="/etc/shadow",
        )


def _lines(image: Image, inventory: Inventory, path: str) -> list[str]:
    """Lines of a list of accounts or libraries, also behind links; none where it is not there, or too long."""
    entry = _file(inventory, path)
    found = read_again(image, inventory, [entry] if entry is not None else [], most=_MAX_LIST)
    return [line for data in found.values() for line in data.decode("utf-8", "replace").splitlines()]


def _too_long(inventory: Inventory) -> Iterator[FileEntry]:
    for path in ("etc/passwd", "etc/shadow", "etc/ld.so.preload"):
        entry = _file(inventory, path)
        if entry is not None and entry.size > _MAX_LIST:
            yield entry


def _file(inventory: Inventory, path: str) -> FileEntry | None:
    entry = inventory.files.get(path)
    entry = entry if entry is not None and entry.kind is Kind.FILE else inventory.resolve(path)
    return entry if entry is not None and entry.kind is Kind.FILE else None
