"""Forms of secrets: what a key, a token or a credential looks like in a text, and whether it is a real one.

Nothing found is ever given out: only its kind and its line. Forms are those that hardly anything else has; where a form
alone is not enough, a telling name before it and the randomness of the value decide.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

MAX_TEXT = 1 << 20


@dataclass(frozen=True)
class Form:
    """A kind of secret: `marks` are texts of which one is always in it, so that most texts are passed by fast."""

    kind: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]


@dataclass(frozen=True)
class Hit:
    """A secret seen in a text: its kind and its line, counted from 1. `certain` is false where only the name tells."""

    kind: str
    line: int
    certain: bool = True


def _form(kind: str, marks: str, pattern: str) -> Form:
    return Form(kind, tuple(marks.split()), re.compile(pattern))


PRIVATE_KEY = "a private key"
_ADDRESS = "a password in an address"
_FORMS = (
    Form(PRIVATE_KEY, ("PRIVATE KEY",), re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")),
    _form(
        "a PuTTY private key", "PuTTY-User-Key-File", r"PuTTY-User-Key-File-[0-9]:[\s\S]{1,4000}?Private-Lines: [0-9]+"
    ),
    _form("an age private key", "AGE-SECRET-KEY-1", r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    _form("an AWS access key", "AKIA ASIA", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    _form(
        "an AWS secret key",
        "secret_access_key SecretAccessKey SECRET_ACCESS_KEY",
        r"(?i)\bsecret_?access_?key[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    ),
    _form("a Google API key", "AIza", r"\bAIza[0-9A-Za-z_-]{35}\b"),
    _form("a Google access token", "ya29.", r"\bya29\.[0-9A-Za-z_-]{30,}"),
    _form("a Google client secret", "GOCSPX-", r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
    _form(
        "a key of an Azure account",
        "AccountKey= SharedAccessKey=",
        r"\b(?:Account|SharedAccess)Key=[A-Za-z0-9+/]{40,}={0,2}",
    ),
    _form("an Azure signature", "sig=", r"[?&]sv=[0-9-]{10}&[^\s\"']{0,300}\bsig=[A-Za-z0-9%+/=]{40,}"),
    _form("an Azure client secret", "Q~", r"(?<![\w~.-])[A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}(?![\w~.-])"),
    _form(
        "a GitHub token",
        "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    _form("a GitLab token", "glpat- glrt- gldt- glptt- glcbt-", r"\bgl(?:pat|rt|dt|ptt|cbt)-[A-Za-z0-9_-]{20,}"),
    _form("a Hugging Face token", "hf_ api_org_", r"\b(?:hf_|api_org_)[A-Za-z]{30,40}\b|\bhf_[A-Za-z0-9]{30,}"),
    _form("a PyPI token", "pypi-", r"\bpypi-[A-Za-z0-9_-]{50,}"),
    _form("an npm token", "npm_", r"\bnpm_[A-Za-z0-9]{36}\b"),
    _form("a Docker Hub token", "dckr_pat_", r"\bdckr_pat_[A-Za-z0-9_-]{20,}"),
    _form("a Slack token", "xoxa- xoxb- xoxp- xoxr- xoxs- xapp-", r"\b(?:xox[abprs]|xapp)-[A-Za-z0-9-]{10,}"),
    _form(
        "a Slack address that anybody may write to",
        "hooks.slack.com",
        r"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}",
    ),
    _form("an OpenAI key", "T3BlbkFJ", r"\bsk-[A-Za-z0-9_-]{10,}T3BlbkFJ[A-Za-z0-9_-]{10,}"),
    _form("an Anthropic key", "sk-ant-", r"\bsk-ant-[a-z0-9]{2,8}-[A-Za-z0-9_-]{40,}"),
    _form("a Stripe key", "k_live_", r"\b[sr]k_live_[0-9A-Za-z]{20,}"),
    _form("a SendGrid key", "SG.", r"\bSG\.[\w-]{16,32}\.[\w-]{30,64}"),
    _form("a Databricks token", "dapi", r"\bdapi[0-9a-f]{32}\b"),
    _form("a Vault token", "hvs. hvb.", r"\bhv[sb]\.[A-Za-z0-9_-]{24,}"),
    _form("a DigitalOcean token", "_v1_", r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    _form("a Telegram bot's token", ":AA", r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    _form("a JSON web token", "eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    _form(_ADDRESS, "://", r"(?<=[a-z0-9])://[^\s/:@$\"'`<>]{1,100}:[^\s/:@${\"'`<>]{3,200}@"),
    _form(
        "a password in a connection string",
        "Password= password= Pwd= PWD= PASSWORD=",
        r"(?i)\b(?:server|host|data source|user id|uid)=[^;\n\"']{1,200};[^\n\"']{0,300}?"
        r"\b(?:password|pwd)=[^;\s\"'{$<]{4,100}",
    ),
)
_QUOTED = re.compile(r"""[:=>]\s{0,3}[bru]{0,2}["']([^"'\s]{12,200})["']""")
_TELLING = re.compile(
    r"""(?i)(?:secret|token|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credential)"""
    r"""[\w.-]{0,20}["']?\s{0,3}[:=]?$"""
)
_BEFORE = 70
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{40}")
_EXAMPLES = tuple(
    """example sample dummy user:pass username: password@ :pass@ :secret@ your xxxx < { placeholder changeme scott:tiger
    user:pw :pwd@ :passwd@ foo:bar redacted not-a- fake user:secret joe: bar@ :pw@ 12345678 abcdefgh guest:guest
    sensitive test_ todo ... ***""".split()  # noqa: SIM905  a list of this length is harder to read
)
_ENTROPY = 3.4
"""Bits a character; words of a language have about 3, random letters and digits of this length 4 and more."""


