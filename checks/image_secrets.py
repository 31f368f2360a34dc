"""Secrets left in an image: recognised by name and by form, never repeated in what is reported."""

from __future__ import annotations

import re
from collections.abc import Iterator

from checks.interface import Level
from pratique.intake.image.model import ImageConfig

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
_MAX_TEXT = 1 << 20


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
    in_tests = bool({"test", "tests", "testing", "testdata"} & set(path.split("/")))
    return (Level.WARNING if in_tests else Level.ERROR), kind


def _form(text: str) -> str:
    return next((kind for kind, form in _FORMS if form.search(text[:_MAX_TEXT])), "")


def _tells(name: str, value: str) -> bool:
    """Whether a variable of this name and value gives a secret away; paths to secrets do not."""
    return bool(_TELLING_NAME.search(name)) and value.lower() not in _EMPTY_VALUES and not value.startswith(("/", "$"))


def _assigned(text: str) -> bool:
    return any(
        _tells(found[1], found[2] or found[3] or found[4] or "") for found in _ASSIGNMENT.finditer(text[:_MAX_TEXT])
    )
