"""What a Python source reaches for, read from its syntax tree: network, programs, native code, hidden code.

Nothing is executed or imported. Python 2 and later syntax than this interpreter's cannot be parsed; such a source is
searched for the same names line by line.
"""

from __future__ import annotations

import ast

from checks.code.looks import Sign, by_line, decoded, of_encoding, of_text
from checks.code.names import (
    ADDRESS,
    ARCHIVE_NAME,
    BORROWED,
    BY_NAME,
    CODE_IN_TEXT,
    DECODERS,
    HANDED_ON,
    INSIDES,
    LOADER_SETTINGS,
    LOADS_NAMED,
    MEMORY,
    NATIVE,
    NETWORK,
    PATH_OF_MODULES,
    PROGRAMS,
    QUIET_PARTS,
    REACHING,
    READS_ADDRESS,
    RUNS,
    STARTS,
)

_MAX_SIGNS = 500


def find_signs(source: bytes) -> tuple[list[Sign], str]:
    """Signs in `source`, in order of lines, and why it could not be parsed (empty where it could).

    Raises `RecursionError` and `MemoryError` where the source is made to exhaust whoever reads it.
    """
    text = decoded(source)
    signs = set(of_text(text)) | set(of_encoding(source))
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        signs |= set(by_line(text))
        return sorted(signs)[:_MAX_SIGNS], f"line {line}: {str(error)[:120]}"
    visitor = _Visitor(tree)
    visitor.visit(tree)
    return sorted(signs | visitor.signs)[:_MAX_SIGNS], ""


# --- the syntax tree -------------------------------------------------------------------------------------------------


_LOADERS = frozenset(("_imp", "_frozen_importlib", "_frozen_importlib_external"))
_LOOK_UPS = frozenset(("get", "pop", "__getitem__", "__getattribute__"))
_MAX_NAME = 80
_MAX_CONSTANT = 65_536


