"""Every wrong byte is found, and the file that holds it is named."""

from __future__ import annotations

import random

import pytest

from feature_store import (
    QueryError,
    Store,
    StoreCorruptError,
    StoreNotFoundError,
    queries,
    verify_store,
)


def live_files(root):
    with Store.open(root) as store:
        entries = [store.entry(name) for name in store.tables]
        named = [root / part.path for entry in entries for part in entry.parts]
        manifest = root / f"gen/{store.generation:06d}/MANIFEST.json"
        return [*named, store.file("weights"), manifest, root / "CURRENT"]


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def flips_found(root, count, seed):
    """Flip ``count`` random bits one by one; count those that are found and named."""
    pick = random.Random(seed)
    files = live_files(root)
    found = 0
    for _ in range(count):
        path = pick.choice(files)
        bit = pick.randrange(8 * path.stat().st_size)
        flip(path, bit)
        problems = verify_store(root)
        found += (
            len(problems) == 1 and path.name in str(problems[0]) and seen_by_command(root, path)
        )
        flip(path, bit)
    assert verify_store(root) == []
    return found


def seen_by_command(root, path):
    """What `vatun verify` sees: a store that does not open, or one with a problem."""
    try:
        with Store.open(root) as store:
            return [path.name in str(problem) for problem in store.verify()] == [True]
    except StoreCorruptError as error:
        return path.name in str(error)


def test_twenty_flipped_bits(demo):
    assert flips_found(demo, 20, 1) == 20


@pytest.mark.accept
def test_two_hundred_flipped_bits(demo):
    assert flips_found(demo, 200, 2) == 200


def test_flips_are_found_by_an_open_reader(demo):
    with Store.open(demo) as store:
        assert store.verify() == []
        for path in live_files(demo):
            flip(path, 100)
            problems = store.verify()
            flip(path, 100)
            assert [path.name in str(problem) for problem in problems] == [True]


def test_a_cut_file_is_found_at_open(demo):
    path = live_files(demo)[0]
    whole = path.read_bytes()
    for size in (0, 4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(StoreCorruptError, match=path.name):
            Store.open(demo)
        assert str(path.relative_to(demo)) in str(verify_store(demo)[0])
    path.unlink()
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        Store.open(demo)


def test_a_part_that_is_not_parquet(demo):
    path = live_files(demo)[0]
    path.write_bytes(b"PAR1" + bytes(path.stat().st_size - 8) + b"PAR1")
    with pytest.raises(StoreCorruptError, match=str(path.relative_to(demo))):
        Store.open(demo)


def test_progress_counts_bytes(demo):
    seen = []
    assert verify_store(demo, progress=lambda done, total: seen.append((done, total))) == []
    assert seen[-1][0] == seen[-1][1] > 0


def test_nothing_to_verify(tmp_path):
    with pytest.raises(StoreNotFoundError):
        verify_store(tmp_path / "nothing")


def test_a_damaged_page_is_no_wrong_question(demo):
    with Store.open(demo) as store:
        path = demo / store.entry("paths/paper").parts[0].path
    content = bytearray(path.read_bytes())
    # Behind the first magic bytes begins the header of the first page.
    content[4:60] = bytes(255 - byte for byte in content[4:60])
    path.write_bytes(content)
    with Store.open(demo) as store:
        with pytest.raises(StoreCorruptError, match=r"paths__paper cannot be read.*vatun verify"):
            store.arrow("SELECT * FROM paths__paper")
        with pytest.raises(StoreCorruptError, match="paths__paper"):
            queries.path_of(store, "paper", 0)
        with pytest.raises(QueryError, match="no_such_column"):
            store.arrow("SELECT no_such_column FROM paths__paper")
