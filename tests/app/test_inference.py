"""The live network: its answers are those of the store, computed again."""

import asyncio
import gc
import time
import weakref

import numpy as np
import pytest

from app.inference import (
    Change,
    DeadlineError,
    InferenceService,
    NoNetworkError,
    SupersededError,
    change_from,
    decode_image,
)
from app.inference import service as inference
from tests.app.loops import run
from vatun.errors import VatunError


@pytest.fixture(scope="module")
def service(digits_store):
    made = InferenceService(digits_store)
    yield made
    made.close()


def ask(service, *arguments, **keywords):
    return run(service.test(*arguments, **keywords))


def stored(store, table, image):
    row = store.arrow(f"select * exclude (image_id) from {table} where image_id = ?", image)
    return [row[name][0].as_py() for name in row.column_names]


IMAGES = (0, 17, 400, 1296, 1297, 1500, 1796)


@pytest.mark.parametrize("image", IMAGES)
def test_unchanged_scores_equal_the_stored_ones(service, digits_store, image):
    result = ask(service, image)
    scores = np.array(stored(digits_store, "scores", image))
    assert np.abs(result.scores[0] - scores).max() <= 1e-5
    assert np.array_equal(result.scores[0], result.scores[1])
    assert np.array_equal(result.images[0], result.images[1])
    assert not result.is_flipped


@pytest.mark.parametrize("image", IMAGES)
def test_unchanged_paths_equal_the_stored_ones(service, digits_store, image):
    result = ask(service, image)
    assert set(result.paths) == {"paper", "mean", "balanced"}
    for name, path in result.paths.items():
        assert list(path) == stored(digits_store, f"paths__{name}", image)


def test_an_unchanged_image_lies_where_it_lies(service, digits_store):
    result = ask(service, 1500)
    point = digits_store.arrow(
        "select projection, x, y from projections where image_id = 1500"
    ).to_pylist()
    assert result.neighbours[0] == 1500
    for row in point:
        assert result.places[row["projection"]] == pytest.approx((row["x"], row["y"]), abs=1e-3)


def test_both_pictures_are_answered(service):
    change = Change(magnitudes={"rotation": 40.0, "hue": 0.3})
    result = ask(service, 1600, change)
    assert result.images.shape == (2, 32, 32, 3)
    assert result.images.dtype == np.uint8
    assert not np.array_equal(result.images[0], result.images[1])
    assert result.scores.sum(axis=1) == pytest.approx([1, 1])
    assert np.abs(result.scores[0] - ask(service, 1600).scores[0]).max() <= 1e-5


def explain(service, *arguments, **keywords):
    return run(service.explain(*arguments, **keywords))


def test_evidence_is_that_of_the_method_layer_and_class(service):
    from vatun.explain import find_explanation
    from vatun.preprocess import to_input

    change = Change(magnitudes={"horizontal_flip": 1.0})
    images = to_input(ask(service, 1500, change).images)
    network = service.start().result()._network
    for method, (_, layers) in service.methods().items():
        for layer in {layers[0], layers[-1]}:
            found = explain(service, 1500, change, method=method, layer=layer, class_index=4)
            assert (found.classes, found.layer) == ((4, 4), layer)
            entry = find_explanation(method)
            expected = entry.apply(network, images, [4, 4], layer=layer).numpy()
            scale = expected.max() or 1.0
            assert np.abs(found.maps - expected).max() <= 1e-5 * scale


def test_evidence_without_a_class_is_that_of_each_prediction(service):
    change = Change(magnitudes={"rotation": 40.0, "hue": 0.3})
    assert explain(service, 1600, change).classes == ask(service, 1600, change).predicted


def test_a_curve_is_computed_and_agrees_with_the_stored_sweep(service, digits_store):
    swept = digits_store.arrow("select distinct image_id from sweeps order by image_id limit 3")
    for image in swept["image_id"].to_pylist():
        for name in ("rotation", "fgsm", "noise", "horizontal_flip"):
            curve = run(service.curve(image, name))
            rows = digits_store.arrow(
                "select magnitude, scores from sweeps where image_id = ? and perturbation = ?"
                " order by magnitude", image, name,
            )  # fmt: skip
            assert list(curve.magnitudes) == rows["magnitude"].to_pylist()
            stored_scores = np.array(rows["scores"].to_pylist())
            assert np.abs(curve.scores - stored_scores).max() <= 1e-4
            identity = stored(digits_store, "scores", image)
            assert np.abs(curve.scores[curve.identity] - identity).max() <= 1e-5


