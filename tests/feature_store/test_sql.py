"""SQL reads the tables of the store and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pytest

from feature_store import QueryError, QueryTimeoutError, Store, StoreError


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  select 1 -- with a comment\n;",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "FROM images",
        "VALUES (1), (2)",
        "DESCRIBE images",
        "SHOW TABLES",
        "SUMMARIZE images",
        "EXPLAIN SELECT * FROM images",
        "EXPLAIN ANALYZE SELECT * FROM images",
        "SELECT * FROM images SEMI JOIN predictions USING (image_id)",
    ],
)
def test_reading_is_allowed(demo, query):
    with Store.open(demo) as store:
        assert store.sql(query).fetchall()


@pytest.mark.parametrize(
    "query",
    [
        "COPY images TO '{store}/out.csv'",
        "COPY (SELECT 1) TO '{store}/gen/000001/images/part-00000.parquet'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/out.csv'",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "CREATE TABLE t AS SELECT 1",
        "CREATE OR REPLACE VIEW images AS SELECT 1 AS image_id",
        "CREATE MACRO f(x) AS x",
        "DROP VIEW images",
        "INSERT INTO images VALUES (1)",
        "UPDATE images SET split = 'x'",
        "DELETE FROM images",
        "ATTACH '{store}/x.duckdb'",
        "INSTALL httpfs",
        "LOAD json",
        "SET threads = 1",
        "SET enable_external_access = true",
        "RESET enable_external_access",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "EXPORT DATABASE '{store}/x'",
        "IMPORT DATABASE '{store}/x'",
        "PREPARE p AS SELECT 1",
        "BEGIN TRANSACTION",
        "CHECKPOINT",
        "VACUUM",
        "USE memory",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW images",
        "",
        "-- nothing",
    ],
)
def test_everything_else_is_refused(demo, query):
    before = sorted(demo.rglob("*"))
    with Store.open(demo) as store:
        with pytest.raises(QueryError):
            store.sql(query.format(store=demo))
        with pytest.raises(QueryError):
            store.arrow(query.format(store=demo))
        assert store.sql("SELECT count(*) FROM images").fetchall() == [(4,)]
    assert sorted(demo.rglob("*")) == before


@pytest.mark.parametrize(
    "source",
    [
        "read_text('/etc/hostname')",
        "read_blob('/etc/hostname')",
        "read_csv('/etc/passwd')",
        "'/etc/passwd'",
        "'{outside}'",
        "read_parquet('{outside}')",
        "read_parquet(['{outside}'])",
        "read_parquet('{store}/../outside.parquet')",
        "read_parquet('{link}')",
        "read_parquet('{store}/gen/**/*.parquet')",
        "read_text('{store}/CURRENT')",
        "read_json('{store}/gen/000001/MANIFEST.json')",
        "glob('/etc/*')",
        "glob('{store}/*')",
        "parquet_metadata('{outside}')",
        "parquet_schema('{outside}')",
        "sniff_csv('/etc/passwd')",
        "read_parquet('https://127.0.0.1:9/x.parquet')",
        "query('FROM read_text(''/etc/hostname'')')",
    ],
)
def test_no_file_outside_the_tables(demo, rows, tmp_path, source):
    import pyarrow.parquet as pq

    outside = tmp_path / "outside.parquet"
    pq.write_table(rows("classes"), outside)
    link = demo / "gen/000001/link.parquet"
    link.symlink_to(outside)
    source = source.format(store=demo, outside=outside, link=link)
    with (
        Store.open(demo) as store,
        pytest.raises(QueryError, match=r"Permission|disabled|Catalog"),
    ):
        store.arrow(f"SELECT * FROM {source}")


def test_variables_of_the_caller_are_invisible(demo):
    secret = pa.table({"password": ["hunter2"]})
    with Store.open(demo) as store, pytest.raises(QueryError, match="secret does not exist"):
        store.sql("SELECT * FROM secret")
    assert secret.num_rows


PAYLOADS = [
    "x' OR '1'='1",
    "'; DROP VIEW images; --",
    "x' UNION SELECT content FROM read_text('/etc/hostname') --",
    "train\x00",
    "%",
    "\\",
    '"',
    "?",
    "$1",
    "é" * 2000,
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_values_never_become_sql(demo, payload):
    with Store.open(demo) as store:
        assert store.sql("SELECT * FROM images WHERE split = ?", payload).fetchall() == []
        assert store.arrow("SELECT $1 AS v", payload)["v"].to_pylist() == [payload]
        with pytest.raises(StoreError):
            store.table(payload)


def test_wrong_sql_says_where(demo):
    with Store.open(demo) as store:
        with pytest.raises(QueryError, match="imagez does not exist"):
            store.sql("SELECT * FROM imagez")
        with pytest.raises(QueryError, match="syntax error"):
            store.sql("SELEKT 1")
        with pytest.raises(QueryError, match="colour"):
            store.arrow("SELECT colour FROM images")


def test_a_query_is_stopped_at_its_deadline(demo):
    endless = "SELECT count(*) FROM range(1000000) a, range(1000000) b"
    with Store.open(demo) as store:
        started = time.perf_counter()
        with pytest.raises(QueryTimeoutError, match=r"stopped after 0\.3 s"):
            store.arrow(endless, timeout=0.3)
        assert time.perf_counter() - started < 5
        assert store.arrow("SELECT 1 AS one", timeout=5)["one"].to_pylist() == [1]


@pytest.mark.parametrize(
    ("timeout", "kind", "words"),
    [
        ("x", TypeError, "a number of seconds or None, not 'x'"),
        ([1], TypeError, "not \\[1\\]"),
        (True, TypeError, "not True"),
        (-1, ValueError, "not -1"),
        (float("nan"), ValueError, "not nan"),
        (float("inf"), ValueError, "not inf"),
    ],
)
def test_what_is_no_deadline_is_refused(demo, timeout, kind, words):
    with Store.open(demo) as store, pytest.raises(kind, match=words):
        store.arrow("SELECT 1 AS one", timeout=timeout)


@pytest.mark.parametrize("timeout", [np.float32(5), np.int64(5), None])
def test_any_number_is_a_deadline(demo, timeout):
    with Store.open(demo) as store:
        assert store.arrow("SELECT 1 AS one", timeout=timeout)["one"].to_pylist() == [1]


@pytest.mark.parametrize(
    "text", ["SELECT '\ud800'", None, 3, b"SELECT 1", "SELECT * FROM sniff_csv('/etc/passwd')"]
)
def test_what_is_no_query_is_refused(demo, text):
    with Store.open(demo) as store:
        for ask in (store.sql, store.arrow):
            with pytest.raises(QueryError):
                ask(text)
        with pytest.raises(QueryError):
            store.sql("SELECT ?", "\ud800")
