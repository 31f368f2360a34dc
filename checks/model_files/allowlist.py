"""Which imports a pickle may ask for: exact module and exact name, nothing by prefix.

A list of what is forbidden can never be complete (a module that runs its argument is found every month), so all that
is not listed is refused. The list of dangerous modules serves the wording of a finding only.
"""

from __future__ import annotations

import _compat_pickle
from functools import cache
from importlib.resources import files

_DANGEROUS_MODULES = frozenset(
    [
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "builtins",
        "shutil",
        "socket",
        "runpy",
        "importlib",
        "pty",
        "pdb",
        "bdb",
        "code",
        "codeop",
        "ctypes",
        "webbrowser",
        "pickle",
        "_pickle",
        "cloudpickle",
        "dill",
        "marshal",
        "types",
        "functools",
        "operator",
        "_operator",
        "timeit",
        "cProfile",
        "profile",
        "trace",
        "asyncio",
        "multiprocessing",
        "threading",
        "signal",
        "pip",
        "pydoc",
        "pkgutil",
        "urllib",
        "http",
        "ftplib",
        "smtplib",
        "requests",
        "aiohttp",
        "tempfile",
        "platform",
        "inspect",
        "gc",
    ]
)

_OF_TORCHSCRIPT = frozenset(
    (
        *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id"),
        "restore_type_tag",
    )
)


@cache
def _listed(name: str) -> frozenset[tuple[str, str]]:
    text = files(__package__).joinpath(name).read_text(encoding="ascii")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return frozenset((module, name) for module, name in lines)


def is_allowed(module: str, name: str) -> bool:
    """Whether a pickle may import this."""
    return (module, name) in _listed("named.txt") or may_call(module, name)


def may_call(module: str, name: str) -> bool:
    """Whether a pickle may also call it."""
    return (module, name) in _listed("callable.txt")


def is_known_dangerous(module: str, name: str) -> bool:
    """Whether an import that is not allowed is of a module known to run code, open files or reach the network."""
    return module.partition(".")[0] in _DANGEROUS_MODULES


def is_of_torchscript(module: str, name: str) -> bool:
    """Names that TorchScript's own unpickler resolves: Python cannot import the first, and the others do nothing."""
    of_program = module == "__torch__" or module.startswith("__torch__.")
    return of_program or (module == "torch.jit._pickle" and name in _OF_TORCHSCRIPT)


def present_name(module: str, name: str) -> tuple[str, str]:
    """The name of Python 3 for a name of Python 2, as `pickle` maps it for protocols below 3."""
    if (module, name) in _compat_pickle.NAME_MAPPING:
        return _compat_pickle.NAME_MAPPING[module, name]
    return _compat_pickle.IMPORT_MAPPING.get(module, module), name