class _Visitor(ast.NodeVisitor):
    """`callee` and `base` are what is called, or has its attribute taken, by the node above: no value handed on."""

    def __init__(self, tree: ast.AST) -> None:
        self.signs: set[Sign] = set()
        self.names: dict[str, str] = {}
        self.decoded: set[str] = set()
        self.callee: ast.expr | None = None
        self.base: ast.expr | None = None
        for node in ast.walk(tree):  # a function may use what the lines after it import
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                self._named(node)

    def _add(self, node: ast.expr | ast.stmt, rule: str, what: str) -> None:
        self.signs.add(Sign(node.lineno, rule, what))

    def _named(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            if isinstance(node, ast.ImportFrom):
                self.names[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"
            else:
                self.names[alias.asname or alias.name.partition(".")[0]] = alias.name if alias.asname else ""

    def visit_Import(self, node: ast.Import) -> None:
        self._named(node)
        for alias in node.names:
            self._imported(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._named(node)
        for alias in node.names:
            if not node.level:
                self._imported(node, f"{module}.{alias.name}")
                self._reached(node, f"{module}.{alias.name}")
                if alias.name in BORROWED and module.partition(".")[0] != alias.name:
                    self._imported(node, alias.name)
                if alias.name == "*" and module in ("os", "posix"):
                    self._add(node, "subprocess", f"imports everything of {module}, which starts programs too")

    def _imported(self, node: ast.stmt | ast.expr, name: str) -> None:
        top = name.partition(".")[0]
        shown = name[:80]
        quiet = any(name == part or name.startswith(f"{part}.") for part in QUIET_PARTS)
        if (top in NETWORK and not quiet) or name.startswith(("google.cloud", "azure.")):
            self._add(node, "network", f"imports {shown}, which reaches for the network")
        elif top in PROGRAMS:
            self._add(node, "subprocess", f"imports {shown}, which starts programs")
        elif top in NATIVE:
            self._add(node, "native-code", f"imports {shown}, which calls native code past Python's checks")
        elif top == "marshal":
            self._add(node, "hidden-code", "imports marshal, which makes code of bytes")
        elif top in _LOADERS or name.startswith("importlib._"):
            self._add(node, "computed-import", f"imports {shown}, which loads code past the import statement")

    def visit_Assign(self, node: ast.Assign) -> None:
        self._remember(node.targets, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._remember([node.target], node.value)
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
        if node.attr in INSIDES:
            self._add(node, "hidden-code", f"{name[:80]}, through which code can be reached or made")
        if not isinstance(node.ctx, ast.Store):
            self._reached(node, name)
        if node.attr in BORROWED and self._is_imported(node.value):
            self._imported(node, node.attr)
        self.base = node.value
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        name = self._name(node)
        self._reached(node, name)
        if self._name(node.value) == "sys.modules":
            self._of_loaded(node, name)
        self.base = node.value
        self.generic_visit(node)

    def _of_loaded(self, node: ast.expr, name: str) -> None:
        """A module taken from those that are loaded, or put among them."""
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            self._add(node, "computed-import", "puts a module among those that are loaded")
        elif name.partition(".")[0] in REACHING:
            self._add(node, "computed-import", f"takes {name[:80]} from the modules that are loaded")
        else:
            self._imported(node, name)

    def visit_Name(self, node: ast.Name) -> None:
        name = self.names.get(node.id) or node.id
        is_value = isinstance(node.ctx, ast.Load) and node is not self.callee
        if is_value and name in HANDED_ON:
            self._add(node, "hidden-code", f"hands {name} on, to be called elsewhere")
        if is_value and node is not self.base and node.id in self.names and _last(name) in REACHING:
            self._add(
                node, "hidden-code", f"hands the module {_last(name)} on, so that nobody sees what is called of it"
            )
        if name != node.id or name == "__builtins__":
            self._reached(node, name)

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # texts that stand alone are documentation
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if not isinstance(value, str):
            return
        if value in LOADER_SETTINGS:
            self._add(node, "native-code", f"{value}, by which programs load other libraries")
        elif value in INSIDES:
            self._add(node, "hidden-code", f"{value} as a text, through which code can be reached or made")
        elif MEMORY.fullmatch(value):
            self._add(node, "native-code", f"{value}, through which a program's memory is written")
        elif len(value) < _MAX_NAME and STARTS.fullmatch(value.replace(":", ".")):
            self._add(node, "subprocess", f"{value} as a text, by which it may be looked up")
        elif CODE_IN_TEXT.search(value[:_MAX_CONSTANT]):
            self._add(node, "hidden-code", "a text in which code is written that reaches out")

    def _reached(self, node: ast.expr | ast.stmt, name: str) -> None:
        """What is done by functions that are known by their whole name, called or handed on."""
        for pattern, rule, what in BY_NAME:
            if pattern.fullmatch(name):
                self._add(node, rule, f"{name[:80]}, {what}")

    def _is_imported(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.names

    def visit_Call(self, node: ast.Call) -> None:
        self.callee = node.func
        name = self._name(node.func)
        last = _last(name)
        if last in RUNS and name in (last, f"builtins.{last}", f"code.{last}"):
            self._runs(node, last)
        if name in LOADS_NAMED:
            self._loads(node, name)
        elif name in ("getattr", "hasattr") and len(node.args) > 1:
            self._looks_up(node, name)
        elif last in _LOOK_UPS and isinstance(node.func, ast.Attribute):
            found = self._name(node)
            self._reached(node, found)
            if self._name(node.func.value) == "sys.modules":
                self._of_loaded(node, found)
        elif PATH_OF_MODULES.fullmatch(name):
            self._searches(node)
        elif name == "get_ipython":
            self._reached(node, name)
        if READS_ADDRESS.fullmatch(last) and node.args and _is_address(node.args[0]):
            self._add(node, "network", f"{name[:80]} of an address")
        if isinstance(node.func, ast.Subscript) and _names_of_all(node.func.value):
            self._add(node, "hidden-code", "calls something looked up in globals() or vars()")
        self.generic_visit(node)

    def _loads(self, node: ast.Call, name: str) -> None:
        asked = _asked(node)
        if not isinstance(asked, ast.Constant):
            self._add(node, "computed-import", f"{name} of a name that is computed")
        elif str(asked.value).partition(".")[0] in REACHING:
            self._add(node, "computed-import", f"{name} of {str(asked.value)[:80]}, past the import statement")
        else:
            self._imported(node, str(asked.value))

    def _looks_up(self, node: ast.Call, name: str) -> None:
        of, asked = node.args[:2]
        if isinstance(asked, ast.Constant):
            self.base = of
            if name == "getattr":
                self._reached(node, _bare(f"{self._name(of)}.{asked.value!s}"))
        elif _is_joined(asked) and name == "getattr":
            self._add(node, "hidden-code", "getattr of a name that is put together from pieces")
        elif name == "getattr" and _last(self._name(of)) in REACHING:
            self._add(node, "hidden-code", f"getattr of {self._name(of)[:80]}, by a name that is computed")

    def _searches(self, node: ast.Call) -> None:
        """A file put where modules are looked for: an archive of any name."""
        constants = (part for one in node.args for part in ast.walk(one) if isinstance(part, ast.Constant))
        for place in (one.value for one in constants if isinstance(one.value, str)):
            if ARCHIVE_NAME.fullmatch(_last(place, "/")):
                self._add(node, "computed-import", f"has modules looked for in {place[-80:]}")

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
            if isinstance(node, ast.Call) and DECODERS.fullmatch(self._name(node.func)):
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
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            parts.append(self._held(self._name(node.value), node.slice.value))
        elif isinstance(node, ast.Call) and node.args:
            parts.append(self._given(node))
        elif isinstance(node, ast.Name):
            parts.append(self.names.get(node.id) or node.id)
        else:
            parts.append("?")
        return _bare(".".join(reversed(parts)))

    def _held(self, holder: str, key: object) -> str:
        """What a dictionary of modules, or of a module's names, holds by a key."""
        if isinstance(key, str) and holder == "sys.modules":
            return key
        if isinstance(key, str) and holder.endswith(".__dict__"):
            return f"{holder.removesuffix('__dict__')}{key}"
        return f"{holder}.{key}" if isinstance(key, str) and holder == "__builtins__" else "?"

    def _given(self, node: ast.Call) -> str:
        """What a call gives, where that is a module or something looked up in one."""
        called, first = self._name(node.func), node.args[0]  # once: calls come in chains
        value = first.value if isinstance(first, ast.Constant) else None
        if called == "vars":
            return f"{self._name(first)}.__dict__"
        if called in LOADS_NAMED:
            return str(value) if value is not None else "?"
        holder, _, last = called.rpartition(".")
        if last == "__getattribute__" and isinstance(value, str):
            return f"{holder}.{value}"
        return self._held(holder, value) if last in _LOOK_UPS else "?"


def _bare(name: str) -> str:
    """A name without the modules on the way to one that reaches far: `os.system` for `shutil.os.system`."""
    parts = name.split(".")
    for place in range(len(parts) - 1, 0, -1):
        if parts[place] in REACHING and place < len(parts) - 1:
            return ".".join(parts[place:])
    return name


def _last(name: str, mark: str = ".") -> str:
    return name.rpartition(mark)[2]


def _asked(node: ast.Call) -> ast.expr | None:
    """The module that a call to import one names."""
    named = (keyword.value for keyword in node.keywords if keyword.arg == "name")
    return node.args[0] if node.args else next(named, None)


def _is_address(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and ADDRESS.match(node.value) is not None


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
