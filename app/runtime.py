"""What all sessions of a process share for one store: read once, never changed."""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from app import thumbnails
from app.aggregate import PointIndex
from feature_store import Store, StoreError, queries

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from app.inference import InferenceService
    from feature_store.queries import LayerRow, SweptPerturbation

THUMBNAILS_KEPT = 4096
"""Thumbnails of a store kept in memory."""

FILL_S = 10.0
"""Seconds that one thumbnail waits for the page of them that it belongs to."""


@dataclass(frozen=True, eq=False)
class ImageTable:
    """What the page says of each image, in arrays of equal length sorted by ``ids``.

    Parameters
    ----------
    ids : ndarray of int32
        Image ids, ascending.
    true_class, predicted_class : ndarray of int16
        Class indices; -1 where the true class is unknown.
    confidence : ndarray of float32
        Score of the predicted class, in [0, 1].
    margin : ndarray of float32
        Best score minus the second best, in [0, 1]; NaN where it is not known.
    is_wrong : ndarray of bool
        Whether the prediction is wrong; False where the true class is unknown.
    split : ndarray of int16
        Index into ``splits``.
    splits : tuple of str
        Names of the splits.
    """

    ids: NDArray[np.int32]
    true_class: NDArray[np.int16]
    predicted_class: NDArray[np.int16]
    confidence: NDArray[np.float32]
    margin: NDArray[np.float32]
    is_wrong: NDArray[np.bool_]
    split: NDArray[np.int16]
    splits: tuple[str, ...]

    def rows(self, ids: NDArray[np.int32]) -> NDArray[np.int64]:
        """Return the rows of the given ids; ids that are not here are left out."""
        if not len(self.ids):
            return np.zeros(0, np.int64)
        if self.ids[0] == 0 and self.ids[-1] == len(self.ids) - 1:
            # Without gaps an id is its own row.
            return ids[(ids >= 0) & (ids < len(self.ids))].astype(np.int64)
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        found: NDArray[np.int64] = at[self.ids[at] == ids]
        return found

    def row(self, image_id: int | None) -> int | None:
        """Return the row of one id, or None."""
        if image_id is None:
            return None
        found = self.rows(np.array([image_id], np.int32))
        return int(found[0]) if len(found) else None


