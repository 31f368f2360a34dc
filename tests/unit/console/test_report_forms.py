"""Every form of a report, when everything that a provider can say is hostile."""

from __future__ import annotations

import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks.interface import Finding, Level, Status
from console.report import render
from console.report.sarif import sarif_of
from policies.model import Outcome
from tests.unit.console.reports import BIDI, DIGEST, HOSTILE, MARKDOWN, finding, report, result

FORMS = ("human", "json", "sarif", "markdown", "html")
ALLOWED_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2", "h3", "p", "b"),
    *(
        "code",
        "span",
        "ul",
        "li",
        "table",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "div",
        "figure",
        "img",
        "figcaption",
    ),
}
ALLOWED_ATTRIBUTES = {"class", "lang", "charset", "name", "content", "http-equiv", "src", "alt", "open"}
BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\ufeff]")
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text that a reader sees."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.title = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title += data
        elif not self._open or self._open[-1] != "style":
            self.text += data


def harmless(page: str) -> Page:
    """The page, parsed, with nothing in it that the template does not have."""
    parsed = Page(page)
    for tag, attributes in parsed.elements:
        assert tag in ALLOWED_TAGS
        assert set(attributes) <= ALLOWED_ATTRIBUTES
        assert (attributes.get("src") or "data:image/svg+xml;base64,").startswith("data:image/svg+xml;base64,")
    assert not CONTROLS.search(page.replace("\n", ""))
    assert not BIDI_CONTROLS.search(page)
    return parsed


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_html_escapes_all_and_has_the_structure_of_a_tame_report(text: str, tmp_path: Path) -> None:
    tame = Page(render(report("fine"), "html", tmp_path))
    page = harmless(render(report(text), "html", tmp_path))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in tame.elements]
    assert [attributes for _, attributes in page.elements] == [attributes for _, attributes in tame.elements]
    assert page.title.startswith("Refuse: ")
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_html_shows_what_was_said(tmp_path: Path) -> None:
    assert "<script>alert(1)</script>" in harmless(render(report(HOSTILE["script"]), "html", tmp_path)).text


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_human_form_has_no_control_character(text: str, tmp_path: Path) -> None:
    tame = render(report("fine"), "human", tmp_path)
    shown = render(report(text), "human", tmp_path)
    assert not CONTROLS.search(shown.replace("\n", ""))
    assert not BIDI_CONTROLS.search(shown)
    assert shown.count("\n") == tame.count("\n")


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_is_not_broken(text: str, tmp_path: Path) -> None:
    tame = render(report("fine"), "markdown", tmp_path)
    shown = render(report(text), "markdown", tmp_path)
    assert not CONTROLS.search(shown.replace("\n", ""))
    assert not BIDI_CONTROLS.search(shown)
    assert shown.count("\n") == tame.count("\n")
    for character in "`*_[]<>|~&":
        assert len(_bare(character, shown)) == len(_bare(character, tame)), character
    assert [line for line in shown.splitlines() if line.startswith("#")][1:] == [
        line for line in tame.splitlines() if line.startswith("#")
    ][1:]


def _bare(character: str, text: str) -> list[str]:
    """Occurrences of `character` that no backslash escapes."""
    return re.findall(r"(?<!\\)(?:\\\\)*" + re.escape(character), text)


def test_markdown_links_nothing(tmp_path: Path) -> None:
    shown = render(
        report("see http://evil.example, HTTPS://evil.example and www.evil.example #12"), "markdown", tmp_path
    )
    assert not re.search(r"(?i)https?://|www\.|(?<!\\)#12", shown)


@pytest.mark.parametrize("text", ["fine", *HOSTILE.values()], ids=["tame", *HOSTILE])
def test_sarif_is_sarif(text: str, tmp_path: Path) -> None:
    document = json.loads(render(report(text), "sarif", tmp_path))
    _require_sarif(document)
    (found,) = document["runs"][0]["results"]
    assert found["message"]["text"] == f"{text} Fix: {text}"
    assert found["level"] == "error"
    assert found["locations"] == [{"logicalLocations": [{"fullyQualifiedName": text}]}]
    assert document["runs"][0]["properties"]["verdict"] == "refuse"


def _require_sarif(document: Any) -> None:
    """What SARIF 2.1.0 demands of the parts that are used here."""
    assert set(document) <= {"$schema", "version", "runs", "inlineExternalProperties", "properties"}
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    for run in document["runs"]:
        driver = run["tool"]["driver"]
        assert isinstance(driver["name"], str)
        assert driver["name"]
        rules = [rule["id"] for rule in driver["rules"]]
        assert len(rules) == len(set(rules))
        for found in run["results"]:
            assert found["ruleId"] in rules
            assert found["level"] in ("none", "note", "warning", "error")
            assert isinstance(found["message"]["text"], str)
            assert all(isinstance(value, str) for value in found["partialFingerprints"].values())


