"""Forms of secrets: what a key, a token or a credential looks like in a text, and whether it is a real one.

Nothing found is ever given out: only its kind and its line. Forms are those that hardly anything else has; where a form
alone is not enough, a telling name before it and the randomness of the value decide.
"""

from __future__ import annotations

import base64
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from checks.secret_tokens import PREFIXED

MAX_TEXT = 1 << 20


@dataclass(frozen=True)
class Form:
    """A kind of secret: `marks` are texts of which one is always in it, so that most texts are passed by fast.

    Where `random`, the form alone is not enough: its first group must be a random value.
    """

    kind: str
    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    random: bool = False


@dataclass(frozen=True)
class Hit:
    """A secret seen in a text: its kind and its line, counted from 1. `certain` is false where only the name tells."""

    kind: str
    line: int
    certain: bool = True


def _form(kind: str, marks: str, pattern: str, *, random: bool = False) -> Form:
    return Form(kind, tuple(marks.split()), re.compile(pattern), random)


PRIVATE_KEY = "a private key"
_ADDRESS = "a password in an address"
_COMMAND = "a password in a command"
_PACKED_KEYS = (
    *("LS0tLS1CRUdJTiBSU0EgUFJJVkFURS", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS", "LS0tLS1CRUdJTiBFQyBQUklWQVRFIE"),
    *(
        "LS0tLS1CRUdJTiBPUEVOU1NIIFBSSVZBVEUg",
        "LS0tLS1CRUdJTiBFTkNSWVBURUQgUFJJVkFURS",
        "LS0tLS1CRUdJTiBEU0EgUFJJVkFURS",
    ),
)
"""How base64 of the first line of a private key begins."""
_FORMS = (
    Form(PRIVATE_KEY, ("PRIVATE KEY",), re.compile(r"---- ?BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)? ?----")),
    Form("a private key in base64", _PACKED_KEYS, re.compile(rf"(?:{'|'.join(_PACKED_KEYS)})[A-Za-z0-9+/]{{40}}")),
    _form(
        "a PuTTY private key",
        "PuTTY-User-Key-File",
        r"PuTTY-User-Key-File-[0-9]:(?:(?!PuTTY-User-Key)[\s\S]){1,4000}?Private-Lines: [0-9]+",
    ),
    _form("a private key as JSON", '"kty"', r'"d"\s{0,3}:\s{0,3}"[A-Za-z0-9_-]{40,}"'),
    _form("a private key as XML", "<RSAKeyValue>", r"(?<=<D>)[A-Za-z0-9+/=\s]{40,}(?=</D>)"),
    _form("a WireGuard private key", "PrivateKey", r"(?m)^\s{0,8}PrivateKey\s{0,3}=\s{0,3}[A-Za-z0-9+/]{43}="),
    _form(
        "an AWS secret key",
        "secret_access_key SecretAccessKey SECRET_ACCESS_KEY secretAccessKey",
        r"(?i)secret_?access_?key[\"']?\s{0,3}[:=]\s{0,3}[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    ),
    _form(
        "a key of an Azure account",
        "AccountKey= SharedAccessKey=",
        r"\b(?:Account|SharedAccess)Key=[A-Za-z0-9+/]{40,}={0,2}",
    ),
    _form(
        "an Azure signature",
        "sig=",
        r"[?&]s[vrpe]=(?:(?![?&]s[vrpe]=)[^\s\"']){1,400}?[?&;]sig=[A-Za-z0-9%+/=]{40,}",
    ),
    *(_form(kind, marks, pattern) for kind, marks, pattern in PREFIXED),
    _form(
        "a JSON web token",
        "eyJ",
        r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,1000}+\.eyJ[A-Za-z0-9_-]{10,20000}+\.[A-Za-z0-9_-]{10,}",
    ),
    _form("a token of an npm registry", "_authToken", r"_authToken\s{0,3}[=:]\s{0,3}[\"']?[A-Za-z0-9_-]{20,}"),
    _form("a registry's credentials", '"auths"', r'"auth"\s{0,3}:\s{0,3}"[A-Za-z0-9+/]{12,}={0,2}"'),
    _form(
        "credentials in a header",
        "uthorization",
        r"(?i)\bauthorization[\"']?\s{0,3}[:=,]\s{0,3}[\"']?(?:basic|bearer|token)\s{1,3}([A-Za-z0-9._~+=-]{16,})",
        random=True,
    ),
    _form(_ADDRESS, "://", r"(?<=[a-z0-9])://[^\s/:@$\[\"'`<>]{0,100}:[^\s/:@${\[\"'`<>]{3,200}@"),
    _form(
        "a token in an address",
        "://",
        r"(?<=[a-z0-9])://([A-Za-z0-9_-]{30,100})@(?!o[0-9]+\.ingest)[\w.-]",
        random=True,
    ),
    _form(
        _COMMAND,
        "curl sshpass --password --passwd --token --api-key --secret login",
        r"\bcurl\s[^\n]{0,200}?(?<=\s)(?:-u|--user)[= ]?[\"']?[^\s:\"'$]{1,60}:([^\s\"'$<{]{6,})"
        r"|\b(?:sshpass|docker login[^\n]{0,100}?) -p ?[\"']?([^\s\"'$<{]{6,})"
        r"|(?<=\s)--(?:password|passwd|token|api-key|secret)[= ][\"']?([^\s\"'$<{-][^\s\"'$<{]{5,})",
    ),
    _form(
        "a password in a connection string",
        "Password= password= Pwd= PWD= PASSWORD=",
        r"(?i)\b(?:server|host|data source|user id|uid)=[^;\n\"']{1,200};"
        r"(?:(?!(?:server|host|data source|user id|uid)=)[^\n\"']){0,300}?\b(?:password|pwd)=[^;\s\"'{$<]{4,100}",
    ),
)
_QUOTED = re.compile(r"""[:=>]\s{0,3}[bru]{0,2}["']([^"'\s]{12,200}+)["']""")
_TELLING = re.compile(
    r"""(?i)(?:secret|token|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credential)"""
    r"""[\w.-]{0,20}["']?\s{0,3}[:=]?$"""
)
_BARE = re.compile(r"(?m)[:=][ \t]{0,3}([A-Za-z0-9+/=_.~!@^&*-]{12,200}+)[ \t]{0,4}+$")
_BARE_NAME = re.compile(
    r"(?i)\s*(?:(?:export|set|env|arg|-)\s+)?"
    r"[\w.-]*?(?:secret|token|passw(?:or)?d|passphrase|api_?key|access_?key|private_?key|credential)[\w.-]{0,20}\s*"
)
"""An assignment without quotes, as in settings and scripts for the shell: what stands before it on its line."""
_PREFIXED = frozenset(kind for kind, _, _ in PREFIXED)
_OWN = tuple(form for form in _FORMS if form.kind in _PREFIXED)
"""Forms that hardly any other text has, whatever was put together; each lies whole in a run of letters."""
_OTHERS = tuple(form for form in _FORMS if form.kind not in _PREFIXED)
_RUN = re.compile(r"[A-Za-z0-9+/_=.~:-]{15,}+")
_PACKED = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{24,20000}+={0,2}")
_JOINT = re.compile(r"""(["'])[ \t]*(?:[+\\][ \t]*)?(?:\n[ \t]*)?[bru]{0,2}\1""")
"""Where one text ends and goes on as the next: Python, C and shells join them."""
_ESCAPED = re.compile(r"\\(?:u00|x)([2-7][0-9A-Fa-f])|%([2-7][0-9A-Fa-f])")
"""Letters written by their number, as in JSON, programs and addresses."""
_HEX = re.compile(r"(?:[2-7][0-9A-Fa-f]){20,10000}")
_URL_SAFE = str.maketrans("-_", "+/")
_SEEN = 8
"""First letters of a joined secret by which its line is found."""
_BEFORE = 70
_WIDE = (("utf-16-le", 2, 0), ("utf-16-be", 2, 1), ("utf-32-le", 4, 0), ("utf-32-be", 4, 3))
_KEY_BODY = re.compile(r"[A-Za-z0-9+/=]{40}")
_EXAMPLES = tuple(
    """example sample dummy user:pass username: password@ :pass@ :secret@ your xxxx < { placeholder changeme scott:tiger
    user:pw :pwd@ :passwd@ foo:bar redacted not-a- fake user:secret joe: bar@ :pw@ 12345678 abcdefgh guest:guest
    sensitive test_ todo ... ***""".split()  # noqa: SIM905  a list of this length is harder to read
)
_ENTROPY = 3.4
"""Bits a character; words of a language have about 3, random letters and digits of this length 4 and more."""


def text_of(data: bytes) -> str:
    """The first MiB of a text in UTF-8, or in UTF-16 or UTF-32 as Windows writes it, with or without a mark."""
    return data[:MAX_TEXT].decode(_wide(data[:64]) or "utf-8", "replace")


def may_be_text(head: bytes) -> bool:
    """Whether bytes that begin with `head` may be a text as `text_of` reads it."""
    return b"\0" not in head or bool(_wide(head))


def _wide(head: bytes) -> str:
    """UTF-16 or UTF-32 by its mark, or by its letters, of which all bytes but one are zero."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    for name, width, place in _WIDE:
        letters = head[place::width]
        zeros = b"".join(head[other::width] for other in range(width) if other != place)
        if len(zeros) >= 8 and not any(zeros) and b"\0" not in letters:
            return name
    return ""


def find_hits(text: str) -> Iterator[Hit]:
    """Secrets in the first MiB of `text`: the certain ones first, then random values after telling names."""
    text = text[:MAX_TEXT]
    plain = _plain(text)
    runs = "\n".join(_RUN.findall(plain))
    for form in _candidates(text, runs):
        for found in form.pattern.finditer(text):
            if _is_filled(form, found, text):
                yield Hit(form.kind, _line(text, found.start()))
    yield from _hidden_hits(text, plain, runs)
    for found in _QUOTED.finditer(text):
        before = text[max(0, found.start() - _BEFORE) : found.start()]
        if _is_random(found[1]) and (name := _TELLING.search(before)) and not _is_made_up(name[0] + found[1]):
            yield Hit("what looks like a secret", _line(text, found.start()), certain=False)
    for found in _BARE.finditer(text):
        before = text[max(text.rfind("\n", 0, found.start()) + 1, found.start() - _BEFORE) : found.start()]
        if _is_random(found[1]) and _BARE_NAME.fullmatch(before) and not _is_made_up(before + found[1]):
            yield Hit("what looks like a secret", _line(text, found.start()), certain=False)


def kind_of(text: str) -> str:
    """The first kind of secret whose form is in `text`, examples among them; empty for none."""
    text = text[:MAX_TEXT]
    plain = _plain(text)
    runs = "\n".join(_RUN.findall(plain))
    for form in _candidates(text, runs):
        if any(_fits(form, one) for one in form.pattern.finditer(text)):
            return form.kind
    return next((hit.kind for hit in _hidden_hits(text, plain, runs)), "")


def _plain(text: str) -> str:
    """`text` with its pieces joined, and letters that are written by their number as letters."""
    joined = _JOINT.sub("", text)
    return _ESCAPED.sub(_letter, joined) if "\\u00" in joined or "\\x" in joined or "%" in joined else joined


def _letter(found: re.Match[str]) -> str:
    return chr(int(found[1] or found[2], 16))


def _candidates(text: str, runs: str) -> Iterator[Form]:
    """Forms of which a mark is there: looking for marks takes most of the time, and most belong to runs of letters."""
    yield from (form for form in _OTHERS if any(mark in text for mark in form.marks))
    yield from (form for form in _OWN if any(mark in runs for mark in form.marks))


def _hidden_hits(text: str, plain: str, runs: str) -> Iterator[Hit]:
    """Secrets in base64 or as hexadecimal digits, in several pieces one after another, and with letters as numbers."""
    for packed in _PACKED.finditer(runs):
        for how, inner in _unpacked(packed[0]):
            for form in _FORMS:
                found = form.pattern.search(inner) if any(mark in inner for mark in form.marks) else None
                if found and _is_filled(form, found, inner):
                    yield Hit(f"{form.kind} in {how}", _line_of(text, packed[0]))
    for form in _OWN if plain != text else ():
        if any(mark in runs for mark in form.marks):
            for found in form.pattern.finditer(plain):
                if found[0] not in text and _is_filled(form, found, plain):
                    yield Hit(f"{form.kind} in pieces", _line_of(text, found[0]))


def _unpacked(packed: str) -> Iterator[tuple[str, str]]:
    """What base64 or hexadecimal digits hold, and which of both it is, where it is a text in ASCII."""
    if _HEX.fullmatch(packed):
        yield "hexadecimal digits", bytes.fromhex(packed).decode("ascii")
    plain = packed.rstrip("=").translate(_URL_SAFE)
    try:
        yield "base64", base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("ascii")
    except ValueError:
        return


def masked(text: str) -> str:
    """`text` (a path, a name) without the secrets that are in it."""
    for form in _FORMS:
        if any(mark in text for mark in form.marks):
            text = form.pattern.sub("***", text)
    return text


def _line_of(text: str, secret: str) -> int:
    """The line where a secret begins that may not stand in `text` as one, or not in letters."""
    letters = (rf"(?:{re.escape(c)}|\\(?:u00|x)(?i:{ord(c):02x})|%(?i:{ord(c):02x}))" for c in secret[:_SEEN])
    begun = re.search("".join(letters), text)
    return _line(text, begun.start() if begun else 0)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _is_filled(form: Form, found: re.Match[str], text: str) -> bool:
    """Whether the form is filled by more than an example: programs that read keys name their first line too."""
    if form.kind == PRIVATE_KEY:
        return _KEY_BODY.search(text, found.end(), found.end() + 400) is not None
    return _fits(form, found) and not _is_made_up(found[0])


def _fits(form: Form, found: re.Match[str]) -> bool:
    """Whether what a form says of its groups holds: random values, and passwords that are no words of a manual."""
    if form.random:
        return _is_random(found[1])
    if form.kind == _COMMAND:
        value = found[1] or found[2] or found[3]
        return bool(re.search(r"[0-9]", value) and re.search(r"[A-Za-z]", value))
    return True


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
