"""Secrets left in an image: in its configuration, in its files, and in files that a later layer removed.

Recognised by name and by form, never repeated in what is reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from checks.interface import Finding, Level
from checks.ownership import Ownership, read_ownership
from checks.secret_forms import MAX_TEXT, find_hits, kind_of, masked, may_be_text, text_of
from pratique.errors import CouldNotDecide
from pratique.intake.image.again import read_each_again
from pratique.intake.image.classify import classify
from pratique.intake.image.model import MAX_WHOLE, FileClass, FileEntry, Image, ImageConfig, Inventory, Kind

_TELLING_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|ENCRYPTION_?KEY)"
    r"(?:_ID|_VALUE|_BASE64|_B64)?$",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(r"\b([A-Za-z][A-Za-z0-9_]{2,80})=(?:\"([^\"]{4,})\"|'([^']{4,})'|([^\s\"';|&$]{4,}))")
_ENVIRONMENT_LINE = (
    r"^[ \t]*(?:export[ \t]+)?\w{0,80}?(?:password|passwd|secret|token|api_?key|access_?key|private_?key)\w{0,80}"
    r"[ \t]*=[ \t]*"
    r"(?![\"']?(?:\$|<|\{|changeme|xxx|your|none|null|true|false|/))[\"']?[^\s\"'#]{6,}"
)
_NAMED_FILES: Sequence[tuple[re.Pattern[str], re.Pattern[str], str]] = tuple(
    (re.compile(rf"(?:^|/)(?:{name})$"), re.compile(form, re.IGNORECASE | re.MULTILINE), kind)
    for name, form, kind in (
        (
            r"\.docker/config\.json|\.dockercfg|\.dockerconfigjson",
            r'"(?:auth|identitytoken|registrytoken)"\s*:\s*"[^"]{8,}"',
            "a registry's credentials",
        ),
        (r"[._]netrc", r"\bpassword\s+\S{3,}", "a password"),
        (r"\.pgpass", r"^[^#:\n]+:[^:\n]*:[^:\n]*:[^:\n]*:\S+", "a database's password"),
        (
            r"\.kube/config|[^/]*kubeconfig[^/]*|kubernetes/admin\.conf",
            r"^[ \t]*(?:client-key-data|token|password|id-token|refresh-token):\s*\S{8,}",
            "a cluster's credentials",
        ),
        (r"\.htpasswd", r"^[^:\s#]+:(?:\$|\{SHA\}|[./0-9A-Za-z]{13}$)", "the hash of a password"),
        (r"kaggle\.json", r'"key"\s*:\s*"[0-9a-f]{32}"', "a Kaggle key"),
        (r"\.vault-token", r"\S{20,}", "a Vault token"),
        (r"application_default_credentials\.json", r'"(?:refresh_token|private_key)"\s*:\s*"\S+', "credentials"),
        (r"[^/]*\.env(?:\.[\w-]+)?", _ENVIRONMENT_LINE, "a secret"),
    )
)
_IN_FILE = re.compile(
    r"(?:_auth(?:Token)?|password|passwd|pass|secret|secret_key|token|aws_secret_access_key|\"auth\")\"?\s{0,3}[:=]\s{0,3}"
    r"[\"']?(?!\$\{?[A-Z_a-z])[\w+/=.~-]{4,}",
    re.I,
)
_KEY_STORES = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")
_KEY_STORE_NAMES = (".p12", ".pfx", ".jks", ".keystore", ".bcfks")
_EMPTY_VALUES = frozenset(("", "none", "null", "false", "true", "changeme", "changeit", "xxxx", "redacted"))
_SMALL = 256 * 1024
_TEXT_BUDGET = 512 * 1024**2
_MOST_FILES = 250_000
"""Texts searched of each kind (kept, seen, removed); beyond these bounds the check cannot decide."""
_REMOVED = ", removed by a later layer but still in the image,"
NOT_SEARCHED = "secrets-not-searched"
"""Last part of the rule of what was not looked into: with it, no image passes."""
_KEPT_TEXTS = (
    FileClass.SOURCE,
    FileClass.NODE_METADATA,
    FileClass.PYTHON_STARTUP,
    FileClass.SYSTEM,
)
_GENERATED = re.compile(
    r"(?:var/(?:lib/(?:dpkg|apt|rpm|apk|pam|systemd)|cache|log)|lib/apk|usr/share/zoneinfo|etc/ssl/certs)/"
)
_OF_LIBRARIES = re.compile(
    r"(?:^|/)(?:(?:site|dist)-packages|node_modules)/|^usr/(?:share/(?:doc|perl)|lib/python3[^/]*/test)/"
)
_TESTS = frozenset(("test", "tests", "testing", "testdata"))


def find_secrets(image: Image, inventory: Inventory) -> Iterator[Finding]:
    """Every secret in configuration, history and files, also in files that a later layer removed.

    What could not be looked into is a warning of the rule `image/secrets-not-searched`.
    """
    for where, what in secrets_in_config(image.config):
        yield _finding(
            "secret",
            Level.ERROR,
            f"{what} is written in the image's configuration, for everybody who gets the image to read",
            "Revoke it now. Give secrets at run time, or while building with `RUN --mount=type=secret`.",
            where=f"config: {masked(where)}",
        )
    ownership = _ownership(inventory)
    for entry in inventory.of_class(FileClass.SECRET):
        try:
            found = secret_in_file(entry.path, inventory.read(entry.path))
        except CouldNotDecide as error:
            yield _not_searched(f"/{masked(entry.path)} may be a secret, and was not examined ({error.cause})", entry)
            continue
        if found:
            yield _secret_file(entry, found[0] if ownership.is_own(entry) else Level.NOTE, found[1])
        elif entry.size > MAX_TEXT:
            yield _not_searched(f"/{masked(entry.path)} may be a secret, and was examined in its first MiB only", entry)
    yield from _key_stores(inventory, ownership)
    yield from _repositories(inventory)
    yield from _in_texts(image, inventory, ownership)


def _ownership(inventory: Inventory) -> Ownership:
    """Whose the files are; where that cannot be read, all are taken for the tool's own."""
    try:
        return read_ownership(inventory)
    except CouldNotDecide:
        return Ownership(frozenset(), frozenset(), frozenset(), frozenset())