def test_a_flip_flips_and_is_no_larger_than_the_stored_one(service, digits_store):
    rows = digits_store.arrow(
        "select image_id, direction, magnitude from smallest_flips"
        " where perturbation = 'rotation' and magnitude is not null order by image_id limit 6"
    ).to_pylist()
    for row in rows:
        flip = run(service.flip(row["image_id"], "rotation", row["direction"]))
        assert abs(flip.magnitude) <= abs(row["magnitude"])
        change = Change(magnitudes={"rotation": flip.magnitude})
        assert ask(service, row["image_id"], change).is_flipped


def test_a_slider_in_motion_runs_the_changed_copy_alone(service, monkeypatch):
    from app.inference import live

    ask(service, 77)
    runs = []
    real = live.LiveNetwork._change
    monkeypatch.setattr(live.LiveNetwork, "_change", lambda *a: runs.append(a) or real(*a))
    monkeypatch.setattr(
        live.queries, "image_bytes", lambda *_: pytest.fail("the image was decoded again")
    )
    for angle in (11.0, 12.0, 11.0):
        ask(service, 77, Change(magnitudes={"rotation": angle}))
    assert len(runs) == 2


def test_an_attack_pushes_away_from_the_true_class(service):
    result = ask(service, 1500, Change(magnitudes={"fgsm": 8 / 255}))
    assert result.attacked == result.label
    assert np.abs(result.images[0].astype(int) - result.images[1]).max() in (7, 8, 9)
    assert result.scores[1][result.label] < result.scores[0][result.label]


def test_an_upload_is_the_image_that_the_store_holds(service, digits_store):
    from app.uploads import Upload
    from feature_store import queries

    pixels = decode_image(queries.image_bytes(digits_store, 1500))
    result = ask(service, Upload(name="a.png", pixels=pixels, key="0" * 64))
    assert np.abs(result.scores[0] - ask(service, 1500).scores[0]).max() <= 1e-6
    assert result.label is None
    assert result.paths == ask(service, 1500).paths
    assert result.neighbours[0] == 1500


def test_margin_and_entropy(service, digits_store):
    result = ask(service, 1500)
    row = digits_store.arrow("select margin, entropy from predictions where image_id = 1500")
    assert result.margin[0] == pytest.approx(row["margin"][0].as_py(), abs=1e-5)
    assert result.entropy[0] == pytest.approx(row["entropy"][0].as_py(), abs=1e-4)


def test_answers_are_kept(service):
    change = Change(magnitudes={"blur": 0.05})
    assert ask(service, 3, change) is ask(service, 3, Change(magnitudes={"blur": 0.05}))
    assert explain(service, 3, change, class_index=2) is explain(service, 3, change, class_index=2)
    assert explain(service, 3, change, class_index=2) is not explain(service, 3, change)


def test_a_burst_ends_with_the_last_question(service):
    async def burst():
        questions = [
            service.test(5, Change(magnitudes={"rotation": float(k)}), session="burst")
            for k in range(1, 51)
        ]
        return await asyncio.gather(*questions, return_exceptions=True)

    answers = run(burst())
    assert answers[-1].change.magnitudes["rotation"] == 50.0
    kept = [answer for answer in answers if not isinstance(answer, Exception)]
    assert len(kept) <= 12
    assert all(isinstance(a, SupersededError) for a in answers if isinstance(a, Exception))


def test_a_question_that_cannot_be_answered_says_why(service):
    with pytest.raises(VatunError, match="no_such_method"):
        explain(service, 3, method="no_such_method")


def test_a_slider_does_not_wait_for_a_flip_that_nobody_wants(service, monkeypatch):
    live = service.start().result()
    real, passes = live._network.logits, []

    def slow(images):
        passes.append(len(images))
        time.sleep(0.05)
        return real(images)

    class Slow:
        def __getattr__(self, name):
            return getattr(live._network, name)

        logits = staticmethod(slow)

    monkeypatch.setattr(live._slow, "_network", Slow())

    async def ask_both():
        flip = asyncio.ensure_future(service.flip(11, "rotation", 1, session="s"))
        while not passes:
            await asyncio.sleep(0.01)
        service.interrupt("s")
        before = len(passes)
        await service.test(11, Change(magnitudes={"hue": 0.11}), session="s")
        assert len(passes) - before <= 1
        with pytest.raises(SupersededError):
            await flip

    run(ask_both())
    assert service._known(("flip", 11, "rotation", 1, "black")) is None


