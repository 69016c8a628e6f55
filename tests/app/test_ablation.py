"""Ablation asked by the app: the numbers of the network under test, in turns that give way."""

import asyncio
import threading
import time

import numpy as np
import pytest

from app.inference import BusyError, Change, DeadlineError, InferenceService, SupersededError
from app.inference import ablation as module
from app.inference import service as inference
from feature_store.patterns.telling import reference_means, telling_filters_of
from feature_store.queries import pattern_index
from tests.app.loops import run
from vatun.errors import SpecError, VatunError
from vatun.judgement import MIN_IMAGES

FILTERS = [(1, 3), (4, 17), (5, 2)]
IMAGES = tuple(range(1500, 1530))


@pytest.fixture(scope="module")
def service(digits_store):
    made = InferenceService(digits_store)
    yield made
    made.close()


def ablate(service, *arguments, **keywords):
    return run(service.ablate(*arguments, **keywords))


def test_the_answer_is_that_of_the_network(service, digits_store):
    from vatun import ablate as network_side
    from vatun.preprocess import to_input

    found = ablate(service, IMAGES, FILTERS)
    pixels = np.stack([run(service.test(image)).images[0] for image in IMAGES])
    network = service.start().result()._network
    means = reference_means(digits_store, [1, 4, 5])
    want = network_side.ablate(network, to_input(pixels), FILTERS, means=means)
    assert found.judgement.effect == pytest.approx(want.judgement.effect, abs=1e-6)
    assert found.judgement.random_effects == pytest.approx(want.judgement.random_effects, abs=1e-6)
    assert found.judgement.verdict == want.judgement.verdict
    assert found.flips == want.flips.sum()
    assert found.flip_share == found.flips / 30
    assert found.random_flips == pytest.approx(want.random_flips.mean(axis=1))
    assert (found.images, found.asked, found.filters) == (IMAGES, 30, tuple(FILTERS))
    assert found.scores.dtype == np.float32
    stored = digits_store.arrow(
        "select predicted_class, confidence from predictions where image_id between 1500 and 1529"
        " order by image_id"
    )
    assert found.predicted[0].tolist() == stored["predicted_class"].to_pylist()
    assert np.abs(found.scores[0] - stored["confidence"].to_numpy()).max() <= 1e-5
    loss = (found.scores[0] - found.scores[1]).mean()
    assert loss == pytest.approx(found.judgement.effect, abs=1e-6)


def test_the_answer_is_free_of_torch(service):
    found = ablate(service, IMAGES, FILTERS)
    for value in (*vars(found).values(), *vars(found.judgement).values()):
        assert type(value).__module__.split(".")[0] in {"builtins", "numpy", "vatun"}
    assert type(found.judgement).__module__ == "vatun.judgement"


def test_zero_is_another_question_than_the_mean(service):
    zero = ablate(service, IMAGES, FILTERS, replacement="zero")
    assert zero.replacement == "zero"
    assert zero.judgement.effect != ablate(service, IMAGES, FILTERS).judgement.effect


def test_answers_are_kept_whatever_the_order(service):
    first = ablate(service, IMAGES, FILTERS)
    ids = np.array([*IMAGES[::-1], IMAGES[0]], dtype=np.int32)
    chosen = [tuple(map(np.int32, each)) for each in FILTERS[::-1]]
    assert ablate(service, ids, chosen) is first
    assert ablate(service, IMAGES, FILTERS, random_sets=21) is not first


def test_members_of_a_pattern_and_their_telling_filters(service, digits_store):
    members = pattern_index(digits_store, "mean").members(0)
    telling = telling_filters_of(digits_store, members, layers=[5], limit=8)
    filters = [(each.layer_index, each.filter_index) for each in telling]
    found = ablate(service, members, filters)
    assert len(found.random_flips) == len(found.judgement.random_effects) == 20
    assert found.judgement.verdict in {"cause", "marker", "cannot tell"}
    few = ablate(service, members[: MIN_IMAGES - 1], filters)
    assert few.judgement.verdict == "cannot tell"
    assert "too few" in few.judgement.reason


def test_of_many_images_a_sample_is_asked_about_and_said(service, monkeypatch):
    monkeypatch.setattr(module, "MAX_IMAGES", 20)
    found = ablate(service, range(100, 160), FILTERS)
    assert (len(found.images), found.asked) == (20, 60)
    assert set(found.images) < set(range(100, 160))
    service._cache["ablate"].clear()
    assert ablate(service, range(100, 160), FILTERS).images == found.images


def test_a_question_about_very_many_images_stays_small():
    ids = np.arange(2_000_000, dtype=np.int32)
    question = module.AblationQuestion.of(ids, FILTERS, "mean", 20)
    assert (len(question.images), question.asked) == (module.CANDIDATES, len(ids))
    assert question == module.AblationQuestion.of(ids[::-1], FILTERS[::-1], "mean", 20)
    assert question != module.AblationQuestion.of(ids[:-1], FILTERS, "mean", 20)