def _key_stores(inventory: Inventory, ownership: Ownership) -> Iterator[Finding]:
    what = "a store of keys, which nobody can look into"
    removed = [entry for entry in inventory.hidden if not _is_still_there(entry, inventory)]
    for entry in (*inventory.files.values(), *removed):
        named = entry.path.lower().endswith(_KEY_STORE_NAMES) and entry.head.startswith((b"\x30\x82", b"\x30\x80"))
        is_store = named or (entry.head.startswith(_KEY_STORES) and not entry.path.endswith("/cacerts"))
        if entry.kind is Kind.FILE and is_store and ownership.is_own(entry):
            hidden = inventory.files.get(entry.path) is not entry
            yield _secret_file(entry, _level(entry.path, Level.WARNING), what + (_REMOVED if hidden else ""))


def _repositories(inventory: Inventory) -> Iterator[Finding]:
    """A repository's history keeps what was once committed to it, and an image what a later layer removed."""
    shown = {path: entry for path, entry in inventory.files.items() if entry.kind is Kind.FILE}
    hidden = {entry.path: entry for entry in inventory.hidden if entry.kind is Kind.FILE}
    for files, more in ((shown, ""), ({p: e for p, e in hidden.items() if p not in shown}, _REMOVED)):
        filled = {path.rpartition("/objects/")[0] for path in files if "/objects/" in path}
        for path, entry in files.items():
            repository = path.removesuffix("/HEAD")
            if path.endswith(".git/HEAD") and repository in filled:
                yield _finding(
                    "repository-in-image",
                    Level.WARNING,
                    f"/{repository} is the history of a repository{more} with all that was ever committed",
                    "Leave `.git` out of the image (`.dockerignore`): a later `rm` leaves it in the earlier layer.",
                    where=f"/{repository} (layer {entry.layer})",
                )


# --- texts -----------------------------------------------------------------------------------------------------------


def _in_texts(image: Image, inventory: Inventory, ownership: Ownership) -> Iterator[Finding]:
    """Tokens and keys in programs, settings and other small texts that no package owns, seen or removed."""
    kept = [entry for kind in _KEPT_TEXTS for entry in inventory.of_class(kind)]
    shown, skipped = _chosen(kept, inventory, _TEXT_BUDGET)
    for entry in shown:
        yield from _in_text(entry, inventory.read(entry.path), hidden=False)
    others = [e for e in inventory.files.values() if _is_text(e) and e.path not in inventory.classes]
    others = [e for e in others if ownership.is_own(e)]
    hidden = [e for e in inventory.hidden if _is_text(e) and not _is_still_there(e, inventory)]
    visible, too_many = _chosen(others, inventory, _TEXT_BUDGET)
    removed, too_many_removed = _chosen(hidden, inventory, _TEXT_BUDGET)
    gone = frozenset(map(id, removed))
    missing = len(visible) + len(removed)
    for entry, data in read_each_again(image, inventory, [*visible, *removed]):
        missing -= 1
        yield from _in_text(entry, data, hidden=id(entry) in gone)
    if skipped := skipped + too_many + too_many_removed + missing:
        yield _not_searched(f"{skipped} texts were not searched for secrets: there are too many, or they are not whole")


def _not_searched(message: str, entry: FileEntry | None = None) -> Finding:
    where = f"/{masked(entry.path)} (layer {entry.layer})" if entry is not None else ""
    fix = "Leave out of the image what the tool does not need; what is not looked into may hold a secret."
    return _finding(NOT_SEARCHED, Level.WARNING, message, fix, where=where)


