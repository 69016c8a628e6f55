"""A selection taken along: read back by the tools that people use, and equal by id."""

from __future__ import annotations

import asyncio
import base64
import csv
import http.client
import io
import json
import re
import urllib.error
import urllib.request
import zipfile
from contextlib import closing

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bokeh.server.auth_provider import NullAuth
from PIL import Image
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application

from app import export, thumbnails
from app.components.selection_bar import SelectionBar
from app.export import Export, Tickets, extension
from app.routes import ROUTES
from app.runtime import Runtime
from app.state import SessionState
from feature_store import Store, StoreError, StoreWriter, queries
from tests.app.conftest import serve

COLUMNS = [
    "image_id", "image_key", "split", "true_class", "predicted_class", "confidence", "is_correct",
]  # fmt: skip
FORMULA = '=HYPERLINK("http://x","y")'


@pytest.fixture
def ids(runtime):
    return runtime.splits["test"][3::7].copy()


def whole(runtime, kind, ids, *, origin="lasso on Map", split="test"):
    wanted = Export(runtime=runtime, kind=kind, ids=ids, origin=origin, split=split)
    return b"".join(wanted.pieces())


@pytest.fixture(scope="module")
def known(digits_store):
    """Return the rows that are expected, by id, from plain SQL."""
    found = digits_store.sql(
        "SELECT image_id, image_key, split, t.class_name, c.class_name, confidence, is_correct "
        "FROM images JOIN predictions USING (image_id) "
        "JOIN classes t ON t.class_index = true_class "
        "JOIN classes c ON c.class_index = predicted_class"
    ).fetchall()
    return {row[0]: row for row in found}


@pytest.fixture(scope="module")
def hostile(digits_store, tmp_path_factory):
    """Return the runtime of a store with bad class names, bad keys, and images it lost."""
    folder = tmp_path_factory.mktemp("hostile") / "of =evil"
    images = digits_store.sql("SELECT * FROM images WHERE image_id < 40").to_arrow_table()
    encoded = [None if k % 10 == 4 else value for k, value in enumerate(images["encoded"])]
    keys = ["../../etc/passwd", "=1+1", None, *images["image_key"].to_pylist()[3:]]
    images = images.set_column(
        images.column_names.index("encoded"), "encoded", pa.array(encoded, pa.binary())
    ).set_column(images.column_names.index("image_key"), "image_key", pa.array(keys, pa.string()))
    classes = digits_store.table("classes").order("class_index").to_arrow_table()
    names = [FORMULA, "+1", "-1", "@x", "\t=1", "a,b", 'q"q', "l\nl", "＝1", " =1"]
    with StoreWriter.open(folder) as writer, writer.begin("capture") as generation:
        generation.write("images", images)
        generation.write("classes", classes.set_column(1, "class_name", pa.array(names)))
        generation.write(
            "predictions",
            digits_store.sql("SELECT * FROM predictions WHERE image_id < 40").to_arrow_table(),
        )
        generation.write("layers", digits_store.table("layers").to_arrow_table())
    with Store.open(folder) as store:
        yield Runtime(store)


def read_csv(content):
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_csv_holds_the_selection(runtime, ids, known):
    rows = read_csv(whole(runtime, "csv", ids))
    assert list(rows[0]) == COLUMNS
    assert [int(row["image_id"]) for row in rows] == ids.tolist()
    for row in rows:
        _, key, split, true, predicted, confidence, is_correct = known[int(row["image_id"])]
        assert (row["image_key"], row["split"]) == (key, split)
        assert (row["true_class"], row["predicted_class"]) == (true, predicted)
        assert np.float32(row["confidence"]) == np.float32(confidence)
        assert row["is_correct"] == str(is_correct).lower()


def test_parquet_holds_the_selection_and_where_it_came_from(runtime, ids, known):
    table = pq.read_table(io.BytesIO(whole(runtime, "parquet", ids)))
    assert table.column_names == COLUMNS
    assert table.schema.field("image_id").type == pa.int32()
    assert table.schema.field("confidence").type == pa.float32()
    assert table.schema.field("is_correct").type == pa.bool_()
    assert [tuple(row.values()) for row in table.to_pylist()] == [known[i] for i in ids.tolist()]
    about = json.loads(table.schema.metadata[b"vatun"])
    manifest = runtime.store.manifest
    assert about["store"] == runtime.name
    assert about["generation"] == manifest["generation"]
    assert about["weights"] == manifest["files"]["weights"]["sha256"]
    assert about["images"] == manifest["tables"]["images"]["fingerprint"]
    assert (about["origin"], about["split"], about["n"]) == ("lasso on Map", "test", len(ids))


def test_many_rows_come_in_many_pieces_and_stay_one_file(runtime, monkeypatch):
    monkeypatch.setattr(queries, "LABELS_AT_ONCE", 100)
    everything = runtime.images.ids
    wanted = Export(runtime=runtime, kind="csv", ids=everything, origin="", split="")
    assert len(list(wanted.pieces())) > 15
    rows = read_csv(whole(runtime, "csv", everything))
    assert [int(row["image_id"]) for row in rows] == everything.tolist()
    table = pq.read_table(io.BytesIO(whole(runtime, "parquet", everything)))
    assert table["image_id"].to_pylist() == everything.tolist()