def test_sarif_fingerprints_stay_while_the_finding_does(tmp_path: Path) -> None:
    def prints(**changes: Any) -> list[str]:
        document = json.loads(render(report(**changes), "sarif", tmp_path))
        return [found["partialFingerprints"]["pratique/v1"] for found in document["runs"][0]["results"]]

    first = prints()
    assert first == prints(seconds=99.0, run_id="20270102T030405-0badcafe")
    other = result("fine", findings=(finding("something else"),))
    assert first != prints(checks={"manifest": other})


@pytest.mark.parametrize("case", HOSTILE)
def test_json_drives_no_screen(case: str, tmp_path: Path) -> None:
    assert render(report(HOSTILE[case]), "json", tmp_path).isascii()


def test_json_is_the_report(tmp_path: Path) -> None:
    made = report(HOSTILE["all"])
    assert type(made).model_validate_json(render(made, "json", tmp_path)) == made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("outcome", Outcome)
def test_every_form_says_the_verdict(form: str, outcome: Outcome, tmp_path: Path) -> None:
    shown = render(report(outcome=outcome), form, tmp_path)
    assert outcome.value in shown.lower()
    if outcome is not Outcome.ADMIT:
        assert "Every rule of the policy is satisfied" not in shown


@pytest.mark.parametrize("form", FORMS)
def test_enormous_texts_and_many_findings_are_rendered_in_time(form: str, tmp_path: Path) -> None:
    huge = "\u202e<&|*" * 200_000
    many = tuple(finding(f"finding {number}", Level.WARNING) for number in range(5_000))
    made = report(huge, checks={"manifest": result(huge, findings=(finding(huge), *many))})
    begun = time.monotonic()
    shown = render(made, form, tmp_path)
    assert time.monotonic() - begun < 20
    if form in ("human", "markdown", "html"):
        assert len(shown) < 1_000_000, "what a person reads stays readable"
        assert "more findings" in shown


def test_refusal_says_how_to_fix_it_in_every_form(tmp_path: Path) -> None:
    fix = "Write the id of the input."
    made = report(
        checks={
            "manifest": result(
                "one error",
                findings=(Finding(rule_id="manifest/odd", level=Level.ERROR, message="odd", fix=fix),),
            )
        }
    )
    for form in FORMS:
        assert fix in render(made, form, tmp_path)


def test_check_that_was_not_run_is_never_shown_as_passed(tmp_path: Path) -> None:
    skipped = result("not run", status=Status.INCONCLUSIVE, findings=())
    made = report(checks={"manifest": skipped}, outcome=Outcome.REVIEW)
    for form in ("human", "markdown", "html"):
        shown = render(made, form, tmp_path)
        assert "✓" not in shown
        assert "inconclusive" in shown


@settings(max_examples=30, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60))
def test_any_text_stays_text(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.getbasetemp()
    harmless(render(report(text), "html", directory))
    assert render(report(text), "human", directory).count("\n") == render(report("x"), "human", directory).count("\n")


def test_undecided_rule_accuses_nobody(tmp_path: Path) -> None:
    made = report(outcome=Outcome.REVIEW)
    (rule,) = made.verdict.rules
    open_ = rule.model_copy(update={"undecided": True, "why": "Manifest could not be decided."})
    made = made.model_copy(update={"verdict": made.verdict.model_copy(update={"rules": (open_,)})})
    for form in ("human", "markdown", "html"):
        shown = render(made, form, tmp_path)
        assert rule.say not in shown
        assert "Manifest could not be decided." in shown


def test_constants_are_hostile() -> None:
    assert BIDI_CONTROLS.search(BIDI)
    assert "|" in MARKDOWN
    assert DIGEST.startswith("sha256:")


def test_a_place_in_a_source_is_a_physical_location_in_sarif() -> None:
    places = ["/app/my tool/m.py:12", "/app/m.py", "config: Env X", "/app/m.py (layer 0)"]
    findings = [finding("x").model_copy(update={"where": place}) for place in places]
    results = json.loads(sarif_of(findings, {}, complete=True))["runs"][0]["results"]
    assert [one["locations"][0].get("physicalLocation") for one in results] == [
        {"artifactLocation": {"uri": "app/my%20tool/m.py", "uriBaseId": "IMAGE"}, "region": {"startLine": 12}},
        *[None] * 3,
    ]


def test_a_run_that_could_not_be_carried_out_is_a_reason_and_not_left_out() -> None:
    """The engine would not start the tool, say: what to do about it stands where a reader looks."""
    messages = {"not-run": "could not be carried out (not-started)", "not-asked": "not run: refused before"}
    texts = {}
    for rule, message in messages.items():
        found = finding(message).model_copy(update={"rule_id": f"manifest/{rule}", "level": Level.WARNING})
        answer = result("x", status=Status.INCONCLUSIVE, findings=(found,))
        texts[rule] = render(report(checks={"manifest": answer}), "human", Path())
    assert "could not be carried out (not-started)" in texts["not-run"]
    assert "Not asked" not in texts["not-run"]
    assert "Not asked, because the checks that they rest on were not run: manifest-is-sound." in texts["not-asked"]
