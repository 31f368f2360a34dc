"""What a Python source reaches for, read from its syntax tree: network, programs, native code, hidden code.

Nothing is executed or imported. Python 2 and later syntax than this interpreter's cannot be parsed; such a source is
searched for the same names line by line.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_MAX_LINE = 2000
_MAX_SIGNS = 500


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NETWORK = _words(
    "socket ssl urllib urllib2 urllib3 http httplib requests httpx aiohttp websocket websockets ftplib smtplib poplib "
    "imaplib telnetlib nntplib xmlrpc xmlrpclib socketserver paramiko fabric grpc boto3 botocore s3fs gcsfs pycurl "
    "dns zmq pika kafka redis pymongo psycopg psycopg2 pymysql twisted tornado flask fastapi uvicorn webbrowser "
    "huggingface_hub wandb mlflow sentry_sdk posthog pip"
)
_QUIET_PARTS = frozenset(("urllib.parse", "urllib.error", "http.HTTPStatus", "http.cookies"))
_PROGRAMS = _words("subprocess pty commands popen2 sh pexpect plumbum invoke")
_NATIVE = _words("ctypes _ctypes cffi _cffi_backend cppyy llvmlite")
_STARTS = re.compile(
    r"(?:os|posix|nt)\.(?:system|popen\w*|exec\w+|spawn\w+|posix_spawnp?|fork|forkpty|startfile)"
    r"|asyncio\.create_subprocess_\w+|distutils\.spawn\.\w+|platform\.popen"
)
_CONNECTS = re.compile(
    r"asyncio\.(?:open_(?:unix_)?connection|start_(?:unix_)?server)|multiprocessing\.(?:connection|managers)\b.*"
    r"|torch\.hub\.\w+|numpy\.(?:lib\.npyio\.)?DataSource"
)
_LOADS_NATIVE = re.compile(
    r"(?:numpy\.)?ctypeslib\.load_library|torch\.(?:ops|classes)\.load_library|torch\.utils\.cpp_extension\.\w+"
    r"|sys\.setdlopenflags"
)
_LOADS_CODE = re.compile(
    r"runpy\.run_\w+|zipimport\.\w+|code\.(?:Interactive\w+|interact)|imp\.load_\w+|importlib\.machinery\.\w*Loader"
    r"|importlib\.util\.spec_from_\w+|sys\.(?:meta_path|path_hooks)|site\.addsitedir"
)
_LOADER_SETTINGS = frozenset(("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH"))
_INSIDES = frozenset(("__globals__", "__code__", "__builtins__", "__subclasses__", "__mro__"))
_PLAIN_CODECS = re.compile(
    r"utf[-_]?8(?:[-_]sig)?|u8|(?:us[-_])?ascii|latin[-_]?1|l1|iso[-_]?8859[-_]\d{1,2}|(?:cp|windows[-_])125\d"
)
_COOKIE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_DECODERS = re.compile(
    r"(?:base64|binascii|zlib|gzip|bz2|lzma|marshal|codecs|quopri|uu)\.\w*(?:decode|decompress|unhexlify|a2b|loads?)\w*"
    r"|(?:bytes|bytearray)\.fromhex|b(?:16|32|64|85)decode|a85decode|unhexlify|decompress|fromhex"
)
_RUNS: Final = _words("exec eval compile execfile __import__ runsource runcode")
_MAKES_CODE = re.compile(
    r"marshal\.loads?|(?:types\.)?(?:CodeType|FunctionType)|importlib\.util\.(?:decode_source|module_from_spec)"
    r"|\w+\.__(?:globals|code|builtins|subclasses|mro)__|__builtins__"
)
_LOADS_NAMED: Final = frozenset(("__import__", "importlib.import_module", "importlib.__import__", "import_module"))
_IN_TEXT: Final = (
    ("network", re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(_NETWORK))})\b")),
    ("subprocess", re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(_PROGRAMS))})\b|\b{_STARTS.pattern}\s*\(")),
    ("native-code", re.compile(rf"^\s*(?:import|from)\s+(?:{'|'.join(sorted(_NATIVE))})\b")),
    ("hidden-code", re.compile(rf"\b(?:exec|eval)\b.*(?:{_DECODERS.pattern})|\bmarshal\.loads?\s*\(")),
)
_INVISIBLE = frozenset("\u200b\u200c\u200d\u2060\ufeff\u00ad\u180e\u3164\uffa0")
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
_WORD = re.compile(r"\w*[^\W\d_a-zA-Z]\w*")
_SCRIPTS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL")


@dataclass(frozen=True, order=True)
class Sign:
    """One thing seen: line (from 1), rule, and what, in words without the source's own text beyond names."""

    line: int
    rule: str
    what: str