def find_hits(text: str, *, by_name: bool = True) -> Iterator[Hit]:
    """Secrets in the first MiB of `text`, the certain ones first; with `by_name` also values after telling names."""
    text = text[:MAX_TEXT]
    for form in _FORMS:
        if any(mark in text for mark in form.marks):
            for found in form.pattern.finditer(text):
                if _is_filled(form, found, text):
                    yield Hit(form.kind, _line(text, found.start()))
    for found in _QUOTED.finditer(text) if by_name else ():
        before = text[max(0, found.start() - _BEFORE) : found.start()]
        if _is_random(found[1]) and (name := _TELLING.search(before)) and not _is_made_up(name[0] + found[1]):
            yield Hit("what looks like a secret", _line(text, found.start()), certain=False)


def kind_of(text: str) -> str:
    """The first kind of secret whose form is in `text`, examples among them; empty for none."""
    for form in _FORMS:
        if any(mark in text for mark in form.marks) and form.pattern.search(text[:MAX_TEXT]):
            return form.kind
    return ""


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _is_filled(form: Form, found: re.Match[str], text: str) -> bool:
    """Whether the form is filled by more than an example: programs that read keys name their first line too."""
    if form.kind == PRIVATE_KEY:
        return _KEY_BODY.search(text, found.end(), found.end() + 400) is not None
    return not _is_made_up(found[0])


def _is_made_up(text: str) -> bool:
    """Whether a secret says itself that it is an example."""
    lowered = text.lower()
    if any(word in lowered for word in _EXAMPLES):
        return True
    return len(set(re.sub(r"[^a-z0-9]", "", lowered.rpartition("_")[2]))) < 4


def _is_random(value: str) -> bool:
    """Whether a value is neither words nor a place in a program."""
    if (
        not re.search(r"[0-9]", value)
        or not re.search(r"[A-Za-z]", value)
        or re.search(r"[\s(){}\[\]$%/\\<>]|^\.|://", value)
    ):
        return False
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) >= _ENTROPY
