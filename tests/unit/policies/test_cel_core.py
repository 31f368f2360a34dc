"""CEL's core is loaded without its package, and does not stand in the way of the package."""

from __future__ import annotations

import subprocess
import sys

import pytest

ORDERS = {
    "the core alone, without the terminal toolkit of the package": (
        "import sys; from policies.cel_core import compile_program\n"
        "assert compile_program('1 + 1 == 2').execute({}) is True\n"
        "assert 'cel' not in sys.modules and 'prompt_toolkit' not in sys.modules"
    ),
    "the package after the core": (
        "from policies.cel_core import compile_program\nimport cel\nassert cel.compile is compile_program"
    ),
    "the package before the core": (
        "import cel\nfrom policies.cel_core import compile_program\nassert cel.compile is compile_program"
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_the_core_is_loaded_once(order: str) -> None:
    done = subprocess.run([sys.executable, "-c", ORDERS[order]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
