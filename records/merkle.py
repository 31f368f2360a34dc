"""Merkle tree of RFC 6962 section 2.1 (SHA-256): roots, inclusion and consistency proofs, and their verification.

Everything here is pure. A tree is known through a `Nodes` function that answers for *perfect* subtrees only:
`nodes(level, index)` is the hash over the leaves `[index · 2^level, (index + 1) · 2^level)`, all of which exist. The
ragged right edge of a tree of any size is put together from these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from pratique.errors import InvalidInput

HASH_SIZE = 32
"""Bytes of one hash."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""

Nodes = Callable[[int, int], bytes]


def leaf_hash(entry: bytes) -> bytes:
    """Hash of a leaf, kept apart from inner nodes by its prefix byte."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node over its two children."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The perfect subtrees that make up a growing tree, left to right; 32 bytes for each bit of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[tuple[int, bytes]] = []

    def add(self, subtree: bytes, level: int = 0) -> None:
        """Append a perfect subtree of `2^level` leaves; no smaller one may stand before it."""
        self.size += 1 << level
        while self._subtrees and self._subtrees[-1][0] == level:
            subtree = node_hash(self._subtrees.pop()[1], subtree)
            level += 1
        self._subtrees.append((level, subtree))

    def root(self) -> bytes:
        """Root over all leaves so far."""
        if not self._subtrees:
            return EMPTY_ROOT
        root = self._subtrees[-1][1]
        for _, left in reversed(self._subtrees[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root of the tree over these leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.add(leaf)
    return frontier.root()


def root_at(size: int, nodes: Nodes) -> bytes:
    """Root of the tree of the first `size` leaves."""
    return EMPTY_ROOT if size == 0 else _range_hash(0, size, nodes)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> tuple[bytes, ...]:
    """Audit path of leaf `index` in the tree of `size` leaves, from the leaf up (RFC 6962 section 2.1.1).

    Raises `InvalidInput` (`merkle/range`) for a leaf that is not in that tree.
    """
    if not 0 <= index < size:
        raise _out_of_range(f"no leaf {index} in a tree of {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(_range_hash(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_hash(start, middle, nodes))
            start = middle
    return tuple(reversed(proof))


def consistency_proof(first: int, second: int, nodes: Nodes) -> tuple[bytes, ...]:
    """Proof that the tree of `first` leaves is a prefix of the one of `second` (RFC 6962 section 2.1.2).

    It is empty when both are equal or the first one is empty. Raises `InvalidInput` (`merkle/range`).
    """
    if not 0 <= first <= second:
        raise _out_of_range(f"no consistency proof from {first} to {second}")
    if first in (0, second):
        return ()
    proof: list[bytes] = []
    start, end = 0, second
    while end != first:
        middle = start + _split(end - start)
        if first <= middle:
            proof.append(_range_hash(middle, end, nodes))
            end = middle
        else:
            proof.append(_range_hash(start, middle, nodes))
            start = middle
    if start:
        proof.append(_range_hash(start, end, nodes))
    return tuple(reversed(proof))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that `leaf` (a leaf hash) stands at `index` in the tree of `size` leaves under `root`.

    The algorithm of RFC 9162 section 2.1.3.2. Raises `InvalidInput` (`merkle/inclusion`).
    """
    if not 0 <= index < size:
        raise _unproven("inclusion", f"no leaf {index} in a tree of {size}")
    position, last, computed = index, size - 1, leaf
    for sibling in _hashes("inclusion", proof):
        if last == 0:
            raise _unproven("inclusion", "the proof is too long")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise _unproven("inclusion", "the proof is too short")
    if computed != root:
        raise _unproven("inclusion", f"leaf {index} does not lead to the root")


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    """Check that the tree of `second` leaves only adds to the one of `first`.

    The algorithm of RFC 9162 section 2.1.4.2. Raises `InvalidInput` (`merkle/consistency`).
    """
    if not 0 <= first <= second:
        raise _unproven("consistency", f"a tree of {second} cannot extend one of {first}")
    if first in (0, second):
        if proof:
            raise _unproven("consistency", "the proof should be empty")
        if first_root != (EMPTY_ROOT if first == 0 else second_root):
            raise _unproven("consistency", "the roots differ at the same size")
        return
    path = list(_hashes("consistency", proof))
    if first & (first - 1) == 0:  # the first tree is itself perfect, so its root is not repeated in the proof
        path.insert(0, first_root)
    if not path:
        raise _unproven("consistency", "the proof is too short")
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _unproven("consistency", "the proof is too long")
        if position & 1 or position == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise _unproven("consistency", "the proof is too short")
    if (before, after) != (first_root, second_root):
        raise _unproven("consistency", f"history was rewritten between sizes {first} and {second}")


def _split(size: int) -> int:
    """Largest power of two below `size` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


def _range_hash(start: int, end: int, nodes: Nodes) -> bytes:
    """Hash of the leaves `[start, end)`, where `start` is a multiple of the power of two that covers the range."""
    frontier = Frontier()
    while start < end:
        level = (end - start).bit_length() - 1
        frontier.add(nodes(level, start >> level), level)
        start += 1 << level
    return frontier.root()


def _hashes(what: str, proof: Sequence[bytes]) -> Sequence[bytes]:
    if any(len(item) != HASH_SIZE for item in proof):
        raise _unproven(what, f"a hash in the proof is not of {HASH_SIZE} bytes")
    return proof


def _out_of_range(message: str) -> InvalidInput:
    return InvalidInput(message, rule="merkle/range", next_step="Ask for indices and sizes within the ledger.")


def _unproven(what: str, message: str) -> InvalidInput:
    return InvalidInput(
        message, rule=f"merkle/{what}", next_step="Do not trust this record; get it and the checkpoint again."
    )
