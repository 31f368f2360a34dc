"""Secrets left in an image: recognised by name and by form, never repeated in what is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.interface import Finding, Level
from pratique.errors import CouldNotDecide
from pratique.intake.image.classify import classify
from pratique.intake.image.model import FileClass, FileEntry, Image, ImageConfig, Inventory, Kind

_FORMS = (
    ("a private key", re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})")),
    ("a GitLab token", re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}")),
    ("a Hugging Face token", re.compile(r"\bhf_[A-Za-z0-9]{30,}")),
    ("a PyPI token", re.compile(r"\bpypi-[A-Za-z0-9_-]{50,}")),
    ("an npm token", re.compile(r"\bnpm_[A-Za-z0-9]{36}\b")),
    ("a Slack token", re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}")),
    ("a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}\b")),
    ("a JSON web token", re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")),
    ("a password in an address", re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@$]{1,100}:[^\s/:@${]{3,200}@")),
)
_TELLING_NAME = re.compile(
    r"(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|ENCRYPTION_?KEY)"
    r"(?:_ID|_VALUE|_BASE64|_B64)?$",
    re.IGNORECASE,
)
_ASSIGNMENT = re.compile(r"\b([A-Za-z][A-Za-z0-9_]{2,80})=(?:\"([^\"]{4,})\"|'([^']{4,})'|([^\s\"';|&$]{4,}))")
_IN_FILE = re.compile(
    r"(?:_auth(?:Token)?|password|passwd|secret|token|aws_secret_access_key|\"auth\")\W{1,5}\w{4,}", re.I
)
_EMPTY_VALUES = frozenset(("", "none", "null", "false", "true", "changeme", "changeit", "xxxx", "redacted"))
_EXAMPLES = (
    "example",
    "user:pass",
    "username:",
    "password@",
    ":pass@",
    ":secret@",
    "your",
    "xxxx",
    "<",
    "{",
    "placeholder",
)
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{40}")
_MAX_TEXT = 1 << 20
_TEXT_BUDGET = 64 * 1024**2
_TEXTS = (
    FileClass.SOURCE,
    FileClass.NODE_METADATA,
    FileClass.PYTHON_STARTUP,
    FileClass.SYSTEM,
)


def find_secrets(image: Image, inventory: Inventory) -> Iterator[Finding]:
    """Every secret in configuration, history and files, also in files that a later layer removed."""
    for where, what in secrets_in_config(image.config):
        yield _finding(
            "secret",
            Level.ERROR,
            f"{what} is written in the image's configuration, for everybody who gets the image to read",
            "Revoke it now. Give secrets at run time, or while building with `RUN --mount=type=secret`.",
            where=f"config: {where}",
        )
    for entry in inventory.of_class(FileClass.SECRET):
        try:
            found = secret_in_file(entry.path, inventory.read(entry.path))
        except CouldNotDecide as error:
            found = (Level.WARNING, f"what may be a secret, which was not examined ({error.cause})")
        if found:
            yield _secret_file(entry, *found)
    yield from _secrets_in_texts(inventory)
    for entry in inventory.hidden:
        if b"PRIVATE KEY-----" in entry.head:
            yield _secret_file(entry, Level.ERROR, "a private key, removed by a later layer but still in the image,")
        elif entry.kind is Kind.FILE and entry.size and classify(entry.path, entry.head) is FileClass.SECRET:
            what = "what may be a secret by its name, removed by a later layer but still in the image,"
            yield _secret_file(entry, Level.WARNING, what)


def _secrets_in_texts(inventory: Inventory) -> Iterator[Finding]:
    """Tokens and keys in the tool's own programs and settings, and in what package managers wrote down."""
    left = _TEXT_BUDGET
    skipped = 0
    for entry in (entry for kind in _TEXTS for entry in inventory.of_class(kind)):
        left -= entry.size
        if left < 0 or entry.path in inventory.not_kept:
            skipped += 1
            continue
        found = secret_in_text(entry.path, inventory.read(entry.path))
        if found:
            level, what, line = found
            yield _secret_file(entry, level, f"{what} in line {line}")
    if skipped:
        yield _finding(
            "secrets-not-searched",
            Level.WARNING,
            f"{skipped} texts were not searched for secrets: there are too many",
            "Leave out of the image what the tool does not need.",
        )