def test_zip_holds_the_encoded_images(runtime, ids):
    with zipfile.ZipFile(io.BytesIO(whole(runtime, "zip", ids))) as archive:
        assert archive.testzip() is None
        index = read_csv(archive.read("images.csv"))
        assert [int(row["image_id"]) for row in index] == ids.tolist()
        files = [name for name in archive.namelist() if name.startswith("images/")]
        assert sorted(files) == sorted(row["file"] for row in index)
        for row in index:
            content = archive.read(row["file"])
            assert content == queries.image_bytes(runtime.store, int(row["image_id"]))
            assert row["image_key"][:16] in row["file"]
            with Image.open(io.BytesIO(content)) as picture:
                assert row["file"].endswith(f".{picture.format.lower()}")
        assert json.loads(archive.read("provenance.json"))["n"] == len(ids)


def test_an_archive_is_never_whole_in_memory(runtime, monkeypatch):
    monkeypatch.setattr(export, "_PIECE_BYTES", 20_000)
    wanted = Export(runtime=runtime, kind="zip", ids=runtime.images.ids, origin="", split="")
    pieces = [len(piece) for piece in wanted.pieces()]
    assert sum(pieces) > 1_000_000
    assert max(pieces) < 0.2 * sum(pieces)


def test_names_are_never_a_formula_nor_a_path(hostile):
    ids = hostile.images.ids
    rows = read_csv(whole(hostile, "csv", ids))
    assert len(rows) == len(ids)
    names = {row["true_class"] for row in rows} | {row["predicted_class"] for row in rows}
    assert f"'{FORMULA}" in names
    for row in rows:
        for name in ("image_key", "split", "true_class", "predicted_class"):
            assert not re.match(r"\s*[=+\-@＝]|[\t\r\n]", row[name]), row
    with zipfile.ZipFile(io.BytesIO(whole(hostile, "zip", ids))) as archive:
        pictures = [name for name in archive.namelist() if name.startswith("images/")]
        assert all(re.fullmatch(r"images/\d{8}(_[0-9a-f]{1,16})?\.png", name) for name in pictures)
        index = read_csv(archive.read("images.csv"))
        missing = [int(row["image_id"]) for row in index if not row["file"]]
        assert missing == [4, 14, 24, 34], "what is not kept is listed without a file"
    # Parquet is typed: there the names are as they are.
    table = pq.read_table(io.BytesIO(whole(hostile, "parquet", ids)))
    assert FORMULA in table["true_class"].to_pylist()
    wanted = Export(runtime=hostile, kind="csv", ids=ids, origin="", split="")
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", wanted.name)


def test_equal_selections_give_equal_bytes(runtime, ids):
    for kind in export.KINDS:
        assert whole(runtime, kind, ids) == whole(runtime, kind, ids)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_the_ending_is_that_of_the_content(kind):
    out = io.BytesIO()
    Image.new("RGB", (5, 5)).save(out, kind)
    ends = {"JPEG": "jpg", "TIFF": "tif"}
    assert extension(out.getvalue()) == ends.get(kind, kind.lower())
    assert extension(b"no picture") == extension(b"") == "bin"


def test_the_menu_says_how_much_and_refuses_too_much(runtime, monkeypatch):
    ids = runtime.splits["test"]
    offered = {each["kind"]: each for each in export.offers(runtime, len(ids))}
    assert set(offered) == {"csv", "parquet", "zip"}
    assert all(each["can"] and "500 " in each["detail"] for each in offered.values())
    for kind in export.KINDS:
        size, real = export.estimate(runtime, kind, len(ids)), len(whole(runtime, kind, ids))
        assert real / 2 < size < 2 * real, kind
    assert not any(each["can"] for each in export.offers(runtime, 0))
    monkeypatch.setattr(export, "MAX_BYTES", 1000)
    refused = {each["kind"]: each for each in export.offers(runtime, len(ids))}["zip"]
    assert not refused["can"]
    assert "select fewer" in refused["detail"]


def test_a_store_without_images_offers_none(runtime, monkeypatch):
    monkeypatch.setattr(queries, "bytes_per_image", lambda store: None)
    offered = {each["kind"]: each["can"] for each in export.offers(runtime, 10)}
    assert offered == {"csv": True, "parquet": True, "zip": False}


@pytest.fixture
def sent(runtime, monkeypatch):
    """Return a bar over the test images and what it sends to its browser."""
    state = SessionState(dict(runtime.splits), split="test")
    bar, messages = SelectionBar(runtime, state), []
    monkeypatch.setattr(bar, "_send_msg", messages.append)
    return state, bar, messages


def test_the_bar_hands_over_the_selection_or_all_that_is_shown(sent, monkeypatch):
    state, bar, messages = sent
    monkeypatch.setattr(thumbnails, "served_by_url", lambda: True)
    bar._handle_msg({"export": "parquet"})
    state.select(state.universe[:9], "class one")
    bar._handle_msg({"export": "csv"})
    for message, n in zip(messages, (500, 9), strict=True):
        found = re.fullmatch(r"export/([\w-]{32})/[\w.-]+", message["download"]["url"])
        wanted = export.TICKETS.take(found[1])
        assert len(wanted.ids) == n
        assert export.TICKETS.take(found[1]) is None, "an address works once"
    assert wanted.origin == "class one"


