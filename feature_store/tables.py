"""The tables of a store: columns, types, units, sort order, and the stage that writes each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from feature_store.errors import UnknownTableError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = "1.0"
"""Version of everything declared here; a reader refuses a newer major and fills an older minor."""

ROWS = 65_536
"""Rows of a Parquet row group: the footer of a wide file costs by row group and column."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column, or a numbered family of columns (``digits`` > 0).

    Parameters
    ----------
    name : str
        Name, or for a family the prefix before the number.
    type : pyarrow.DataType
        Type on disk.
    note : str
        What it holds, with its unit.
    low, high : float or None
        Limits of the values, inclusive.
    nullable : bool
        Whether a row may lack it.
    digits : int
        Least number of digits of a family's numbers; 0 for a single column.
    alternatives : tuple of pyarrow.DataType
        Other types that are accepted, all columns of a family alike.
    since : str
        Schema version that brought it.
    default : object
        What a reader sees in stores older than ``since``.
    """

    name: str
    type: pa.DataType
    note: str
    low: float | None = None
    high: float | None = None
    nullable: bool = False
    digits: int = 0
    alternatives: tuple[pa.DataType, ...] = ()
    since: str = "1.0"
    default: Any = None

    def names(self, width: int) -> tuple[str, ...]:
        """Return the column names; ``width`` counts the members of a family."""
        if not self.digits:
            return (self.name,)
        return tuple(f"{self.name}{index:0{self.digits}d}" for index in range(width))

    def fields(self, width: int, data_type: pa.DataType | None = None) -> list[pa.Field]:
        """Return the Arrow fields, with note and limits as metadata."""
        metadata = {"note": self.note}
        if self.low is not None:
            metadata["low"] = f"{self.low:g}"
        if self.high is not None:
            metadata["high"] = f"{self.high:g}"
        return [
            pa.field(name, data_type or self.type, self.nullable, metadata)
            for name in self.names(width)
        ]


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table, or a family of tables whose names hold ``<placeholders>``.

    Parameters
    ----------
    name : str
        Name in the manifest; a placeholder stands for one part of the path.
    stage : str
        Stage that writes it.
    note : str
        What one row is.
    columns : tuple of Column
        In order; at most one family, and it is the last.
    sort : tuple of str
        Columns by which rows ascend (``-name`` descends); strings by their bytes.
    unique : bool
        Whether the sort key identifies a row.
    rows : int
        Rows of a Parquet row group.
    part_by : str or None
        Column each of whose values has a part file of its own.
    """

    name: str
    stage: str
    note: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...] = ()
    unique: bool = False
    rows: int = ROWS
    part_by: str | None = None

    @property
    def family(self) -> Column | None:
        """The numbered family of columns, where the table is wide."""
        last = self.columns[-1]
        return last if last.digits else None

    def schema(self, width: int = 0, data_type: pa.DataType | None = None) -> pa.Schema:
        """Return the Arrow schema.

        Parameters
        ----------
        width : int
            Number of classes, filters, layers or dimensions of a wide table.
        data_type : pyarrow.DataType or None
            Type of the wide columns where it is not the declared one (float32 for a layer whose
            activations overflow float16).

        Returns
        -------
        pyarrow.Schema
            Fields carry note and limits as metadata.
        """
        fields: list[pa.Field] = []
        for column in self.columns:
            fields += column.fields(width, data_type if column.digits else None)
        return pa.schema(fields)

    def matches(self, name: str) -> bool:
        """Whether ``name`` is this table or a member of this family."""
        pattern = re.sub(r"<\w+>", "[a-z0-9_]+", self.name)
        return re.fullmatch(pattern, name) is not None


_I8, _I16, _I32 = pa.int8(), pa.int16(), pa.int32()
_F16, _F32, _F64 = pa.float16(), pa.float32(), pa.float64()
_TEXT = pa.string()


def _score(name: str, note: str, *, nullable: bool = True) -> Column:
    return Column(name=name, type=_F32, note=note, low=0, high=1, nullable=nullable)


def _class(name: str, note: str, *, nullable: bool = False) -> Column:
    return Column(name=name, type=_I16, note=note, low=0, nullable=nullable)


_IMAGE = Column(name="image_id", type=_I32, note="image, dense from 0 within the store", low=0)
_LAYER = Column(name="layer_index", type=_I16, note="layer, by first firing", low=0)
_FILTER = Column(name="filter_index", type=_I32, note="filter within its layer", low=0)
_SPLIT = Column(name="split", type=_TEXT, note="part of the data set, such as train or test")
_CHANGE = Column(name="perturbation", type=_TEXT, note="registered name of the change")
_MAGNITUDE = Column(name="magnitude", type=_F64, note="in the unit of the perturbation")
_PATTERN = Column(name="pattern_id", type=_I32, note="pattern, its row in `patterns`", low=0)
_FIRST = Column(name="first_layer", type=_I16, note="layer of the first item", low=0)
_SUPPORT = Column(name="support", type=_I32, note="images that have the pattern", low=1)
_RANK_SCORE = Column(
    name="rank_score", type=_F32, note="purity bound x log2 support x sqrt length", low=0
)

