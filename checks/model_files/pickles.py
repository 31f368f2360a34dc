"""What would unpickling do? A pickle's opcodes are followed on a stack of stand-ins; nothing is imported or called.

The walk knows what each opcode does to the stack and the memo, so it knows which module and name every import asks
for, and what is called. An import must be on the exact allow-list; a name that is computed, a call of something that
is not an allowed import, an extension code or a changed class are unsafe. See `pickle._Unpickler` for the semantics.

joblib writes the bytes of arrays between opcodes. They are skipped as joblib would skip them, and looked at as opcodes
too, since `pickle.load` would take them for such.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, BinaryIO, Final

from checks.model_files.arguments import odd_state
from checks.model_files.arrays import element_count, item_width, note_field, odd_type
from checks.model_files.imports import Imports
from checks.model_files.opcodes import OPAQUE, Step, Unparsable, read_steps, starts_like_opcode
from checks.model_files.report import ARRAY_KEYS, DTYPE, Import, Made, Report, Table, plausible, real_problems

MAX_STEPS = 3_000_000
"""Opcodes in one file; the models of scikit-learn and XGBoost have thousands."""
_MAX_DEPTH = 8
_MAX_MARKS = 100_000
_MAX_TUPLE = 4096
_WRAPPER = ("joblib.numpy_pickle", "NumpyArrayWrapper")


class Walk:
    """Follows one pickle from the stream's position to its STOP; `report` collects across pickles of one file."""

    def __init__(self, stream: BinaryIO, size: int, report: Report, depth: int = 0) -> None:
        self.stream = stream
        self.size = size
        self.report = report
        self.depth = depth
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.result: Any = OPAQUE
        self.imports = Imports(report)
        self.frame_end = 0

    def run(self) -> None:
        """Raises `Unparsable` where the bytes do not make a whole pickle."""
        for step in read_steps(self.stream, self.size):
            self.report.steps += 1
            if self.report.steps > MAX_STEPS:
                raise Unparsable(f"more than {MAX_STEPS:,} opcodes", step.offset)
            try:
                self._do(step)
            except (IndexError, KeyError) as error:
                raise Unparsable(f"{step.name} finds nothing to work on", step.offset) from error
        self.imports.end()
        self.report.pickles += 1

    # --- the stack ---------------------------------------------------------------------------------------------------

    def _do(self, step: Step) -> None:
        action = _ACTIONS.get(step.name)
        if action is None:
            raise Unparsable(f"the opcode {step.name} is not known here", step.offset)
        action(self, step)

    def push_constant(self, step: Step) -> None:
        self.stack.append(step.argument)

    def push_opaque(self, step: Step) -> None:
        self.stack.append(OPAQUE)

    def push_table(self, step: Step) -> None:
        self.stack.append(Table())

    def push_empty_tuple(self, step: Step) -> None:
        self.stack.append(())

    def set_protocol(self, step: Step) -> None:
        """PROTO may stand anywhere; below 3 the names of Python 2 are meant from here on."""
        self.imports.protocol = step.argument

    def begin_frame(self, step: Step) -> None:
        """FRAME: that many bytes are read ahead, which matters to who reads the stream besides (joblib's arrays)."""
        self.frame_end = self.stream.tell() + step.argument

    def ignore(self, step: Step) -> None:
        """READONLY_BUFFER: nothing that matters changes."""

    def mark(self, step: Step) -> None:
        self.marked.append(self.stack)
        self.stack = []
        if len(self.marked) > _MAX_MARKS:
            raise Unparsable(f"more than {_MAX_MARKS:,} lists in each other", step.offset)

    def _pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def pop(self, step: Step) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._pop_mark()

    def pop_mark(self, step: Step) -> None:
        self._pop_mark()

    def duplicate(self, step: Step) -> None:
        self._push_again(self.stack[-1])

    def _push_again(self, value: Any) -> None:
        self.imports.kept(value)
        if isinstance(value, Made) and value.by == DTYPE and value.state is None:
            value.state = ()  # whoever uses it from here on must find it as it is
        self.stack.append(value)

    def make_tuple(self, step: Step) -> None:
        items = self._pop_mark()
        self.stack.append(tuple(items) if len(items) <= _MAX_TUPLE else OPAQUE)

    def make_short_tuple(self, step: Step) -> None:
        count = int(step.name[-1])
        items = tuple(self._pop_many(count))
        self.stack.append(items)

    def _pop_many(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def make_opaque_from_mark(self, step: Step) -> None:
        self._pop_mark()
        self.stack.append(OPAQUE)

    def make_table(self, step: Step) -> None:
        items = self._pop_mark()
        table = Table()
        self._fill(table, items, step)
        self.stack.append(table)

    def set_item(self, step: Step) -> None:
        items = self._pop_many(2)
        self._fill(self.stack[-1], items, step)

    def set_items(self, step: Step) -> None:
        items = self._pop_mark()
        self._fill(self.stack[-1], items, step)

    def _fill(self, target: Any, items: list[Any], step: Step) -> None:
        self.imports.changed(target, step)
        if isinstance(target, Table):
            if "\0" in target:
                self.report.add("changes-code", f"{step.name} changes a type of numpy's that is in use", step.offset)
            for key, value in zip(items[::2], items[1::2], strict=False):
                if isinstance(key, str) and key in ARRAY_KEYS:
                    target[key] = value
                if isinstance(key, str) and (target or isinstance(value, tuple)):
                    note_field(target, key, value)

    def append(self, step: Step) -> None:
        self.stack.pop()
        self.imports.changed(self.stack[-1], step)

    def appends(self, step: Step) -> None:
        self._pop_mark()
        self.imports.changed(self.stack[-1], step)

    # --- the memo ----------------------------------------------------------------------------------------------------

    def put(self, step: Step) -> None:
        if not isinstance(step.argument, int):
            raise Unparsable("a memo key that is no number", step.offset)
        self.memo[step.argument] = self.stack[-1]

    def memoize(self, step: Step) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, step: Step) -> None:
        self._push_again(self.memo[step.argument])

    # --- imports and calls -------------------------------------------------------------------------------------------

    def import_by_argument(self, step: Step) -> None:
        self.stack.append(self.imports.written(step))

    def import_from_stack(self, step: Step) -> None:
        module, name = self._pop_many(2)
        self.stack.append(self.imports.from_values(module, name, step))

    def import_by_code(self, step: Step) -> None:
        self.stack.append(self.imports.by_code(step))

    def call(self, step: Step) -> None:
        callee, arguments = self._pop_many(2)
        self.stack.append(self.imports.called(callee, arguments, step))

    def instantiate(self, step: Step) -> None:
        """NEWOBJ and NEWOBJ_EX make an instance by `__new__`; no constructor runs."""
        callee, arguments = self._pop_many(2 if step.name == "NEWOBJ" else 3)[:2]
        self.stack.append(self.imports.called(callee, arguments, step))

    def call_named(self, step: Step) -> None:
        items = self._pop_mark()
        self.stack.append(self.imports.called(self.imports.written(step), tuple(items), step))

    def call_marked(self, step: Step) -> None:
        items = self._pop_mark()
        self.stack.append(self.imports.called(items[0], tuple(items[1:]), step))

    def build(self, step: Step) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        self.imports.changed(target, step)
        if isinstance(target, Made):
            if target.by == DTYPE and (odd := odd_type(target, state)):
                self.report.add("forged-type", odd, step.offset)
            target.state = state
            if odd := odd_state(target.by, target.arguments, state):
                self.report.add("unlisted-call", odd, step.offset)
            if (target.by.module, target.by.name) == _WRAPPER:
                self._pass_array(target, step)
                self.stack[-1] = OPAQUE

    def persistent_from_argument(self, step: Step) -> None:
        """PERSID: the loader looks the object up (torch: a tensor's storage); plain `pickle.load` refuses it."""
        self.stack.append(OPAQUE)

    def persistent_from_stack(self, step: Step) -> None:
        """BINPERSID: torch before 1.6 looks up classes of layers so, and gives back the class itself."""
        wanted = self.stack[-1]
        is_class = isinstance(wanted, tuple) and len(wanted) == 4 and wanted[0] == "module"
        self.stack[-1] = wanted[1] if is_class and isinstance(wanted[1], Import) else OPAQUE

    def stop(self, step: Step) -> None:
        self.result = self.stack.pop()

    # --- arrays that joblib writes between opcodes -------------------------------------------------------------------

    def _pass_array(self, wrapper: Made, step: Step) -> None:
        state = wrapper.state
        if not isinstance(state, Table) or "shape" not in state or "dtype" not in state:
            raise Unparsable("a joblib array without shape and type", step.offset)
        position = self.stream.tell()
        if position < self.frame_end:
            self.report.add(
                "hidden-code", "an array inside a frame, which loaders read past what stands here", step.offset
            )
            raise Unparsable("a joblib array inside a frame", step.offset)
        width = item_width(state["dtype"], step.offset)
        nested = self._look_as_pickle(position, width is not None, step.offset)
        if width is None:
            self.stream.seek(nested)
            return
        count = element_count(state["shape"], step.offset)
        self.stream.seek(position)
        if state.get("numpy_array_alignment_bytes") is not None:
            padding = self.stream.read(1)
            self.stream.seek(int.from_bytes(padding, "little"), io.SEEK_CUR)
        end = self.stream.tell() + count * width
        if end > self.size:
            raise Unparsable("a joblib array is longer than the file", step.offset)
        self.stream.seek(end)

    def _look_as_pickle(self, position: int, is_raw: bool, offset: int) -> int:
        """Follow the array's bytes as a pickle of their own and as more of this one; returns where the first ends.

        For an array of objects they are one. For raw numbers they must not be: what reads one way to joblib and
        another way to `pickle` is refused.
        """
        if self.depth >= _MAX_DEPTH:
            raise Unparsable("arrays nested too deep", offset)
        self.stream.seek(position)
        first = self.stream.read(1)
        if is_raw and not starts_like_opcode(first):
            return position
        self.stream.seek(position)
        inner = Walk(self.stream, self.size, self._aside() if is_raw else self.report, self.depth + 1)
        if not is_raw:
            inner.run()
            return self.stream.tell()
        self._keep_real(inner)
        if inner.report.pickles:
            raise Unparsable("an array whose bytes are also a pickle", offset)
        self.stream.seek(position)
        onward = Walk(self.stream, self.size, self._aside(), self.depth + 1)
        onward.stack, onward.memo = list(self.stack), dict(self.memo)
        onward.marked = [list(items) for items in self.marked]
        onward.imports.protocol = self.imports.protocol
        self._keep_real(onward)
        return position

    def _aside(self) -> Report:
        """A report of a walk that may be none; what it follows counts as followed here."""
        return Report(steps=self.report.steps)

    def _keep_real(self, other: Walk) -> None:
        """Run `other`, which may well fail, and keep the problems that come before its failure."""
        with contextlib.suppress(Unparsable):
            other.run()
        self.report.steps = other.report.steps
        self.report.imports |= {pair for pair in other.report.imports if plausible(*pair)}
        self.report.problems += real_problems(other.report)