def test_without_the_route_a_small_file_travels_in_the_message(sent, monkeypatch):
    state, bar, messages = sent
    monkeypatch.setattr(thumbnails, "served_by_url", lambda: False)
    state.select(state.universe[:9], "class one")
    bar._handle_msg({"export": "csv"})
    rows = read_csv(base64.b64decode(messages[0]["download"]["data"]))
    assert [int(row["image_id"]) for row in rows] == state.selected_ids.tolist()
    monkeypatch.setattr(export, "MAX_INLINE_BYTES", 100)
    bar._handle_msg({"export": "csv"})
    assert "--plugins app.routes" in messages[1]["download"]["reason"]


def test_of_several_processes_none_offers_an_address_that_another_may_be_asked_for(
    sent, monkeypatch
):
    _, bar, messages = sent
    monkeypatch.setitem(thumbnails._route, "installed", True)
    for task, is_by_address in ((None, True), (0, False), (1, False)):
        monkeypatch.setattr("tornado.process.task_id", lambda task=task: task)
        bar._handle_msg({"export": "csv"})
        assert ("url" in messages[-1]["download"]) == is_by_address


@pytest.mark.parametrize("kind", ["exe", None, 3, ["csv"], {"csv": 1}])
def test_a_kind_that_is_not_offered_sends_nothing(sent, kind):
    _, bar, messages = sent
    bar._handle_msg({"export": kind})
    assert messages == []


def test_offers_are_forgotten(runtime, monkeypatch):
    tickets = Tickets()
    wanted = Export(runtime=runtime, kind="csv", ids=np.zeros(0, np.int32), origin="", split="")
    tokens = [tickets.offer(wanted) for _ in range(export.MAX_OFFERS + 1)]
    assert len(set(tokens)) == len(tokens)
    assert tickets.take(tokens[0]) is None
    assert tickets.take(tokens[1]) is wanted
    monkeypatch.setattr(export, "KEPT_S", -1.0)
    assert tickets.take(tokens[2]) is None


def test_addresses_nobody_was_given_are_not_found(digits_server):
    root = digits_server.url.removesuffix("/app")
    for path in (f"export/{'a' * 32}/x.csv", "export/short/x.csv", f"export/{'a' * 32}/../x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{root}/{path}", timeout=30)


def test_a_login_is_asked_for_where_the_page_asks(digits_path, tmp_path):
    options = ("--basic-auth", "secret", "--cookie-secret", "for-this-test")
    with serve(digits_path, log=tmp_path / "log", options=options) as server:
        root = server.url.removesuffix("/app")
        with urllib.request.urlopen(f"{root}/export/{'a' * 32}/x.csv", timeout=30) as answer:
            assert "login" in answer.url


def test_a_damaged_store_is_an_error_not_an_empty_file(runtime, ids, monkeypatch):
    def fail(*_):
        msg = "damaged"
        raise StoreError(msg)

    monkeypatch.setattr(queries, "image_labels", fail)
    with pytest.raises(StoreError):
        whole(runtime, "parquet", ids)


@pytest.mark.parametrize("kind", list(export.KINDS))
@pytest.mark.parametrize("failing", [1, 3])
def test_a_download_that_breaks_off_is_not_taken_for_a_whole_file(
    runtime, monkeypatch, kind, failing
):
    """Before the first rows it is an error; later the connection ends without the last chunk."""
    real, calls = queries.image_labels, []

    def breaks(store, ids):
        calls.append(len(ids))
        if len(calls) >= failing:
            msg = "damaged"
            raise StoreError(msg)
        return real(store, ids)

    monkeypatch.setattr(queries, "image_labels", breaks)
    monkeypatch.setattr(queries, "LABELS_AT_ONCE", 100)

    async def fetched() -> tuple[int, bool]:
        application = Application(ROUTES)
        application.auth_provider = NullAuth()
        sockets = bind_sockets(0, "127.0.0.1")
        server = HTTPServer(application)
        server.add_sockets(sockets)
        ids = runtime.images.ids[:500]
        wanted = Export(runtime=runtime, kind=kind, ids=ids, origin="", split="")
        path = f"/export/{export.TICKETS.offer(wanted)}/x"

        def get() -> tuple[int, bool]:
            host, port = sockets[0].getsockname()
            with closing(http.client.HTTPConnection(host, port, timeout=30)) as connection:
                connection.request("GET", path)
                answer = connection.getresponse()
                try:
                    answer.read()
                except (http.client.HTTPException, OSError):
                    return answer.status, False
                return answer.status, True

        try:
            return await asyncio.to_thread(get)
        finally:
            server.stop()

    status, is_whole = asyncio.run(fetched())
    assert len(calls) == failing, "the fault fired"
    assert status == 500 or not is_whole
    if failing == 1 and kind != "zip":
        assert status == 500
