"""The tables of a store: columns, types, units, sort order, and the stage that writes each."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pyarrow as pa

from feature_store.declare import Column, Table
from feature_store.errors import UnknownTableError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = "1.0"
"""Version of everything declared here; a reader refuses a newer major and fills an older minor."""


_I8, _I16, _I32 = pa.int8(), pa.int16(), pa.int32()
_F16, _F32, _F64 = pa.float16(), pa.float32(), pa.float64()
_TEXT = pa.string()


def _column(
    name: str,
    data_type: pa.DataType,
    note: str,
    *,
    low: float | None = None,
    high: float | None = None,
    nullable: bool = False,
    digits: int = 0,
    alternatives: tuple[pa.DataType, ...] = (),
) -> Column:
    return Column(
        name=name,
        type=data_type,
        note=note,
        low=low,
        high=high,
        nullable=nullable,
        digits=digits,
        alternatives=alternatives,
    )


def _score(name: str, note: str, *, nullable: bool = True) -> Column:
    return _column(name, _F32, note, low=0, high=1, nullable=nullable)


def _class(name: str, note: str, *, nullable: bool = False) -> Column:
    return _column(name, _I16, note, low=0, nullable=nullable)


_IMAGE = _column("image_id", _I32, "image, dense from 0 within the store", low=0)
_LAYER = _column("layer_index", _I16, "layer, by first firing", low=0)
_FILTER = _column("filter_index", _I32, "filter within its layer", low=0)
_SPLIT = _column("split", _TEXT, "part of the data set, such as train or test")
_CHANGE = _column("perturbation", _TEXT, "registered name of the change")
_MAGNITUDE = _column("magnitude", _F64, "in the unit of the perturbation")
_PATTERN = _column("pattern_id", _I32, "pattern, its row in `patterns`", low=0)
_FIRST = _column("first_layer", _I16, "layer of the first item", low=0)
_SUPPORT = _column("support", _I32, "images that have the pattern", low=1)
_RANK_SCORE = _column("rank_score", _F32, "purity bound x log2 support x sqrt length", low=0)

_ACTIVATION = "spatial statistic after the activation function, no unit"

_DECLARED = (
    Table(
        name="classes",
        stage="ingest",
        note="One class of the classifier.",
        columns=(
            _class("class_index", "index of the network's output"),
            _column("class_name", _TEXT, "as the data set has it, not escaped"),
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
            _column(
                "image_key",
                _TEXT,
                "sha256 of the decoded RGB pixels before any resize",
                nullable=True,
            ),
            _SPLIT,
            _class("true_class", "label; null when there is none", nullable=True),
            _column("source", _TEXT, "where it came from: file or row"),
            _column("width", _I32, "pixels", low=1, nullable=True),
            _column("height", _I32, "pixels", low=1, nullable=True),
            _column(
                "encoded",
                pa.binary(),
                "image file; null when only the path is kept",
                nullable=True,
            ),
            _column("status", _TEXT, "ok, missing, undecodable or too_large"),
            _column("message", _TEXT, "what is wrong with it", nullable=True),
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
            _column("layer_name", _TEXT, "path in named_modules()"),
            _column("kind", _TEXT, "conv or linear"),
            _column("filters", _I32, "number of filters", low=1),
            _column("height", _I32, "rows of its map; 1 when linear", low=1),
            _column("width", _I32, "columns of its map; 1 when linear", low=1),
            _column("site", _TEXT, "post_activation, post_norm or output"),
            _column("receptive_field", _I32, "input pixels", low=1, nullable=True),
            _column("stride", _I32, "input pixels", low=1, nullable=True),
            _column("block", _TEXT, "block of the network", nullable=True),
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
            _column("status", _TEXT, "ok or not_finite"),
            _class("predicted_class", "class of the highest score", nullable=True),
            _score("confidence", "softmax score of the predicted class"),
            _score("true_score", "softmax score of the true class"),
            _score("margin", "best score minus the second best"),
            _column("entropy", _F32, "of the scores, nats", low=0, nullable=True),
            _column("loss", _F32, "cross-entropy, nats", low=0, nullable=True),
            _column(
                "is_correct",
                pa.bool_(),
                "predicted is true class; null without a label",
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
            _column(
                "c", _F32, "softmax score of the class", low=0, high=1, digits=4, nullable=True
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
            _column("f", _F16, _ACTIVATION, digits=4, alternatives=(_F32,), nullable=True),
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
            _column("rank", _I16, "1 is the strongest", low=1, high=50),
            _IMAGE,
            _column("activation", _F32, "spatial maximum, no unit"),
            _column("peak_row", _I32, "row of the map that fires", low=0),
            _column("peak_column", _I32, "column of the map that fires", low=0),
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
            _column(
                "e", _F16, "hidden feature, no unit", digits=4, alternatives=(_F32,), nullable=True
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
            _column("statistic", _TEXT, "max or mean"),
            _column("mean", _F64, "of the activation, no unit"),
            _column("standard_deviation", _F64, "of the activation", low=0),
            _column("minimum", _F32, "of the activation"),
            _column("maximum", _F32, "of the activation"),
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
            _column(
                "layer_",
                _I32,
                "filter_index of the winner; -1 when the layer is all zero",
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
            _column("projection", _TEXT, "name of the map"),
            _IMAGE,
            _column("x", _F32, "no unit"),
            _column("y", _F32, "no unit"),
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
            _column(
                "scores",
                pa.list_(_F32),
                "softmax scores of all classes, where there are at most 50",
                nullable=True,
            ),
            _column(
                "top_classes",
                pa.list_(_I16),
                "the 5 classes of highest score, where there are more than 50",
                nullable=True,
            ),
            _column("top_scores", pa.list_(_F32), "their softmax scores", nullable=True),
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
            _column("direction", _I8, "-1 or +1", low=-1, high=1),
            _column(
                "magnitude",
                _F64,
                "in the unit of the perturbation; null when none on the grid",
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
            _column("n", _I32, "images", low=0),
            _column(
                "accuracy",
                _F32,
                "share of the images predicted as their true class",
                low=0,
                high=1,
                nullable=True,
            ),
            _score("mean_score", "mean softmax score"),
            _column(
                "standard_deviation", _F32, "of the score over the images", low=0, nullable=True
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
            _column("bin", _I16, "from the lowest confidence", low=0),
            _column("n", _I32, "images", low=0),
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
            _column("last_layer", _I16, "layer of the last item", low=0),
            _column("lo", _I32, "first position of its members", low=0),
            _column("hi", _I32, "position after its last member", low=1),
            _SUPPORT,
            _column("items", pa.list_(_I32), "filter_index of each layer"),
            _column(
                "class_counts",
                pa.list_(_I32),
                "members by true class; null above 50 classes",
                nullable=True,
            ),
            _column(
                "predicted_counts",
                pa.list_(_I32),
                "members by predicted class; null above 50 classes",
                nullable=True,
            ),
            _class("top_class", "commonest true class of the members", nullable=True),
            _column(
                "purity_lcb",
                _F32,
                "Wilson lower bound of the share of top_class",
                low=0,
                high=1,
                nullable=True,
            ),
            _column(
                "class_entropy",
                _F32,
                "entropy of the true classes over that of equal shares",
                low=0,
                high=1,
                nullable=True,
            ),
            _column(
                "log2_lift", _F32, "log2 of support over that of independent items", nullable=True
            ),
            _column(
                "q_class",
                _F32,
                "Benjamini-Hochberg q of top_class's over-representation",
                low=0,
                high=1,
                nullable=True,
            ),
            _column("wrong", _I32, "members predicted wrong", low=0, nullable=True),
            _column(
                "expected_wrong",
                _F32,
                "share wrong that the members' classes and splits alone would give",
                low=0,
                high=1,
                nullable=True,
            ),
            _RANK_SCORE,
            _column(
                "distinctive_rank",
                _I32,
                "place by rank score, near twins skipped; null beyond 500",
                low=1,
                nullable=True,
            ),
            _column(
                "general_rank",
                _I32,
                "place in the greedy cover of all images; null beyond 500",
                low=1,
                nullable=True,
            ),
            _column("parent_id", _I32, "smallest pattern that holds its members", nullable=True),
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
            _column(
                "position",
                _I32,
                "rank by (winners of first_layer to the last layer, image_id)",
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
        columns=(_IMAGE, _column("pattern_ids", pa.list_(_I32), "patterns that hold the image")),
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

FEWEST_ON_A_MAP = 5
"""Images without which no projection is made."""

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
