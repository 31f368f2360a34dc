"""The layout of tlog-tiles: paths, which tiles a tree has, bundles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pratique.errors import InvalidInput
from records import merkle, tiles
from records.edge import Edge
from records.tiles import ENTRIES, Tile


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0, 256), "tile/0/000"),
        (Tile(0, 0, 5), "tile/0/000.p/5"),
        (Tile(1, 1234067, 256), "tile/1/x001/x234/067"),
        (Tile(3, 1000, 255), "tile/3/x001/000.p/255"),
        (Tile(ENTRIES, 0, 1), "tile/entries/000.p/1"),
        (Tile(ENTRIES, 999, 256), "tile/entries/999"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    """Groups of three digits, `x` before all but the last, `.p/<width>` for partial tiles."""
    assert tile.path == path


def test_the_specification_s_example_tree() -> None:
    """A tree of 70,000 entries has the tiles that the specification counts."""
    rows = {
        level: [tile.width for tile in tiles.tiles_of(70_000) if tile.level == level] for level in (ENTRIES, 0, 1, 2, 3)
    }
    assert rows[0] == rows[ENTRIES] == [256] * 273 + [112]
    assert rows[1] == [256, 17]
    assert rows[2] == [1]
    assert rows[3] == []
    assert [tile.path for tile in tiles.tiles_of(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]


@given(first=st.integers(0, 70_000), more=st.integers(0, 600))
def test_what_an_append_adds_and_supersedes(first: int, more: int) -> None:
    """`added` and `superseded` are the differences of the two sets of tiles, and the edge is what is partial."""
    second = first + more
    before, after = set(tiles.tiles_of(first)), set(tiles.tiles_of(second))
    assert set(tiles.added(first, second)) == after - before
    assert set(tiles.superseded(first, second)) == before - after
    assert set(tiles.edge_of(second)) == {tile for tile in after if tile.width < 256}


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=20), st.data())
def test_bundles_come_back_and_narrower_ones_are_prefixes(entries: list[bytes], data: st.DataObject) -> None:
    """What is bundled is split again; a narrower bundle is where a wider one begins."""
    tile = Tile(ENTRIES, 0, len(entries))
    packed = tiles.bundle(entries)
    assert tiles.entries_in(tile, packed) == entries
    width = data.draw(st.integers(1, len(entries)))
    assert packed.startswith(tiles.bundle(entries[:width]))


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x02a", b"\x00\x01ab", b"\x00\x01a\x00\x01b"])
def test_bundles_that_hold_something_else_are_refused(data: bytes) -> None:
    """Truncated, too long, or with more entries than the tile is wide."""
    with pytest.raises(InvalidInput) as caught:
        tiles.entries_in(Tile(ENTRIES, 0, 1), data)
    assert caught.value.rule == "tile/form"
    with pytest.raises(InvalidInput):
        tiles.hashes_in(Tile(0, 0, 1), data)


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 513, 700])
def test_the_edge_grows_as_the_tree_does(size: int) -> None:
    """Root, new tiles and proofs from tiles equal those computed from all leaves at once."""
    entries = [str(number).encode() for number in range(size)]
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    edge = Edge(0, {})
    for entry in entries:
        edge.add(entry)
    stored = {tile: edge.content(tile) for tile in tiles.added(0, size)}
    assert edge.root() == merkle.root_of(leaves)
    again = Edge(size, {tile: stored[tile] for tile in tiles.edge_of(size)})
    assert (again.root(), again.size) == (edge.root(), size)
    nodes = tiles.nodes_from(size, stored.__getitem__)
    for index in {0, size // 2, size - 1}:
        proof = merkle.inclusion_proof(index, size, nodes)
        merkle.verify_inclusion(leaves[index], index, size, proof, edge.root())


def test_an_edge_whose_entries_and_hashes_disagree_is_refused() -> None:
    """An append never builds on entries that are not those of the tree."""
    stored = {Tile(ENTRIES, 0, 1): tiles.bundle([b"other"]), Tile(0, 0, 1): merkle.leaf_hash(b"entry")}
    with pytest.raises(InvalidInput) as caught:
        Edge(1, stored)
    assert caught.value.rule == "tile/entries"
