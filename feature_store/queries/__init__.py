"""Everything that the app reads from a store, as typed functions of a ``Store``."""

from feature_store.patterns.cards import PatternCard, Recommendation
from feature_store.patterns.index import PatternIndex, pattern_index
from feature_store.patterns.recommend import (
    pattern_card,
    pattern_members,
    patterns_of_filters,
    patterns_of_image,
    patterns_of_path,
    patterns_of_selection,
    top_patterns,
)
from feature_store.queries.counts import (
    Accuracy,
    SelectionSummary,
    accuracy_by_split,
    confusion_matrix,
    film_strip,
    selection_summary,
)
from feature_store.queries.images import ImageRow, image_bytes, image_row, scores_of
from feature_store.queries.network import (
    ActivationReference,
    LayerRow,
    TopImages,
    activation_percentiles,
    activation_reference,
    activations_of,
    layers,
    path_of,
    top_images,
)
from feature_store.queries.points import (
    ImageTable,
    MapPoints,
    image_table,
    map_points,
    projections,
)
from feature_store.queries.simulation import (
    Crossing,
    SimulationRows,
    first_below,
    simulated_perturbations,
    simulated_splits,
    simulation_rows,
)

__all__ = [
    "Accuracy",
    "ActivationReference",
    "Crossing",
    "ImageRow",
    "ImageTable",
    "LayerRow",
    "MapPoints",
    "PatternCard",
    "PatternIndex",
    "Recommendation",
    "SelectionSummary",
    "SimulationRows",
    "TopImages",
    "accuracy_by_split",
    "activation_percentiles",
    "activation_reference",
    "activations_of",
    "confusion_matrix",
    "film_strip",
    "first_below",
    "image_bytes",
    "image_row",
    "image_table",
    "layers",
    "map_points",
    "path_of",
    "pattern_card",
    "pattern_index",
    "pattern_members",
    "patterns_of_filters",
    "patterns_of_image",
    "patterns_of_path",
    "patterns_of_selection",
    "projections",
    "scores_of",
    "selection_summary",
    "simulated_perturbations",
    "simulated_splits",
    "simulation_rows",
    "top_images",
    "top_patterns",
]
