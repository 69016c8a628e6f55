"""Loaders of data sets that are tables: Parquet with the images inside, or lists of paths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv

from feature_store.foreign import ForeignFileError, parquet_batches, parquet_rows, parquet_schema
from pipelines.errors import DataError
from pipelines.loaders import Listing, Record, loader, need_path

if TYPE_CHECKING:
    from pathlib import Path

    from pipelines.project import DatasetSection


@loader
def parquet(section: DatasetSection, seed: int) -> Listing:  # noqa: ARG001 - one signature
    """List Parquet files that hold the images, in the layout of Hugging Face.

    ``path`` is a folder with ``<split>.parquet``, ``<split>-*.parquet`` or ``<split>/*.parquet``.
    The image column is bytes, or a struct of bytes and path; the names of the classes come from
    the schema's metadata, else from the labels.

    Returns
    -------
    Listing
        Rows in the order of the files.

    Raises
    ------
    DataError
        When a split has no file, or a file lacks a column or cannot be read.
    """
    path = need_path(section)
    files = [(split, file) for split in section.splits for file in _files_of(path, split)]
    try:
        columns = _columns(section, parquet_schema(files[0][1]).names)
        labels = _Labels.read([file for _, file in files], columns["label"])
        total = sum(parquet_rows(file) for _, file in files)
    except ForeignFileError as error:
        raise DataError(str(error)) from error

    def walk() -> Iterator[Record]:
        for split, file in files:
            row = 0
            for batch in _batches(file, [columns["image"], columns["label"]]):
                for image, label in zip(batch[0].to_pylist(), batch[1].to_pylist(), strict=True):
                    encoded, name = _bytes_of(image)
                    source = name or f"{file.name}:{row}"
                    row += 1
                    yield Record(
                        split=split, label=labels.index(label), source=source, encoded=encoded
                    )

    return Listing(classes=labels.names, records=walk(), total=total)


@loader
def table(section: DatasetSection, seed: int) -> Listing:  # noqa: ARG001 - one signature
    """List a CSV or Parquet table of paths and labels, relative to the folder of the table.

    Returns
    -------
    Listing
        Rows in the order of the table.

    Raises
    ------
    DataError
        When the table lacks a column or cannot be read.
    """
    path = need_path(section)
    data = _read_table(path)
    columns = _columns(section, data.column_names)
    for name in (columns["image"], columns["label"]):
        if name not in data.column_names:
            raise DataError(f"{path} has no column {name!r}; its columns: {data.column_names}")
    split_column = columns.get("split")
    if split_column is None and len(section.splits) > 1:
        raise DataError(f'{path}: with several splits, columns needs split = "NAME"')
    values = data[columns["label"]].to_pylist()
    labels = _Labels.of(values)
    splits = data[split_column].to_pylist() if split_column else [section.splits[0]] * len(data)
    records = [
        Record(
            split=split, label=labels.index(value), source=str(name), file=path.parent / str(name)
        )
        for wanted in section.splits
        for name, value, split in zip(
            data[columns["image"]].to_pylist(), values, splits, strict=True
        )
        if split == wanted
    ]
    if not records:
        raise DataError(f"{path} holds no image of the splits {', '.join(section.splits)}")
    return Listing(classes=labels.names, records=records, total=len(records))


@dataclass(frozen=True)
class _Labels:
    """Names of the classes, and how a value of the label column becomes an index."""

    names: tuple[str, ...]
    by_value: Mapping[Any, int]

    @classmethod
    def read(cls, files: list[Path], column: str) -> _Labels:
        """Take the names from the schema, else from all the labels there are."""
        names = _names_in_metadata(parquet_schema(files[0]), column)
        if names is not None:
            return cls(names, {index: index for index in range(len(names))})
        values: list[Any] = []
        for file in files:
            for batch in parquet_batches(file, [column], rows=65_536):
                values.extend(batch[0].unique().to_pylist())
        return cls.of(values)

    @classmethod
    def of(cls, values: list[Any]) -> _Labels:
        """Take the names from the labels themselves, in their order."""
        known = sorted({value for value in values if _is_label(value)})
        if len(known) < 2:
            raise DataError("the labels name fewer than two classes")
        return cls(
            tuple(str(value) for value in known),
            {value: index for index, value in enumerate(known)},
        )

    def index(self, value: Any) -> int | None:
        """Return the class of a label; None where there is no label (null, empty or -1)."""
        if not _is_label(value):
            return None
        if value not in self.by_value:
            raise DataError(f"label {value!r} is none of the {len(self.names)} classes")
        return self.by_value[value]


def _is_label(value: Any) -> bool:
    return value is not None and value not in {"", -1}


def _names_in_metadata(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError):
        return None


def _columns(section: DatasetSection, names: list[str]) -> dict[str, str]:
    known = {"image", "label", "split"}
    unknown = set(section.columns) - known
    if unknown:
        msg = f"[dataset] columns: unknown {sorted(unknown)}; known: image, label, split"
        raise DataError(msg)
    image = "img" if "img" in names and "image" not in names else "image"
    if section.source == "table" and "path" in names:
        image = "path"
    return {"image": image, "label": "label", **section.columns}


def _files_of(path: Path, split: str) -> list[Path]:
    patterns = (f"{split}.parquet", f"{split}-*.parquet", f"{split}/*.parquet")
    for pattern in patterns:
        files = sorted(path.glob(pattern))
        if files:
            return files
    raise DataError(f"{path} has none of {', '.join(patterns)}")


def _batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    try:
        # By name: a file may hold the columns in any order.
        yield from (batch.select(columns) for batch in parquet_batches(file, columns))
    except ForeignFileError as error:
        raise DataError(str(error)) from error


def _bytes_of(image: Any) -> tuple[bytes | None, str | None]:
    if isinstance(image, Mapping):
        return image.get("bytes"), image.get("path")
    return image, None


def _read_table(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".csv":
            return pyarrow.csv.read_csv(path)
        names = parquet_schema(path).names
        return pa.Table.from_batches(parquet_batches(path, names, rows=65_536))
    except (ForeignFileError, pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