def _secret_file(entry: FileEntry, level: Level, what: str) -> Finding:
    return _finding(
        "secret",
        level,
        f"/{entry.path} holds {what.rstrip(',')}",
        "Revoke it, and build the image without the file: a later `rm` leaves it in the earlier layer.",
        where=f"/{entry.path} (layer {entry.layer})",
    )


def _finding(rule: str, level: Level, message: str, fix: str, where: str = "") -> Finding:
    return Finding(rule_id=f"image/{rule}", level=level, message=message, where=where, fix=fix, risks=("G1", "U8"))


# --- forms -----------------------------------------------------------------------------------------------------------


def secrets_in_config(config: ImageConfig) -> Iterator[tuple[str, str]]:
    """Place and kind of every secret in the environment, labels, commands and history of an image."""
    for name, value in config.env:
        kind = _form(value) or ("a secret" if _tells(name, value) else "")
        if kind:
            yield f"Env {name}", kind
    for name, value in config.labels.items():
        if kind := _form(value):
            yield f"Labels {name}", kind
    for place, words in (("Entrypoint", config.entrypoint), ("Cmd", config.cmd), ("Healthcheck", config.healthcheck)):
        if kind := _form(" ".join(words)):
            yield place, kind
    for number, step in enumerate(config.history):
        for text in (step.created_by, step.comment):
            if kind := _form(text) or ("a secret" if _assigned(text) else ""):
                yield f"history {number}", kind


def secret_in_file(path: str, data: bytes) -> tuple[Level, str] | None:
    """How bad, and what, the file named like a secret holds; None when it holds none.

    What lies in the tests of a library is a warning: such keys are made up, and public.
    """
    text = data[:_MAX_TEXT].decode("utf-8", "replace")
    kind = _form(text) or ("a credential" if _IN_FILE.search(text) else "")
    if not kind:
        return None
    return _level(path), kind


def secret_in_text(path: str, data: bytes) -> tuple[Level, str, int] | None:
    """How bad, what, and in which line a program or a setting holds a secret of a certain form; None for none.

    Only forms that are hardly anything else count here: a program speaks of passwords without holding one.
    """
    text = data[:_MAX_TEXT].decode("utf-8", "replace")
    for kind, form in _FORMS:
        for found in form.finditer(text):
            if _holds(kind, found, text):
                return _level(path), kind, text.count("\n", 0, found.start()) + 1
    return None


def _holds(kind: str, found: re.Match[str], text: str) -> bool:
    """Whether the form found is filled: programs that read keys name their first line too."""
    if kind == "a private key":
        return _KEY_BODY.search(text, found.end(), found.end() + 400) is not None
    return not _made_up(found[0])


def _made_up(text: str) -> bool:
    """Whether a token says itself that it is an example."""
    lowered = text.lower()
    if any(word in lowered for word in _EXAMPLES):
        return True
    return len(set(re.sub(r"[^a-z0-9]", "", lowered.rpartition("_")[2]))) < 4


def _level(path: str) -> Level:
    in_tests = bool({"test", "tests", "testing", "testdata"} & set(path.split("/")))
    return Level.WARNING if in_tests else Level.ERROR


def _form(text: str) -> str:
    return next((kind for kind, form in _FORMS if form.search(text[:_MAX_TEXT])), "")


def _tells(name: str, value: str) -> bool:
    """Whether a variable of this name and value gives a secret away; paths to secrets do not."""
    return bool(_TELLING_NAME.search(name)) and value.lower() not in _EMPTY_VALUES and not value.startswith(("/", "$"))


def _assigned(text: str) -> bool:
    return any(
        _tells(found[1], found[2] or found[3] or found[4] or "") for found in _ASSIGNMENT.finditer(text[:_MAX_TEXT])
    )
