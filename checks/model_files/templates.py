"""Jinja templates that language models bring for their chats: parsed, never rendered.

A template may loop over messages and print them. One that reaches for Python's internals, looks an attribute up by a
computed name, or imports other templates is an attack on whoever renders it.
"""

from __future__ import annotations

import re

from checks.model_files.opcodes import Unparsable
from checks.model_files.parts import Found

_MAX_TEMPLATE = 1 << 17
_MAX_TEMPLATES = 1 << 19
"""Characters of one template, and of all in one file; those of models have some thousand."""
_INTERNALS = re.compile(r"__[a-z]+__|\\x5f|\\u005f|\b(?:popen|subprocess|os\.system)\b", re.IGNORECASE)
_NAMES = frozenset(
    ("lipsum", "cycler", "joiner", "self", "request", "config", "get_flashed_messages", "url_for", "caller", "context")
)
_FILTERS = frozenset(("attr", "format", "xmlattr", "pprint"))
_METHODS = frozenset(("format", "format_map", "mro", "popen", "system"))
_CALLED = frozenset(
    """strip lstrip rstrip split rsplit splitlines partition rpartition startswith endswith removeprefix removesuffix
    replace upper lower title capitalize casefold swapcase join zfill center ljust rjust find rfind index count encode
    isdigit isalpha isalnum isspace isupper islower isnumeric isdecimal items keys values get append extend insert pop
    update setdefault reverse sort cycle changed strftime isoformat""".split()  # noqa: SIM905  shorter than a tuple
)
"""Methods of texts, lists, dicts, dates and loops that chats need."""
_RULE = "template-attack"


def examine_template(text: str, found: Found, where: str) -> None:
    """Note what a template does beside printing messages; raises `Unparsable` where it is none."""
    from jinja2 import Environment, TemplateSyntaxError, nodes

    found.templates += len(text)
    if len(text) > _MAX_TEMPLATE or found.templates > _MAX_TEMPLATES:
        raise Unparsable("a chat template that is far too long")
    if _INTERNALS.search(text):
        found.unsafe(_RULE, "a chat template that reaches for Python's internals", where)
        return
    environment = Environment(  # noqa: S701  nothing is rendered
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do"]
    )
    try:
        tree = environment.parse(_without_generation(text))
    except (TemplateSyntaxError, RecursionError) as error:
        raise Unparsable(f"a chat template that cannot be read: {error}"[:200]) from error
    names = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    for node in tree.find_all(nodes.Node):
        if what := _odd(node) or _odd_call(node, names):
            found.unsafe(_RULE, f"a chat template that {what} (line {node.lineno})", where)
            return


def _without_generation(text: str) -> str:
    """`{% generation %}` marks the assistant's words in some trainers; it does nothing by itself."""
    return re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", text)


def _odd(node: object) -> str:
    """What a node does that no chat needs, in words; empty for nothing."""
    from jinja2 import nodes

    if isinstance(node, nodes.Getattr) and (node.attr.startswith("_") or node.attr in _METHODS):
        return f"looks up the attribute {node.attr[:40]!r}"
    if isinstance(node, nodes.Getitem) and _is_made_up(node.arg):
        return "looks something up by a name put together from pieces"
    if isinstance(node, nodes.Name) and node.name in _NAMES and node.ctx == "load":
        return f"uses {node.name!r}"
    if isinstance(node, nodes.Filter) and (node.name in _FILTERS or _maps_attribute(node)):
        return f"uses the filter {node.name!r}"
    if isinstance(node, nodes.Import | nodes.FromImport | nodes.Include | nodes.Extends):
        return "takes in another template"
    return ""


def _odd_call(node: object, names: set[str]) -> str:
    """Whether a call is of something else than a macro, a function of the renderer, or a method that chats need.

    What is looked up by a computed name does no harm until it is called; `names` are those that the template sets.
    """
    from jinja2 import nodes

    if not isinstance(node, nodes.Call):
        return ""
    callee = node.node
    if isinstance(callee, nodes.Getattr):
        return "" if callee.attr in _CALLED else f"calls the method {callee.attr[:40]!r}"
    known = isinstance(callee, nodes.Name) and callee.name not in names
    return "" if known else "calls something that was looked up"


def _is_made_up(argument: object) -> bool:
    from jinja2 import nodes

    if isinstance(argument, nodes.Const):
        return isinstance(argument.value, str) and argument.value.startswith("_")
    if isinstance(argument, nodes.Concat | nodes.Filter | nodes.Mod | nodes.Call):
        return any(isinstance(one.value, str) for one in argument.find_all(nodes.Const))
    if isinstance(argument, nodes.Add | nodes.Mul):
        return any(isinstance(one.value, str) for one in argument.find_all(nodes.Const))
    return False


def _maps_attribute(node: object) -> bool:
    from jinja2 import nodes

    if not isinstance(node, nodes.Filter) or node.name not in (
        "map",
        "selectattr",
        "rejectattr",
        "groupby",
        "sum",
        "sort",
    ):
        return False
    named = [one.value for one in node.find_all(nodes.Const) if isinstance(one.value, str)]
    return any(part.startswith("_") for value in named for part in value.split("."))
