"""What a pickle imports, and does with it: each is judged by the exact lists as the walk meets it."""

from __future__ import annotations

from typing import Any

from checks.model_files.allowlist import is_allowed, is_known_dangerous, is_of_torchscript, may_call, present_name
from checks.model_files.arguments import odd_arguments
from checks.model_files.opcodes import OPAQUE, Long, Step, Unparsable
from checks.model_files.report import GETATTR, KNOWN_METHODS, Import, Made, Report

_MAX_IMPORTS = 10_000


class Imports:
    """The imports of one pickle; problems go into `report`. Below `protocol` 3 the names of Python 2 are meant."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.protocol = 0
        self._getattr_at = -1
        self._getattr_unused = 0
        self._getattr_names: set[tuple[str, str]] = set()

    def written(self, step: Step) -> Any:
        """What GLOBAL and INST import: module and name are their argument."""
        if isinstance(written := _begin(step.argument), str):
            module, _, name = written.partition(" ")
            return self._named(module, name, step)
        self.report.add("computed-import", "imports something whose name cannot be read", step.offset)
        return OPAQUE

    def from_values(self, module: Any, name: Any, step: Step) -> Any:
        """What STACK_GLOBAL imports."""
        module, name = _begin(module), _begin(name)
        if isinstance(module, str) and isinstance(name, str):
            return self._named(module, name, step)
        self.report.add("computed-import", "imports something whose name is computed", step.offset)
        return OPAQUE

    def by_code(self, step: Step) -> Any:
        """What EXT1, EXT2 and EXT4 import: only the loader knows."""
        self.report.add("extension-code", f"imports by the extension code {step.argument}", step.offset)
        return OPAQUE

    def _named(self, module: str, name: str, step: Step) -> Import:
        found = Import(*present_name(module, name)) if self.protocol < 3 else Import(module, name)
        self.report.imports.add((module, name))
        if len(self.report.imports) > _MAX_IMPORTS:
            raise Unparsable(f"more than {_MAX_IMPORTS:,} different imports", step.offset)
        if found == GETATTR:
            self._getattr_at = step.offset
            self._getattr_unused += 1
            self._getattr_names.add((module, name))
        elif is_allowed(found.module, found.name):
            self.report.listed.add((module, name))
        elif not (self.report.torchscript and is_of_torchscript(found.module, found.name)):
            if is_known_dangerous(found.module, found.name):
                self.report.add("dangerous-import", f"imports {found}, which can run code", step.offset)
            else:
                self.report.add("unlisted-import", f"imports {found}, which is not on the allow-list", step.offset)
        return found

    # --- what is done with them --------------------------------------------------------------------------------------

    def called(self, callee: Any, arguments: Any, step: Step) -> Any:
        """What calling `callee` gives."""
        if callee == GETATTR:
            return self._attribute(arguments, step)
        if not isinstance(callee, Import):
            self.report.add("computed-call", f"{step.name} calls something that is not an import", step.offset)
            return OPAQUE
        self.report.calls += 1
        by_constructor = step.name not in ("NEWOBJ", "NEWOBJ_EX")
        if by_constructor and is_allowed(callee.module, callee.name) and not may_call(callee.module, callee.name):
            self.report.add("unlisted-call", f"calls {callee}, which may be named but not called", step.offset)
        if odd := odd_arguments(callee, arguments):
            self.report.add("unlisted-call", odd, step.offset)
        return Made(callee, arguments if isinstance(arguments, tuple) else ())

    def _attribute(self, arguments: Any, step: Step) -> Any:
        """`getattr` is how Python pickles a class method; one such is known, and harmless."""
        if isinstance(arguments, tuple) and len(arguments) == 2 and isinstance(arguments[0], Import):
            method = Import(arguments[0].module, f"{arguments[0].name}.{arguments[1]}")
            if method in KNOWN_METHODS:
                self._getattr_unused -= 1
                return method
        self.report.add("dangerous-import", f"calls {GETATTR}, which can run code", step.offset)
        return OPAQUE

    def changed(self, target: Any, step: Step) -> None:
        """Something is set on `target`, or put into it."""
        if isinstance(target, Import):
            self.report.add("changes-code", f"{step.name} changes the imported object {target}", step.offset)

    def kept(self, value: Any) -> None:
        """`value` is on the stack once more: every use of `getattr` must be one that is known, also of a kept one."""
        self._getattr_unused += value == GETATTR

    def end(self) -> None:
        """The pickle ends: a `getattr` that nobody called may yet be."""
        if self._getattr_unused:
            self.report.add("dangerous-import", f"imports {GETATTR}, which can run code", self._getattr_at)
        else:
            self.report.listed |= self._getattr_names


def _begin(text: Any) -> Any:
    """What is known of a text: a name that is too long to be kept is on no list, and is told by its beginning."""
    return text.begin if isinstance(text, Long) else text