_ACTIONS: Final = {
    **dict.fromkeys(("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"), Walk.push_constant),
    **dict.fromkeys(("STRING", "BINSTRING", "SHORT_BINSTRING"), Walk.push_constant),
    **dict.fromkeys(("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), Walk.push_constant),
    **dict.fromkeys(("FLOAT", "BINFLOAT", "NONE"), Walk.push_constant),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"), Walk.push_opaque),
    **dict.fromkeys(("NEWTRUE", "NEWFALSE", "EMPTY_LIST", "EMPTY_SET", "NEXT_BUFFER"), Walk.push_opaque),
    "FRAME": Walk.begin_frame,
    "READONLY_BUFFER": Walk.ignore,
    "PROTO": Walk.set_protocol,
    **dict.fromkeys(("LIST", "FROZENSET"), Walk.make_opaque_from_mark),
    **dict.fromkeys(("TUPLE1", "TUPLE2", "TUPLE3"), Walk.make_short_tuple),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), Walk.get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), Walk.put),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), Walk.import_by_code),
    **dict.fromkeys(("NEWOBJ", "NEWOBJ_EX"), Walk.instantiate),
    **dict.fromkeys(("APPENDS", "ADDITEMS"), Walk.appends),
    "EMPTY_DICT": Walk.push_table,
    "EMPTY_TUPLE": Walk.push_empty_tuple,
    "MARK": Walk.mark,
    "POP": Walk.pop,
    "POP_MARK": Walk.pop_mark,
    "DUP": Walk.duplicate,
    "TUPLE": Walk.make_tuple,
    "DICT": Walk.make_table,
    "SETITEM": Walk.set_item,
    "SETITEMS": Walk.set_items,
    "APPEND": Walk.append,
    "MEMOIZE": Walk.memoize,
    "GLOBAL": Walk.import_by_argument,
    "STACK_GLOBAL": Walk.import_from_stack,
    "REDUCE": Walk.call,
    "INST": Walk.call_named,
    "OBJ": Walk.call_marked,
    "BUILD": Walk.build,
    "PERSID": Walk.persistent_from_argument,
    "BINPERSID": Walk.persistent_from_stack,
    "STOP": Walk.stop,
}