def test_images_that_are_not_there_are_left_out(service):
    found = ablate(service, [*IMAGES, 10**9, -4], FILTERS)
    assert (found.images, found.asked) == (IMAGES, 32)
    with pytest.raises(VatunError, match="none of these images"):
        ablate(service, [10**9], FILTERS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "at least one image"),
        ({"filters": []}, "at least one image and 1 to"),
        ({"images": [1.5]}, "whole numbers"),
        ({"images": [float("nan")]}, "whole numbers"),
        ({"images": [10**30]}, "whole numbers"),
        ({"images": np.array([1.0, 2.0])}, "whole numbers"),
        ({"filters": [(0,)]}, "whole numbers"),
        ({"filters": ["ab"]}, "whole numbers"),
        ({"filters": [(0, 10**6)]}, "no filter 1000000"),
        ({"filters": [(-1, 0)]}, "no filter"),
        ({"filters": [(0, index) for index in range(5000)]}, "4,096"),
        ({"random_sets": 19}, "20 to 200"),
        ({"random_sets": 10**9}, "20 to 200"),
        ({"random_sets": None}, "whole numbers"),
        ({"replacement": "<b>"}, "mean, zero"),
    ],
)
def test_numbers_are_checked(service, change, message):
    given = {"images": IMAGES, "filters": FILTERS, **change}
    with pytest.raises(SpecError, match=message):
        ablate(service, given.pop("images"), given.pop("filters"), **given)


def test_progress_is_told_on_the_asking_loop(service):
    seen, threads = [], set()

    async def follow():
        threads.add(threading.get_ident())
        return await service.ablate(IMAGES[:12], FILTERS, progress=note)

    def note(done, passes):
        threads.add(threading.get_ident())
        seen.append((done, passes))

    run(follow())
    assert seen == [(done, 22) for done in range(1, 23)]
    assert len(threads) == 1


@pytest.fixture
def slow(service, monkeypatch):
    """Make every pass of an ablation take 50 ms, and count them."""
    from vatun import ablate as network_side

    passes = []
    real = network_side.Ablator.advance

    def advance(self):
        passes.append(time.monotonic())
        time.sleep(0.05)
        real(self)

    run(service.ready())
    monkeypatch.setattr(network_side.Ablator, "advance", advance)
    return passes


def test_a_slider_goes_in_between_and_ends_nothing(service, slow):
    async def both():
        work = asyncio.ensure_future(service.ablate(IMAGES[:11], FILTERS, session="s"))
        while not slow:
            await asyncio.sleep(0.01)
        service.interrupt("s")
        for hue in (0.21, 0.22, 0.23):
            before = len(slow)
            await service.test(11, Change(magnitudes={"hue": hue}), session="s")
            assert len(slow) - before <= 2
        assert not work.done()
        assert len((await work).images) == 11

    run(both())


def test_a_newer_ablation_or_leaving_ends_the_older(service, slow):
    async def replaced():
        older = asyncio.ensure_future(service.ablate(IMAGES[:13], FILTERS, session="s"))
        other = asyncio.ensure_future(service.ablate(IMAGES[:13], FILTERS[:2], session="t"))
        while len(slow) < 3:
            await asyncio.sleep(0.01)
        newer = await service.ablate(IMAGES[:14], FILTERS, session="s")
        assert len(newer.images) == 14
        with pytest.raises(SupersededError):
            await older
        assert len((await other).images) == 13

    async def left(leave):
        begun = len(slow)
        work = asyncio.ensure_future(service.ablate(IMAGES[:15], FILTERS, session="s"))
        while len(slow) == begun:
            await asyncio.sleep(0.01)
        leave()
        with pytest.raises((SupersededError, asyncio.CancelledError)):
            await work
        after = len(slow)
        await asyncio.sleep(0.2)
        assert len(slow) <= after + 1

    run(replaced())
    run(left(lambda: service.drop("s")))
    run(left(lambda: service.drop_ablation("s")))
    assert not service._turns._newest


def test_a_cancelled_task_stops_the_passes(service, slow):
    async def cancelled():
        work = asyncio.ensure_future(service.ablate(IMAGES[:16], FILTERS, session="s"))
        while not slow:
            await asyncio.sleep(0.01)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        after = len(slow)
        await asyncio.sleep(0.2)
        assert len(slow) <= after + 1

    run(cancelled())
    assert not service._turns._newest


def test_a_full_queue_is_refused_at_first_and_waited_for_later(service, slow, monkeypatch):
    real, full = service._worker.submit, []

    def submit(key, work, **options):
        if full:
            full.pop()
            raise BusyError(8)
        return real(key, work, **options)

    monkeypatch.setattr(service._worker, "submit", submit)
    full.append(1)
    with pytest.raises(BusyError):
        ablate(service, IMAGES[:17], FILTERS)
    fill = [[1, 1]]
    found = ablate(
        service, IMAGES[:17], FILTERS, progress=lambda *_: fill and full.extend(fill.pop())
    )
    assert len(found.images) == 17
    assert not full


def test_a_slow_network_gives_up(service, slow, monkeypatch):
    monkeypatch.setattr(inference, "ABLATION_DEADLINE_S", 0.2)
    with pytest.raises(DeadlineError, match="did not answer"):
        ablate(service, IMAGES[:18], FILTERS)
    assert not service._turns._newest


def test_a_network_that_fails_ends_in_a_sentence(service, monkeypatch):
    from vatun import ablate as network_side

    def fail(self):
        raise MemoryError("no room\nfor details")

    run(service.ready())
    monkeypatch.setattr(network_side.Ablator, "advance", fail)
    with pytest.raises(inference.WorkerError, match=r"MemoryError: no room$"):
        ablate(service, IMAGES[:19], FILTERS)