def find_signs(source: bytes) -> tuple[list[Sign], str]:
    """Signs in `source`, in order of lines, and why it could not be parsed (empty where it could).

    Raises `RecursionError` and `MemoryError` where the source is made to exhaust whoever reads it.
    """
    text = _decoded(source)
    signs = set(_of_text(text)) | set(_of_encoding(source))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        signs |= set(_by_line(text))
        return sorted(signs)[:_MAX_SIGNS], f"line {line}: {str(error)[:120]}"
    visitor = _Visitor()
    visitor.visit(tree)
    return sorted(signs | visitor.signs)[:_MAX_SIGNS], ""


def _of_encoding(source: bytes) -> Iterator[Sign]:
    """A cookie that has Python read the source otherwise than it looks to a person."""
    for number, line in enumerate(re.split(rb"\r\n?|\n", source[:4096])[:2], 1):
        cookie = _COOKIE.match(line)
        name = cookie[1].decode("ascii", "replace").lower() if cookie else ""
        if name and not _PLAIN_CODECS.fullmatch(name):
            yield Sign(
                number, "odd-characters", f"the encoding {name[:40]}, in which the source runs otherwise than it reads"
            )


def _decoded(source: bytes) -> str:
    return source.decode("utf-8-sig", "replace")


# --- the text --------------------------------------------------------------------------------------------------------


def _of_text(text: str) -> Iterator[Sign]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.isascii():
            yield from _odd_characters(number, line)
        if len(line) > _MAX_LINE:
            yield Sign(number, "long-line", f"a line of {len(line):,} characters")
        elif ";" in line and re.search(r"\S[ \t]{100,}[^\s#]", line):
            yield Sign(number, "long-line", "code far to the right of what a screen shows")


def _odd_characters(number: int, line: str) -> Iterator[Sign]:
    found = set(line)
    if found & _BIDI:
        yield Sign(number, "odd-characters", "characters that change the direction of text, so that it reads otherwise")
    if found & _INVISIBLE:
        yield Sign(number, "odd-characters", "characters that cannot be seen")
    for word in _WORD.findall(line):
        scripts = {_script(character) for character in word if character.isalpha()}
        if len(scripts & set(_SCRIPTS)) > 1:
            yield Sign(number, "odd-characters", "a word of letters that only look alike")
            return


def _script(character: str) -> str:
    return "LATIN" if character.isascii() else unicodedata.name(character, "?").partition(" ")[0]


def _by_line(text: str) -> Iterator[Sign]:
    """The names to look for, in a source that cannot be parsed."""
    for number, line in enumerate(text.split("\n"), 1):
        for rule, pattern in _IN_TEXT:
            if pattern.search(line[:_MAX_LINE]):
                yield Sign(number, rule, "by the words of a line that could not be parsed")


# --- the syntax tree -------------------------------------------------------------------------------------------------


_BY_NAME: Final = (
    (_STARTS, "subprocess", "which starts programs"),
    (_CONNECTS, "network", "which reaches for the network"),
    (_LOADS_NATIVE, "native-code", "which loads native code"),
    (_LOADS_CODE, "computed-import", "which loads code past the import statement"),
)
_HANDED_ON = frozenset(("exec", "eval", "__import__"))


