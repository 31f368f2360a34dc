"""The Merkle tree against a naive reading of RFC 6962, and its proofs against everything that is not one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from records import merkle

LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(70)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(first: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if first == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if first <= split:
        return [*naive_consistency(first, leaves[:split], whole), naive_root(leaves[split:])]
    return [*naive_consistency(first - split, leaves[split:], False), naive_root(leaves[:split])]


def nodes_of(leaves: Sequence[bytes]) -> merkle.Nodes:
    """The perfect subtrees of a tree whose leaf hashes are all in memory."""

    def node(level: int, index: int) -> bytes:
        return merkle.root_of(leaves[index << level : (index + 1) << level])

    return node


def test_leaves_and_nodes_are_kept_apart_by_their_prefix() -> None:
    """Known values of RFC 6962's hashing, so that the naive reference is not the only witness."""
    assert merkle.leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle.EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(len(LEAVES)))
def test_roots_and_inclusion_proofs_of_every_leaf(size: int) -> None:
    """Root and audit paths of every size equal the naive ones, and every path verifies."""
    leaves = LEAVES[:size]
    nodes = nodes_of(leaves)
    root = merkle.root_of(leaves)
    assert root == naive_root(leaves) == merkle.root_at(size, nodes)
    for index in range(size):
        proof = merkle.inclusion_proof(index, size, nodes)
        assert list(proof) == naive_path(index, leaves)
        merkle.verify_inclusion(leaves[index], index, size, proof, root)


@pytest.mark.parametrize("second", range(1, 66))
def test_consistency_proofs_from_every_smaller_size(second: int) -> None:
    """Consistency proofs equal the naive ones and verify; the same proof for another root does not."""
    nodes = nodes_of(LEAVES)
    new_root = naive_root(LEAVES[:second])
    for first in range(second + 1):
        proof = merkle.consistency_proof(first, second, nodes)
        old_root = merkle.root_of(LEAVES[:first])
        assert list(proof) == (naive_consistency(first, LEAVES[:second]) if first else [])
        merkle.verify_consistency(first, second, proof, old_root, new_root)
        with pytest.raises(InvalidInput):
            merkle.verify_consistency(first, second, proof, merkle.leaf_hash(b"other"), new_root)


@settings(max_examples=200)
@given(st.data())
def test_a_changed_inclusion_proof_never_verifies(data: st.DataObject) -> None:
    """Another leaf, index, size, root, or a proof with a bit flipped, lengthened or shortened is refused."""
    size = data.draw(st.integers(1, 64))
    index = data.draw(st.integers(0, size - 1))
    leaf, root = LEAVES[index], merkle.root_of(LEAVES[:size])
    proof = list(merkle.inclusion_proof(index, size, nodes_of(LEAVES)))
    change = data.draw(st.sampled_from(["leaf", "index", "root", "longer", "shorter", "bit", "short hash"]))
    if change == "leaf":
        leaf = merkle.leaf_hash(b"forged")
    elif change == "index":
        index = data.draw(st.integers(-1, size + 1).filter(lambda other: other != index))
    elif change == "root":
        root = merkle.leaf_hash(b"forged")
    elif change == "longer" or not proof:
        proof.append(LEAVES[0])
    elif change == "shorter":
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    else:
        place = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[place][0] ^ 1])
        proof[place] = flipped + proof[place][1:] if change == "bit" else proof[place][1:]
    with pytest.raises(InvalidInput) as caught:
        merkle.verify_inclusion(leaf, index, size, proof, root)
    assert caught.value.rule == "merkle/inclusion"


@settings(max_examples=200)
@given(st.data())
def test_a_changed_consistency_proof_never_verifies(data: st.DataObject) -> None:
    """A rewritten history has no consistency proof."""
    second = data.draw(st.integers(2, 64))
    first = data.draw(st.integers(1, second - 1))
    proof = list(merkle.consistency_proof(first, second, nodes_of(LEAVES)))
    old_root, new_root = merkle.root_of(LEAVES[:first]), merkle.root_of(LEAVES[:second])
    change = data.draw(st.sampled_from(["longer", "shorter", "bit", "new root", "empty", "short hash"]))
    if change == "longer":
        proof.append(LEAVES[0])
    elif change == "shorter":
        proof.pop(data.draw(st.integers(0, len(proof) - 1)))
    elif change == "new root":
        new_root = merkle.leaf_hash(b"forged")
    elif change == "empty":
        proof = []
    else:
        place = data.draw(st.integers(0, len(proof) - 1))
        flipped = bytes([proof[place][0] ^ 1])
        proof[place] = flipped + proof[place][1:] if change == "bit" else proof[place][1:]
    with pytest.raises(InvalidInput) as caught:
        merkle.verify_consistency(first, second, proof, old_root, new_root)
    assert caught.value.rule == "merkle/consistency"


@pytest.mark.parametrize(("first", "second"), [(-1, 3), (4, 3)])
def test_impossible_ranges_are_refused(first: int, second: int) -> None:
    """Sizes outside the tree have no proof and verify nothing."""
    nodes = nodes_of(LEAVES)
    with pytest.raises(InvalidInput):
        merkle.consistency_proof(first, second, nodes)
    with pytest.raises(InvalidInput):
        merkle.verify_consistency(first, second, [], merkle.EMPTY_ROOT, merkle.EMPTY_ROOT)
    with pytest.raises(InvalidInput):
        merkle.inclusion_proof(5, 5, nodes)


def test_equal_sizes_need_equal_roots() -> None:
    """An empty proof proves nothing about two different trees of one size, nor about a forged empty tree."""
    with pytest.raises(InvalidInput):
        merkle.verify_consistency(3, 3, [], LEAVES[0], LEAVES[1])
    with pytest.raises(InvalidInput):
        merkle.verify_consistency(0, 3, [LEAVES[0]], merkle.EMPTY_ROOT, LEAVES[1])