_ACTIVATION = "spatial statistic after the activation function, no unit"

_DECLARED = (
    Table(
        name="classes",
        stage="ingest",
        note="One class of the classifier.",
        columns=(
            _class("class_index", "index of the network's output"),
            Column(name="class_name", type=_TEXT, note="as the data set has it, not escaped"),
        ),
        sort=("class_index",),
        unique=True,
    ),
    Table(
        name="images",
        stage="ingest",
        note="One image, readable or not.",
        columns=(
            _IMAGE,
            Column(
                name="image_key",
                type=_TEXT,
                note="sha256 of the decoded RGB pixels before any resize",
                nullable=True,
            ),
            _SPLIT,
            _class("true_class", "label; null when there is none", nullable=True),
            Column(name="source", type=_TEXT, note="where it came from: file or row"),
            Column(name="width", type=_I32, note="pixels", low=1, nullable=True),
            Column(name="height", type=_I32, note="pixels", low=1, nullable=True),
            Column(
                name="encoded",
                type=pa.binary(),
                note="image file; null when only the path is kept",
                nullable=True,
            ),
            Column(name="status", type=_TEXT, note="ok, missing, undecodable or too_large"),
            Column(name="message", type=_TEXT, note="what is wrong with it", nullable=True),
        ),
        sort=("image_id",),
        unique=True,
        # One thumbnail reads one row group: at 65,536 rows that would be gigabytes.
        rows=1_024,
    ),
    Table(
        name="layers",
        stage="capture",
        note="One captured layer.",
        columns=(
            _LAYER,
            Column(name="layer_name", type=_TEXT, note="path in named_modules()"),
            Column(name="kind", type=_TEXT, note="conv or linear"),
            Column(name="filters", type=_I32, note="number of filters", low=1),
            Column(name="height", type=_I32, note="rows of its map; 1 when linear", low=1),
            Column(name="width", type=_I32, note="columns of its map; 1 when linear", low=1),
            Column(name="site", type=_TEXT, note="post_activation, post_norm or output"),
            Column(name="receptive_field", type=_I32, note="input pixels", low=1, nullable=True),
            Column(name="stride", type=_I32, note="input pixels", low=1, nullable=True),
            Column(name="block", type=_TEXT, note="block of the network", nullable=True),
        ),
        sort=("layer_index",),
        unique=True,
    ),
    Table(
        name="predictions",
        stage="capture",
        note="What the network says about one image.",
        columns=(
            _IMAGE,
            Column(name="status", type=_TEXT, note="ok or not_finite"),
            _class("predicted_class", "class of the highest score", nullable=True),
            _score("confidence", "softmax score of the predicted class"),
            _score("true_score", "softmax score of the true class"),
            _score("margin", "best score minus the second best"),
            Column(name="entropy", type=_F32, note="of the scores, nats", low=0, nullable=True),
            Column(name="loss", type=_F32, note="cross-entropy, nats", low=0, nullable=True),
            Column(
                name="is_correct",
                type=pa.bool_(),
                note="predicted is true class; null without a label",
                nullable=True,
            ),
        ),
        sort=("image_id",),
        unique=True,
    ),
    Table(
        name="scores",
        stage="capture",
        note="Softmax scores of one image.",
        columns=(
            _IMAGE,
            Column(
                name="c",
                type=_F32,
                note="softmax score of the class",
                low=0,
                high=1,
                digits=4,
                nullable=True,
            ),
        ),
        sort=("image_id",),
        unique=True,
    ),
    Table(
        name="activations/<statistic>/<layer_index>",
        stage="capture",
        note="Activations of one layer for one image; the statistic is max or mean over space.",
        columns=(
            _IMAGE,
            Column(
                name="f",
                type=_F16,
                note=_ACTIVATION,
                digits=4,
                alternatives=(_F32,),
                nullable=True,
            ),
        ),
        sort=("image_id",),
        unique=True,
    ),
    Table(
        name="top_images",
        stage="capture",
        note="One of the up to 50 images of a split that fire a filter the most.",
        columns=(
            _LAYER,
            _FILTER,
            _SPLIT,
            Column(name="rank", type=_I16, note="1 is the strongest", low=1, high=50),
            _IMAGE,
            Column(name="activation", type=_F32, note="spatial maximum, no unit"),
            Column(name="peak_row", type=_I32, note="row of the map that fires", low=0),
            Column(name="peak_column", type=_I32, note="column of the map that fires", low=0),
        ),
        sort=("layer_index", "filter_index", "split", "rank"),
        unique=True,
    ),
    Table(
        name="embeddings",
        stage="capture",
        note="Input of the last linear layer for one image.",
        columns=(
            _IMAGE,
            Column(
                name="e",
                type=_F16,
                note="hidden feature, no unit",
                digits=4,
                alternatives=(_F32,),
                nullable=True,
            ),
        ),
        sort=("image_id",),
        unique=True,
    ),
    Table(
        name="filter_statistics",
        stage="paths",
        note="Distribution of one filter's activation over the reference split.",
        columns=(
            _LAYER,
            _FILTER,
            Column(name="statistic", type=_TEXT, note="max or mean"),
            Column(name="mean", type=_F64, note="of the activation, no unit"),
            Column(name="standard_deviation", type=_F64, note="of the activation", low=0),
            Column(name="minimum", type=_F32, note="of the activation"),
            Column(name="maximum", type=_F32, note="of the activation"),
        ),
        sort=("layer_index", "filter_index", "statistic"),
        unique=True,
    ),
    Table(
        name="paths/<path_set>",
        stage="paths",
        note="Winning filter of every layer for one image.",
        columns=(
            _IMAGE,
            Column(
                name="layer_",
                type=_I32,
                note="filter_index of the winner; -1 when the layer is all zero",
                low=-1,
                digits=3,
            ),
        ),
        sort=("image_id",),
        unique=True,
        rows=16_384,
    ),
    Table(
        name="projections",
        stage="embed",
        note="Place of one image on a map; rows of a map follow a space-filling curve.",
        columns=(
            Column(name="projection", type=_TEXT, note="name of the map"),
            _IMAGE,
            Column(name="x", type=_F32, note="no unit"),
            Column(name="y", type=_F32, note="no unit"),
        ),
        sort=("projection",),
    ),
    Table(
        name="sweeps",
        stage="simulate",
        note="One image under one magnitude of one perturbation.",
        columns=(
            _IMAGE,
            _CHANGE,
            _MAGNITUDE,
            _class("predicted_class", "class of the highest score", nullable=True),
            _score("confidence", "softmax score of the predicted class"),
            _score("true_score", "softmax score of the true class"),
            _score("original_score", "score, now, of the class predicted without a change"),
            Column(
                name="scores",
                type=pa.list_(_F32),
                note="softmax scores of all classes, where there are at most 50",
                nullable=True,
            ),
            Column(
                name="top_classes",
                type=pa.list_(_I16),
                note="the 5 classes of highest score, where there are more than 50",
                nullable=True,
            ),
            Column(
                name="top_scores", type=pa.list_(_F32), note="their softmax scores", nullable=True
            ),
        ),
        sort=("perturbation", "magnitude", "image_id"),
        unique=True,
    ),
    Table(
        name="smallest_flips",
        stage="simulate",
        note="Smallest magnitude on the grid that changes an image's predicted class.",
        columns=(
            _IMAGE,
            _CHANGE,
            Column(name="direction", type=_I8, note="-1 or +1", low=-1, high=1),
            Column(
                name="magnitude",
                type=_F64,
                note="in the unit of the perturbation; null when none on the grid",
                nullable=True,
            ),
            _class("flipped_class", "class predicted there", nullable=True),
        ),
        sort=("perturbation", "image_id"),
    ),
    Table(
        name="simulation",
        stage="simulate",
        note="Scores of one class over the images of one true class, under one magnitude.",
        columns=(
            _SPLIT,
            _class("true_class", "class of the images"),
            _CHANGE,
            _MAGNITUDE,
            _class("output_class", "class whose score is averaged"),
            Column(name="n", type=_I32, note="images", low=0),
            Column(
                name="accuracy",
                type=_F32,
                note="share of the images predicted as their true class",
                low=0,
                high=1,
                nullable=True,
            ),
            _score("mean_score", "mean softmax score"),
            Column(
                name="standard_deviation",
                type=_F32,
                note="of the score over the images",
                low=0,
                nullable=True,
            ),
        ),
        sort=("perturbation", "true_class", "magnitude", "output_class"),
    ),
    Table(
        name="calibration",
        stage="simulate",
        note="One bin of confidence under one magnitude.",
        columns=(
            _CHANGE,
            _MAGNITUDE,
            Column(name="bin", type=_I16, note="from the lowest confidence", low=0),
            Column(name="n", type=_I32, note="images", low=0),
            _score("mean_confidence", "mean softmax score of the predicted class"),
            _score("accuracy", "share predicted right"),
        ),
    ),
    Table(
        name="patterns/<path_set>/patterns",
        stage="mine",
        note="One closed pattern: the same winners in neighbouring layers.",
        columns=(
            _PATTERN,
            _FIRST,
            Column(name="last_layer", type=_I16, note="layer of the last item", low=0),
            Column(name="lo", type=_I32, note="first position of its members", low=0),
            Column(name="hi", type=_I32, note="position after its last member", low=1),
            _SUPPORT,
            Column(name="items", type=pa.list_(_I32), note="filter_index of each layer"),
            Column(
                name="class_counts",
                type=pa.list_(_I32),
                note="members by true class; null above 50 classes",
                nullable=True,
            ),
            Column(
                name="predicted_counts",
                type=pa.list_(_I32),
                note="members by predicted class; null above 50 classes",
                nullable=True,
            ),
            _class("top_class", "commonest true class of the members", nullable=True),
            Column(
                name="purity_lcb",
                type=_F32,
                note="Wilson lower bound of the share of top_class",
                low=0,
                high=1,
                nullable=True,
            ),
            Column(
                name="class_entropy",
                type=_F32,
                note="entropy of the true classes over that of equal shares",
                low=0,
                high=1,
                nullable=True,
            ),
            Column(
                name="log2_lift",
                type=_F32,
                note="log2 of support over that of independent items",
                nullable=True,
            ),
            Column(
                name="q_class",
                type=_F32,
                note="Benjamini-Hochberg q of top_class's over-representation",
                low=0,
                high=1,
                nullable=True,
            ),
            Column(name="wrong", type=_I32, note="members predicted wrong", low=0, nullable=True),
            Column(
                name="expected_wrong",
                type=_F32,
                note="share wrong that the members' classes and splits alone would give",
                low=0,
                high=1,
                nullable=True,
            ),
            _RANK_SCORE,
            Column(
                name="distinctive_rank",
                type=_I32,
                note="place by rank score, near twins skipped; null beyond 500",
                low=1,
                nullable=True,
            ),
            Column(
                name="general_rank",
                type=_I32,
                note="place in the greedy cover of all images; null beyond 500",
                low=1,
                nullable=True,
            ),
            Column(
                name="parent_id",
                type=_I32,
                note="smallest pattern that holds its members",
                nullable=True,
            ),
        ),
        sort=("first_layer", "lo", "last_layer"),
        rows=16_384,
    ),
    Table(
        name="patterns/<path_set>/pattern_images",
        stage="mine",
        note="The image at one position of a first layer's order; one part file a first layer.",
        columns=(
            _FIRST,
            Column(
                name="position",
                type=_I32,
                note="rank by (winners of first_layer to the last layer, image_id)",
                low=0,
            ),
            _IMAGE,
        ),
        sort=("first_layer", "position"),
        unique=True,
        part_by="first_layer",
    ),
    Table(
        name="patterns/<path_set>/image_patterns",
        stage="mine",
        note="The patterns of one image.",
        columns=(
            _IMAGE,
            Column(name="pattern_ids", type=pa.list_(_I32), note="patterns that hold the image"),
        ),
        sort=("image_id",),
        unique=True,
        rows=4_096,
    ),
    Table(
        name="patterns/<path_set>/pattern_items",
        stage="mine",
        note="One item of one pattern, to find the patterns of a filter.",
        columns=(_LAYER, _FILTER, _RANK_SCORE, _PATTERN, _SUPPORT),
        sort=("layer_index", "filter_index", "-rank_score"),
        rows=16_384,
    ),
)

TABLES: Mapping[str, Table] = MappingProxyType({table.name: table for table in _DECLARED})
"""Every table, by name; a family of tables by the name with its ``<placeholders>``."""

STAGES = ("ingest", "train", "capture", "paths", "embed", "simulate", "mine")
"""Stages in the order in which they may run."""


def find_table(name: str) -> Table:
    """Return the declaration of a table.

    Parameters
    ----------
    name : str
        Such as ``"classes"`` or ``"activations/max/003"``.

    Returns
    -------
    Table
        The table, or the family that it belongs to.

    Raises
    ------
    UnknownTableError
        Listing the declared names.
    """
    for table in TABLES.values():
        if table.matches(name):
            return table
    msg = f"no table is called {name!r}; known: {', '.join(TABLES)}"
    raise UnknownTableError(msg)


def schema(name: str, width: int = 0, data_type: pa.DataType | None = None) -> pa.Schema:
    """Return the Arrow schema of a table; see ``Table.schema``."""
    return find_table(name).schema(width, data_type)
