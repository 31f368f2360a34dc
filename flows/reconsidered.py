"""Whether an inspection still says what it said: asked before it is admitted, which may be weeks later.

What has become known since counts, a waiver that has ended counts for none, and advisories that are too old now decide
nothing. Only the rules that speak of vulnerabilities are asked again, over the SBOM that the inspection left and the
advisories of today; every other answer is the inspection's own, since nothing but time came between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from checks.interface import CheckResult
from flows.inspected import Inspected, evidence_of, result_of
from flows.node import Node
from policies.model import Outcome, Rule
from policies.rules import compile_expression
from policies.verdict import RuleOutcome, decide
from pratique.bounds import strict_json
from pratique.errors import CouldNotDecide, Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

_AGAIN = "vulnerabilities"
_MAX_VERDICT = 16 * 1024**2


def require_still_so(node: Node, inspected: Inspected) -> None:
    """Raise `Refused` where the policy would not admit on the advisories of today; `CouldNotDecide` where what the
    inspection left is gone, or the advisories cannot be asked."""
    rules = tuple(rule for rule in node.policy.policy.rules if _AGAIN in _checks_of(rule))
    if not rules:
        return
    results = {name: _then(node, inspected, name) for rule in rules for name in _checks_of(rule) if name != _AGAIN}
    today = _today(node, inspected)
    policy = node.policy.policy.model_copy(update={"rules": rules})
    verdict = decide(policy, {**results, _AGAIN: today}, facts=_facts(node, inspected))
    if verdict.outcome is not Outcome.ADMIT:
        raise _not_any_more(inspected, verdict.unsatisfied[0], today)


def _not_any_more(inspected: Inspected, rule: RuleOutcome, today: CheckResult) -> Refused | CouldNotDecide:
    tool = f"{inspected.tool.name} {inspected.tool.version}"
    if rule.undecided:
        return CouldNotDecide(
            f"nobody can tell whether {tool} may still be admitted: the rule {rule.id} cannot be decided now",
            cause=today.summary,
            next_step="mend what the cause names (pratique advisories update), and admit again",
        )
    return Refused(
        f"{tool} cannot be admitted any more: on the advisories of today the rule {rule.id} is not satisfied",
        cause=today.summary,
        next_step="mend what became known, or have the node waive it, and onboard again",
    )


def _checks_of(rule: Rule) -> tuple[str, ...]:
    return compile_expression(rule.require).checks


def _then(node: Node, inspected: Inspected, check: str) -> CheckResult:
    """What a check answered in the inspection."""
    result = result_of(node, inspected.results, check)
    if result is None:
        raise CouldNotDecide(f"the inspection has no answer of the check {check}", next_step="Onboard the tool again.")
    return result


def _today(node: Node, inspected: Inspected) -> CheckResult:
    """What the vulnerabilities check answers now."""
    from checks.sbom.declared import read_listing
    from flows.vulnerabilities import look_up_listing

    sbom = evidence_of(node, inspected.results, "sbom", "sbom.cdx.json")
    if sbom is None:
        raise CouldNotDecide("its inspection left no SBOM", next_step="Onboard the tool again.")
    listing = read_listing(node.store.get(sbom), where="sbom.cdx.json")
    tool = inspected.tool
    return look_up_listing(node, listing, f"{tool.name} {tool.version}", tool.image_digest).result


def _facts(node: Node, inspected: Inspected) -> dict[str, Any]:
    """The facts that rules rested on, as the verdict of the inspection has them."""
    if inspected.verdict is None:
        return {}
    verdict = strict_json(node.store.get(inspected.verdict), where="verdict.json", max_bytes=_MAX_VERDICT)
    facts: dict[str, Any] = {}
    for rule in verdict.get("rules", []):
        _add_facts(facts, rule["inputs"])
    return facts


def _add_facts(facts: dict[str, Any], inputs: Mapping[str, Any]) -> None:
    for path, value in inputs.items():
        root, *parents, last = path.split(".")
        if root != "facts":
            continue
        place = facts
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
