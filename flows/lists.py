"""Handing out this node's withdrawal list, and taking in those of others; both work with files, without a network."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from flows.federation import list_signers
from flows.node import Node, has_ledger
from pratique.clock import rfc3339
from pratique.digests import sha256_bytes
from records.admissions import KnownList
from records.dsse import sign_statement
from records.intoto import descriptor
from records.standing import SKEW
from records.statements import withdrawal_list
from records.withdrawals import (
    ForeignList,
    Withdrawal,
    WithdrawalList,
    list_origin,
    open_list,
    sign_list,
    withdrawals_of,
)

LIST_TYPE = "application/vnd.pratique.withdrawals"
_IN_ONE_ENTRY = 50
"""How many withdrawals fit into one entry of the ledger."""


@dataclass(frozen=True)
class TakenIn:
    """A list that was taken in, and what of it was new."""

    listed: WithdrawalList
    news: tuple[Withdrawal, ...]


def export_list(node: Node) -> bytes:
    """This node's withdrawal list as of now, signed; raises `CouldNotDecide` where the ledger cannot be trusted."""
    return sign_list(own_list(node), node.key)


def own_list(node: Node) -> WithdrawalList:
    """Everything that this node took back so far; raises as `export_list`."""
    found: tuple[Withdrawal, ...] = ()
    if has_ledger(node.settings):
        node.head()
        found = tuple(withdrawals_of(node.ledger))
    return WithdrawalList(list_origin(node.settings.origin), node.clock(), found)


def import_list(node: Node, note: bytes) -> TakenIn:
    """Take in another's list: from now on what stands in it is not run here, whoever admitted it before.

    Raises `ForeignList`: `withdrawals/signature`, `withdrawals/signer`, `withdrawals/rolled-back` for one that does not
    continue the one that was taken in before, `withdrawals/clock` for one from the future; and `InvalidInput`.
    """
    listed = open_list(note, list_signers(node))
    return node.settled(lambda size: _import(node, note, listed, size))


def _import(node: Node, note: bytes, listed: WithdrawalList, size: int) -> TakenIn:
    seen = next((one for one in node.admissions.lists() if one.origin == listed.origin), None)
    _require_newer(listed, seen)
    if listed.issued > node.clock() + SKEW:
        raise ForeignList(
            "the withdrawal list lies in the future, so one of the clocks is wrong",
            rule="withdrawals/clock",
            cause=f"issued {rfc3339(listed.issued)}, now {rfc3339(node.clock())}",
            next_step="Mend the clock of this machine, or tell the node that issued it.",
        )
    if seen is not None and seen.digest == sha256_bytes(note):
        return TakenIn(listed, ())
    news = listed.withdrawals[seen.size if seen is not None else 0 :]
    node.store.put(note, name="withdrawals", media_type=LIST_TYPE)
    node.append(*_statements(node, listed, note, news), after=size)
    return TakenIn(listed, news)


def _require_newer(listed: WithdrawalList, seen: KnownList | None) -> None:
    if seen is None:
        return
    if listed.continues(seen.size, seen.root) and listed.issued >= seen.issued:
        return
    older = listed.issued < seen.issued or len(listed.withdrawals) < seen.size
    raise ForeignList(
        "the withdrawal list is older than the one that this node has"
        if older
        else "the withdrawal list is another one than this node has: what stood in it before is changed",
        rule="withdrawals/rolled-back",
        cause=f"{len(listed.withdrawals)} withdrawals, issued {rfc3339(listed.issued)}; "
        f"here: {seen.size}, issued {rfc3339(seen.issued)}",
        next_step="Get the newest list from the node itself; if this is it, its ledger was put back: tell them.",
    )


def _statements(node: Node, listed: WithdrawalList, note: bytes, news: Sequence[Withdrawal]) -> Iterator[bytes]:
    named = descriptor(name="withdrawals", digest=sha256_bytes(note), media_type=LIST_TYPE)
    parts = [news[start : start + _IN_ONE_ENTRY] for start in range(0, len(news), _IN_ONE_ENTRY)] or [()]
    for part in parts:
        subjects = [descriptor(name=one.name, digest=one.image, annotations={"version": one.version}) for one in part]
        statement = withdrawal_list(
            subjects,
            listed=named,
            origin=listed.origin,
            size=len(listed.withdrawals),
            root=base64.b64encode(listed.root).decode(),
            issued=listed.issued,
            accepted=node.clock(),
            node_id=node.uri,
        )
        yield sign_statement(statement, node.key)