def test_a_slow_network_gives_up(service, monkeypatch):
    monkeypatch.setattr(inference, "DEADLINE_S", 0.05)
    monkeypatch.setattr(service.start().result(), "test", lambda *_: time.sleep(0.4), raising=True)
    with pytest.raises(DeadlineError, match="did not answer"):
        ask(service, 1, Change(magnitudes={"rotation": 77.0}))


def test_a_builder_that_cannot_be_imported_is_said(digits_store, monkeypatch):
    made = InferenceService(digits_store)
    broken = {**digits_store.info["model"], "builder": "no_such_package.networks:build"}
    info = {**digits_store.info, "model": broken}
    monkeypatch.setattr(type(digits_store), "info", property(lambda _: info))
    assert made.available is None
    with pytest.raises(NoNetworkError, match="no_such_package"):
        ask(made, 3)
    assert made.available is False
    assert "cannot be loaded" in made.reason
    assert made.methods() == {}
    made.close()


def test_a_network_that_cannot_be_loaded_keeps_nobody_who_asked_for_it(digits_store, monkeypatch):
    made = InferenceService(digits_store)

    def fail():
        msg = "no weights"
        raise NoNetworkError(msg)

    monkeypatch.setattr(made, "_load", fail)
    met = []

    class Page:
        """Whoever asks, alive as long as a frame of its question is."""

        async def ask(self):
            try:
                await made.ready()
            except NoNetworkError as error:
                met.append(str(error))

    for _ in range(2):
        page = Page()
        gone = weakref.ref(page)
        run(page.ask())
        del page
        gc.collect()
        assert gone() is None
    assert met == ["no weights", "no weights"]
    assert made.reason == "no weights"
    made.close()


def test_every_evidence_layer_has_a_map(service):
    assert service.available is True
    methods = service.methods()
    assert service.default_layer() in methods["grad_cam"][1]
    for layer in methods["grad_cam"][1]:
        assert explain(service, 3, layer=layer).maps[0].size > 1
    assert service.evidence_layer("grad_cam", "no_such_layer") == service.default_layer()
    assert service.evidence_layer("occlusion", "features.0") == ""


@pytest.mark.parametrize(
    "magnitudes",
    [{"rotation": float("nan")}, {"hue": 1e308}, {"nonsense": 1.0}, {"blur": True}],
)
def test_magnitudes_are_checked(magnitudes):
    with pytest.raises(VatunError):
        change_from(magnitudes, [])


@pytest.mark.parametrize("box", [[0, 0, 2, 1], [0.5, 0, 0.2, 1], [float("nan"), 0, 1, 1]])
def test_boxes_are_checked(box):
    with pytest.raises(VatunError):
        change_from({}, [box])


@pytest.mark.parametrize("fill", ["purple", "", None, ["black"]])
def test_fills_are_checked(fill):
    with pytest.raises(VatunError, match="known"):
        change_from({}, [], region_fill=fill)
    with pytest.raises(VatunError, match="known"):
        change_from({"rotation": 3.0}, [], rotation_fill=fill)


def test_a_perturbation_of_a_plugin_works_live(digits_store, tmp_path, monkeypatch):
    from vatun import perturb, specs

    (tmp_path / "inverting_plugin.py").write_text(
        "from vatun.perturb import perturbation\n"
        "from vatun.specs import PerturbationSpec\n"
        "@perturbation(spec=PerturbationSpec(name='test_invert', label='Invert', unit='share',\n"
        "    low=0.0, identity=0.0, high=1.0, grid=(0.0, 0.5, 1.0)))\n"
        "def test_invert(images, magnitude):\n"
        "    return images + magnitude * (1 - 2 * images)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    capture = {**digits_store.info["capture"], "plugins": ["inverting_plugin"]}
    info = {**digits_store.info, "capture": capture}
    monkeypatch.setattr(type(digits_store), "info", property(lambda _: info))
    made = InferenceService(digits_store)
    try:
        run(made.ready())
        result = ask(made, 3, Change(magnitudes={"test_invert": 1.0}))
        assert np.abs(255 - result.images[0].astype(int) - result.images[1]).max() <= 1
        assert run(made.curve(3, "test_invert")).magnitudes == (0.0, 0.5, 1.0)
        assert made.directions("test_invert") == (1,)
    finally:
        made.close()
        specs._specs.pop("test_invert", None)
        perturb._perturbations.pop("test_invert", None)