class Runtime:
    """One opened store and what is derived from it, shared by every session of the process.

    Parameters
    ----------
    store : Store
        An open reader; the runtime keeps it open.

    Raises
    ------
    TableMissingError
        When the network has not been run over the images, naming the command.
    """

    def __init__(self, store: Store) -> None:
        for table in ("images", "classes", "predictions", "layers"):
            store.entry(table)
        self.store = store
        self.name: str = store.name
        self.class_names: tuple[str, ...] = tuple(store.class_names)
        self.key = str(store.manifest["tables"]["images"]["fingerprint"])[:16]
        self._thumbnails: OrderedDict[int, tuple[bytes, str]] = OrderedDict()
        self._filling: dict[int, threading.Event] = {}
        self._lock = threading.Lock()
        self._indices: dict[str, PointIndex] = {}
        self._flip_distances: dict[str, NDArray[np.float64]] = {}

    @cached_property
    def inference(self) -> InferenceService:
        """The bounded worker that runs the network; the first use imports torch in it."""
        from app.inference import InferenceService

        return InferenceService(self.store)

    @cached_property
    def has_random_weights(self) -> bool:
        """Whether nobody trained the network, as the manifest tells; False where it does not."""
        return random_weights(self.store.info, self.store.manifest.get("files", {}))

    @cached_property
    def images(self) -> ImageTable:
        """Classes, confidence and split of every image that has a prediction."""
        return _image_table(self.store)

    @cached_property
    def layers(self) -> tuple[LayerRow, ...]:
        """The captured layers, in firing order."""
        return tuple(queries.layers(self.store))

    @cached_property
    def projections(self) -> tuple[str, ...]:
        """Names of the projections that the store holds."""
        return tuple(queries.projections(self.store))

    @property
    def points(self) -> PointIndex:
        """Points of the first projection."""
        return self.point_index(self.projections[0])

    def point_index(self, projection: str) -> PointIndex:
        """Return the points of one projection, read on first use."""
        with self._lock:
            if projection not in self._indices:
                points = queries.map_points(self.store, projection)
                self._indices[projection] = PointIndex(points.image_id, points.x, points.y)
            return self._indices[projection]

    @cached_property
    def splits(self) -> Mapping[str, NDArray[np.int32]]:
        """Image ids by split, each sorted; the empty name holds all."""
        table = self.images
        by_name = {name: table.ids[table.split == code] for code, name in enumerate(table.splits)}
        return {"": table.ids, **by_name} if len(by_name) > 1 else {"": table.ids}

    @cached_property
    def errors(self) -> Mapping[str, tuple[int, int]]:
        """Images with a label, and wrong predictions among them, by split."""
        table = self.images
        rows = {name: table.rows(ids) for name, ids in self.splits.items()}
        return {
            name: (int((table.true_class[at] >= 0).sum()), int(table.is_wrong[at].sum()))
            for name, at in rows.items()
        }

    @cached_property
    def sweeps(self) -> Mapping[str, SweptPerturbation]:
        """Perturbations whose smallest flips may be shown, by name; none without a fresh sweep."""
        if "smallest_flips" in self.store.stale_tables():
            return {}
        return {swept.name: swept for swept in queries.swept_perturbations(self.store)}

    def flip_distance(self, perturbation: str) -> NDArray[np.float64]:
        """Return how far every image is from its smallest flip, read on first use.

        Parameters
        ----------
        perturbation : str
            One of ``sweeps``.

        Returns
        -------
        ndarray of shape (n_images,), float64
            Aligned to ``images.ids``, in the perturbation's unit; infinite where no magnitude of
            the grid flips the image, NaN where it was not swept.

        Raises
        ------
        StoreError
            When this perturbation was not swept.
        """
        with self._lock:
            found = self._flip_distances.get(perturbation)
        if found is None:
            ids, distances = queries.flip_distances(self.store, perturbation)
            found = np.full(len(self.images.ids), np.nan)
            found[np.searchsorted(self.images.ids, ids)] = distances
            with self._lock:
                self._flip_distances[perturbation] = found
        return found

    def class_name(self, index: int) -> str:
        """Return the raw name of a class; escape it before it meets HTML."""
        return self.class_names[index] if 0 <= index < len(self.class_names) else "unlabelled"

    def thumbnail(self, image_id: int) -> tuple[bytes, str]:
        """Return the bytes of a small picture of one image and their media type.

        Parameters
        ----------
        image_id : int
            An id of the store.

        Returns
        -------
        tuple of (bytes, str)
            A grey placeholder where the image is missing or cannot be read.
        """
        with self._lock:
            is_coming = self._filling.get(image_id)
        if is_coming is not None:
            is_coming.wait(FILL_S)
        with self._lock:
            found = self._thumbnails.get(image_id)
            if found is not None:
                self._thumbnails.move_to_end(image_id)
                return found
        made = thumbnails.make(lambda: queries.image_bytes(self.store, image_id))
        self._keep(image_id, made)
        return made

    def fill_thumbnails(self, image_ids: NDArray[np.int32], *, in_background: bool) -> None:
        """Make the thumbnails of some images with one reading: one by one each costs a query.

        Parameters
        ----------
        image_ids : ndarray of int32
            At most a page of them; those that cannot be had are left to ``thumbnail``.
        in_background : bool
            Whether to read in a thread; who asks for one of them meanwhile waits for it.
        """
        done = threading.Event()
        with self._lock:
            known = self._thumbnails.keys() | self._filling.keys()
            wanted = [int(i) for i in image_ids if int(i) not in known]
            if len(wanted) < 2:
                return
            self._filling.update(dict.fromkeys(wanted, done))
        if in_background:
            fill = partial(self._fill, wanted, done)
            threading.Thread(target=fill, name="thumbnails", daemon=True).start()
        else:
            self._fill(wanted, done)

    def _fill(self, wanted: list[int], done: threading.Event) -> None:
        try:
            for image in queries.encoded_images(self.store, np.array(wanted, np.int32)):
                if image.encoded is not None:
                    self._keep(image.image_id, thumbnails.make(partial(bytes, image.encoded)))
        except StoreError:
            # Each of them is tried again, and answered, when it is asked for.
            return
        finally:
            with self._lock:
                for image_id in wanted:
                    self._filling.pop(image_id, None)
            done.set()

    def _keep(self, image_id: int, made: tuple[bytes, str]) -> None:
        with self._lock:
            self._thumbnails[image_id] = made
            while len(self._thumbnails) > THUMBNAILS_KEPT:
                self._thumbnails.popitem(last=False)

    def thumbnail_url(self, image_id: int) -> str:
        """Return what an ``<img src>`` needs to show one image small.

        Parameters
        ----------
        image_id : int
            An id of the store.

        Returns
        -------
        str
            A relative address where our route is served (``panel serve --plugins app.routes``),
            else the picture itself as a data URL.
        """
        if thumbnails.served_by_url():
            return f"thumb/{self.key}/{int(image_id)}.png"
        content, media_type = self.thumbnail(int(image_id))
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def random_weights(info: Mapping[str, Any], files: Mapping[str, Any]) -> bool:
    """Return whether a store says that the weights of its network are random.

    Parameters
    ----------
    info : mapping
        ``info`` of the manifest: what the stage ``capture`` was told of weights, and what
        ``train`` left.
    files : mapping
        ``files`` of the manifest, with the hash of the weights.

    Returns
    -------
    bool
        True when the project named no weights and those of the store are not what ``train`` made;
        False as well when the store does not say.
    """
    settings = dict(
        dict(dict(info.get("provenance") or {}).get("capture") or {}).get("settings") or {}
    )
    model = settings.get("model")
    if not isinstance(model, dict) or "weights" not in model or model["weights"] is not None:
        return False
    trained = dict(info.get("train") or {}).get("weights_sha256")
    return trained is None or trained != dict(files.get("weights") or {}).get("sha256")


def _image_table(store: Store) -> ImageTable:
    """Read all predicted images, sorted by id."""
    found = queries.image_table(store)
    return ImageTable(
        ids=found.image_id,
        true_class=found.true_class,
        predicted_class=found.predicted_class,
        confidence=found.confidence,
        margin=found.margin,
        is_wrong=~found.is_correct & (found.true_class >= 0),
        split=found.split,
        splits=found.splits,
    )


_runtimes: dict[Path, Runtime] = {}
_opening = threading.Lock()


def open_runtime(path: Path) -> Runtime:
    """Return the runtime of the store at ``path``; the newest generation for a new session.

    Parameters
    ----------
    path : Path
        Folder of a store.

    Returns
    -------
    Runtime
        Shared by all sessions that see the same generation.

    Raises
    ------
    StoreError
        When the folder is not a store, or is damaged.
    """
    resolved = path.resolve()
    with _opening:
        known = _runtimes.get(resolved)
        if known is None or known.store.newer_generation() is not None:
            store = Store.open(resolved)
            try:
                known = _runtimes[resolved] = Runtime(store)
            except BaseException:
                store.close()
                raise
        return known


def find_runtime(key: str) -> Runtime | None:
    """Return an opened runtime by the key that its thumbnails' addresses hold."""
    with _opening:
        return next((runtime for runtime in _runtimes.values() if runtime.key == key), None)
