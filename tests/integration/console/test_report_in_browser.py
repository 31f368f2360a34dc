"""The HTML report in a real browser: nothing of a hostile submission runs, loads or takes the page over."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from console.report import render
from tests.unit.console.reports import HOSTILE, report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--virtual-time-budget=2000"),
)
INJECTED = (
    "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken over'\">"
    "<svg onload=\"document.title='taken over'\"></svg><iframe src='https://attacker.invalid/'></iframe>"
)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)"),
]


def rendered(page: Path, profile: Path) -> str:
    """The document as the browser has it after scripts could have run."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)
    return done.stdout


def test_nothing_of_a_hostile_submission_runs_in_the_page(tmp_path: Path) -> None:
    """Markup in every place that a provider can write to stays text, and the title stays the report's own."""
    page = tmp_path / "report.html"
    made = report(INJECTED + HOSTILE["all"])
    page.write_text(render(made, "html", tmp_path / "store"), encoding="utf-8")
    document = rendered(page, tmp_path / "profile")
    title = document.partition("<title>")[2].partition("</title>")[0]
    assert title.startswith("Refuse: ")
    assert "<script" not in document
    assert "<iframe" not in document
    assert "&lt;script&gt;" in document