def _is_text(entry: FileEntry) -> bool:
    """Whether a file is small and begins as a text, and is none that package managers write."""
    if entry.kind is not Kind.FILE or not 0 < entry.size <= _SMALL or not may_be_text(entry.head):
        return False
    return not _GENERATED.match(entry.path) and not entry.path.endswith((".pyc", ".so", ".mo"))


def _is_still_there(entry: FileEntry, inventory: Inventory) -> bool:
    """Whether a later layer put the same bytes at the same place."""
    there = inventory.files.get(entry.path)
    return there is not None and there.sha256 == entry.sha256


def _chosen(entries: Iterable[FileEntry], inventory: Inventory, budget: int) -> tuple[list[FileEntry], int]:
    """The entries that are within the bounds, small ones first, and how many are not."""
    chosen: list[FileEntry] = []
    skipped = 0
    for entry in sorted(entries, key=lambda e: e.size):
        budget -= entry.size
        if budget < 0 or entry.size > MAX_WHOLE or len(chosen) >= _MOST_FILES or (entry.path in inventory.not_kept):
            skipped += 1
        else:
            chosen.append(entry)
    return sorted(chosen, key=lambda e: (e.path, e.layer)), skipped


def _in_text(entry: FileEntry, data: bytes, *, hidden: bool) -> Iterator[Finding]:
    removed = _REMOVED if hidden else ""
    if hidden and classify(entry.path, data[:4096], entry.size) is FileClass.SECRET:
        found = secret_in_file(entry.path, data)
        if found:
            yield _secret_file(entry, found[0], found[1] + removed)
        return
    in_text = secret_in_text(entry.path, data)
    if in_text:
        level, what, line = in_text
        yield _secret_file(entry, level, f"{what}{removed} in line {line}")


def _secret_file(entry: FileEntry, level: Level, what: str) -> Finding:
    return _finding(
        "secret",
        level,
        f"/{masked(entry.path)} holds {what.rstrip(',')}",
        "Revoke it, and build the image without the file: a later `rm` leaves it in the earlier layer.",
        where=f"/{masked(entry.path)} (layer {entry.layer})",
    )


def _finding(rule: str, level: Level, message: str, fix: str, where: str = "") -> Finding:
    return Finding(rule_id=f"image/{rule}", level=level, message=message, where=where, fix=fix, risks=("G1", "U8"))


# --- single places ---------------------------------------------------------------------------------------------------


def secrets_in_config(config: ImageConfig) -> Iterator[tuple[str, str]]:
    """Place and kind of every secret in the environment, labels, commands and history of an image."""
    for name, value in config.env:
        kind = kind_of(value) or ("a secret" if _tells(name, value) else "")
        if kind:
            yield f"Env {name}", kind
    for name, value in config.labels.items():
        if kind := kind_of(value) or ("a secret" if _tells(name, value) else ""):
            yield f"Labels {name}", kind
    for place, words in (("Entrypoint", config.entrypoint), ("Cmd", config.cmd), ("Healthcheck", config.healthcheck)):
        text = " ".join(words)
        if kind := kind_of(text) or ("a secret" if _assigned(text) else ""):
            yield place, kind
    for number, step in enumerate(config.history):
        for text in (step.created_by, step.comment):
            if kind := kind_of(text) or ("a secret" if _assigned(text) else ""):
                yield f"history {number}", kind


def secret_in_file(path: str, data: bytes) -> tuple[Level, str] | None:
    """How bad, and what, the file named like a secret holds; None when it holds none.

    Of a library's own tests and manuals it is a note, in other tests a warning: such keys are made up, and public.
    """
    text = text_of(data)
    for name, form, kind in _NAMED_FILES:
        if name.search(path):
            return (_level(path), kind) if form.search(text) else None
    kind = kind_of(text) or ("a credential" if _IN_FILE.search(text) else "")
    return (_level(path), kind) if kind else None


def secret_in_text(path: str, data: bytes) -> tuple[Level, str, int] | None:
    """How bad, what, and in which line a program or a setting holds a secret; None for none.

    What only a telling name before a random value gives away is a warning: it may be a hash or a public key.
    """
    text = text_of(data)
    for hit in find_hits(text):
        level = _level(path, Level.ERROR if hit.certain else Level.WARNING)
        return level, hit.kind, hit.line
    return None


def _level(path: str, level: Level = Level.ERROR) -> Level:
    if _OF_LIBRARIES.search(path) and (_TESTS & set(path.split("/")) or "/doc/" in path):
        return Level.NOTE
    return Level.WARNING if _TESTS & set(path.split("/")) else level


def _tells(name: str, value: str) -> bool:
    """Whether a variable of this name and value gives a secret away; paths to secrets do not."""
    return bool(_TELLING_NAME.search(name)) and value.lower() not in _EMPTY_VALUES and not value.startswith(("/", "$"))


def _assigned(text: str) -> bool:
    return any(
        _tells(found[1], found[2] or found[3] or found[4] or "") for found in _ASSIGNMENT.finditer(text[:MAX_TEXT])
    )
