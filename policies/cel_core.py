"""The compiled core of `common-expression-language`, without the rest of its package.

The package's `__init__` imports its command line, and that a terminal toolkit: a third of a second at the start of
every command that reads a policy. The core alone takes a few milliseconds. It can be initialised only once in a
process, so it is registered under its own name, where an ordinary `import cel` finds it.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType

_NAME = "cel.cel"


def _core() -> ModuleType:
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    package = find_spec("cel")
    spec = PathFinder.find_spec(_NAME, package.submodule_search_locations) if package else None
    if spec is None or spec.loader is None:
        raise ImportError("common-expression-language is not installed as it should be")
    module = module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except ImportError:
        del sys.modules[_NAME]
        raise
    return module


# at import, under the import lock of this module: checks are asked from several threads
compile_program = _core().compile