class _Visitor(ast.NodeVisitor):
    def __init__(self) -> None:
        self.signs: set[Sign] = set()
        self.names: dict[str, str] = {}
        self.decoded: set[str] = set()
        self.callee: ast.expr | None = None

    def _add(self, node: ast.expr | ast.stmt, rule: str, what: str) -> None:
        self.signs.add(Sign(node.lineno, rule, what))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.names[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else ""
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        for alias in node.names:
            self.names[alias.asname or alias.name] = f"{module}.{alias.name}"
            if not node.level:
                self._imported(node, f"{module}.{alias.name}")
                self._reached(node, f"{module}.{alias.name}")
                if alias.name == "*" and module in ("os", "posix"):
                    self._add(node, "subprocess", f"imports everything of {module}, which starts programs too")

    def _imported(self, node: ast.stmt, name: str) -> None:
        top = name.partition(".")[0]
        shown = name[:80]
        quiet = any(name == part or name.startswith(f"{part}.") for part in _QUIET_PARTS)
        if (top in _NETWORK and not quiet) or name.startswith(("google.cloud", "azure.")):
            self._add(node, "network", f"imports {shown}, which reaches for the network")
        elif top in _PROGRAMS:
            self._add(node, "subprocess", f"imports {shown}, which starts programs")
        elif top in _NATIVE:
            self._add(node, "native-code", f"imports {shown}, which calls native code past Python's checks")
        elif top == "marshal":
            self._add(node, "hidden-code", "imports marshal, which makes code of bytes")

    def visit_Assign(self, node: ast.Assign) -> None:
        self._remember(node.targets, node.value)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._remember([node.target], node.value)
        self.generic_visit(node)

    def _remember(self, targets: list[ast.expr], value: ast.expr) -> None:
        """A name for a function, or for something decoded, stands for it from here on."""
        for target in targets:
            if isinstance(target, ast.Name):
                if isinstance(value, (ast.Name, ast.Attribute)):
                    self.names[target.id] = self._name(value)
                if self._decodes(value):
                    self.decoded.add(target.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        name = self._name(node)
        if (_MAKES_CODE.fullmatch(name) or node.attr in _INSIDES) and not isinstance(node.ctx, ast.Store):
            self._add(node, "hidden-code", f"{name[:80]}, through which code can be reached or made")
        self._reached(node, name)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self._reached(node, self._name(node))
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        name = self.names.get(node.id) or node.id
        if isinstance(node.ctx, ast.Load) and name in _HANDED_ON and node is not self.callee:
            self._add(node, "hidden-code", f"hands {name} on, to be called elsewhere")
        if name != node.id:
            self._reached(node, name)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and node.value in _LOADER_SETTINGS:
            self._add(node, "native-code", f"{node.value}, by which programs load other libraries")

    def _reached(self, node: ast.expr | ast.stmt, name: str) -> None:
        """What is done by functions that are known by their whole name, called or handed on."""
        for pattern, rule, what in _BY_NAME:
            if pattern.fullmatch(name):
                self._add(node, rule, f"{name[:80]}, {what}")

    def visit_Call(self, node: ast.Call) -> None:
        self.callee = node.func
        name = self._name(node.func)
        last = name.rpartition(".")[2]
        if last in _RUNS and name in (last, f"builtins.{last}", f"code.{last}"):
            self._runs(node, last)
        if name in _LOADS_NAMED and not (node.args and isinstance(node.args[0], ast.Constant)):
            self._add(node, "computed-import", f"{name} of a name that is computed")
        elif name in _LOADS_NAMED and isinstance(node.args[0], ast.Constant):
            self._imported(node, str(node.args[0].value))  # type: ignore[arg-type]  # only its line matters
        if name == "getattr" and len(node.args) > 1:
            if _is_joined(node.args[1]):
                self._add(node, "hidden-code", "getattr of a name that is put together from pieces")
            elif isinstance(node.args[1], ast.Constant):
                self._reached(node, f"{self._name(node.args[0])}.{node.args[1].value!s}")
        if isinstance(node.func, ast.Subscript) and _names_of_all(node.func.value):
            self._add(node, "hidden-code", "calls something looked up in globals() or vars()")
        self.generic_visit(node)

    def _runs(self, node: ast.Call, name: str) -> None:
        if name == "__import__" or not node.args or isinstance(node.args[0], ast.Constant):
            return
        if self._decodes(node.args[0]):
            self._add(node, "hidden-code", f"{name} of something that is decoded first")
        elif _is_joined(node.args[0]):
            self._add(node, "hidden-code", f"{name} of a text that is put together from pieces")

    def _decodes(self, value: ast.expr) -> bool:
        """Whether a decoder, or the name of something decoded, is anywhere in the expression."""
        for node in ast.walk(value):
            if isinstance(node, ast.Call) and _DECODERS.fullmatch(self._name(node.func)):
                return True
            if isinstance(node, ast.Name) and node.id in self.decoded:
                return True
            if isinstance(node, ast.Call) and self._name(node.func).endswith((".fromhex", ".b64decode", ".decompress")):
                return True
        return False

    def _name(self, node: ast.expr) -> str:
        """Dotted name of an expression, as imported: `os.system` for `s` after `from os import system as s`."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            held = self._name(node.value)
            if held == "sys.modules" or held.endswith(".__dict__"):
                of = held.removesuffix("__dict__") if held != "sys.modules" else ""
                return ".".join([f"{of}{node.slice.value}", *reversed(parts)])
        called = self._name(node.func) if isinstance(node, ast.Call) and node.args else ""  # once: calls come in chains
        if isinstance(node, ast.Call) and called == "vars":
            return ".".join([self._name(node.args[0]), "__dict__", *reversed(parts)])
        if isinstance(node, ast.Call) and called in _LOADS_NAMED:
            first = node.args[0]
            parts.append(str(first.value) if isinstance(first, ast.Constant) else "?")
        elif isinstance(node, ast.Name):
            parts.append(self.names.get(node.id) or node.id)
        else:
            parts.append("?")
        return ".".join(reversed(parts))


def _is_joined(node: ast.expr) -> bool:
    """Whether an expression is constant text taken apart: concatenated, reversed, or made of character numbers."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return all(isinstance(side, ast.Constant) or _is_joined(side) for side in (node.left, node.right))
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        return isinstance(node.value, ast.Constant)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "join" and isinstance(node.func.value, ast.Constant) and node.args:
            made = {
                n.func.id for n in ast.walk(node.args[0]) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            }
            return bool(made & {"chr", "map", "reversed"})
        return node.func.attr in ("replace", "translate", "decode") and isinstance(node.func.value, ast.Constant)
    return False


def _names_of_all(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("globals", "locals", "vars")
    )
