"""Project files: what is accepted, and how everything else is refused."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.errors import ProjectError
from pipelines.project import Project
from pipelines.stages import STAGES, tasks
from vatun.specs import PERTURBATION_SPECS

ROOT = Path(__file__).parents[2]
LEAST = """
[dataset]
source = "digits"
[model]
builder = "small_vgg"
[preprocess]
resize = 32
"""


def load(tmp_path, text, *, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text)
    return Project.load(path)


def test_the_least_project_has_the_documented_defaults(tmp_path):
    project = load(tmp_path, LEAST)
    assert project.name == "mine"
    assert project.store == tmp_path / "stores" / "mine"
    assert project.dataset.reference == "train"
    assert project.mine.min_images == 5
    assert project.mine.path_sets == ("paper", "mean", "balanced")
    assert [s.name for s in project.simulate.perturbations] == list(PERTURBATION_SPECS)
    assert not project.trains


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("[mine]\nmin_image = 5", "mine: unknown key 'min_image'; known: path_sets, min_i"),
        ("[mines]", "mine.toml: unknown key 'mines'; known: dataset, model"),
        ("[mine]\nmin_images = 'five'", "mine.min_images: must be an integer, got text"),
        ("[mine]\nmin_images = true", "mine.min_images: must be an integer, got true or false"),
        ("[mine]\nmin_images = 1", "min_images must be at least 2"),
        ("[mine]\npath_sets = ['papre']", "path_sets[0]: must be one of 'paper', 'mean', 'b"),
        ("[simulate]\nperturbations = ['tilt']", "unknown perturbation 'tilt'; known: region"),
        ("[simulate]\nperturbations = ['hue', 'hue']", "listed twice"),
        ("[simulate]\nperturbations = [{name = 'hue', grid = [0.1]}]", "must hold the identity"),
        ("[simulate]\nperturbations = [{name = 'hue', grid = [0.0, 9.0]}]", "leaves -0.5 to 0.5"),
        ("[simulate.harmless]\ntilt = 1.0", "unknown perturbation 'tilt'"),
        ("[capture]\nactivations = 'some'", "must be one of 'all', 'top', 'none'"),
        ("[capture]\nlayers = 3", "capture.layers: must be"),
        ("[train]\nbatch_size = 8", "mine.toml: train: needs epochs"),
        ("[view]\npath_set = 3", "view.path_set: must be one of"),
        ("plugins = 'x'\n" , "mine.toml: "),
        ("[simulate]\nperturbations = []", "mine.toml: simulate.perturbations: needs at least"),
        ("[simulate]\nperturbations = [{name = 'hue', grid = [0.0, nan]}]", "a finite number"),
        ("[train]\nepochs = 1\nlearning_rate = inf", "train.learning_rate: must be a finite"),
        ("[train]\nepochs = 1\nlearning_rate = 0", "learning_rate must be above 0"),
        ("[train]\nepochs = 1\nlabel_smoothing = 1", "label_smoothing from 0 to below 1"),
        ("[train]\nepochs = 1\nmomentum = -1", "must not be negative"),
        ("[embed]\njobs = 0", "jobs at least 1"),
        ("[embed]\nperplexity = 0", "perplexity must be above 0"),
        ("[embed]\nprojections = ['pca', 'pca']", "a projection is listed twice"),
        ("[embed]\nprojections = ['lda']", "unknown projection 'lda'; known: tsne"),
        ("[mine]\npath_sets = []", "mine.path_sets: needs at least one name"),
        ("[mine]\npath_sets = ['paper']", "'balanced' is not among mine.path_sets: paper"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(tmp_path, addition, message):
    text = addition + LEAST if addition.startswith("plugins") else LEAST + addition
    with pytest.raises(ProjectError, match=re.escape(message)):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("", "seed = -1", "mine.toml: seed: must lie between 0 and 4294967295, got -1"),
        ("resize = 32", "resize = 0", "preprocess: resize must be at least 1"),
        ("resize = 32", "resize = 32\ncrop = 33", "crop between 1 and resize"),
        ("resize = 32", "resize = 32\ncrop = 0", "crop between 1 and resize"),
        ("small_vgg", "", "model.builder: unknown builder ''; known: vgg16_cifar"),
        ("small_vgg", ":", "model.builder: ':' needs a module"),
        ('"small_vgg"', '"small_vgg"\nclasses = 1', "model.classes: must be at least 2"),
        ("digits", "digit", "dataset.source: unknown data source 'digit'; known: digits"),
        ('"digits"', '"digits"\nsplits = ["../x"]', "dataset.splits: '../x' is no name"),
    ],
)  # fmt: skip
def test_values_that_would_fail_late_are_refused_at_once(tmp_path, before, after, message):
    with pytest.raises(ProjectError, match=re.escape(message)):
        load(tmp_path, LEAST.replace(before, after, 1) if before else after + LEAST)


def test_the_built_in_names_are_those_of_the_registries():
    from pipelines import checks, digits, tables  # noqa: F401 - register their loaders
    from pipelines.loaders import LOADERS
    from pipelines.projections import PROJECTIONS
    from vatun.builders import BUILDERS

    assert set(checks.BUILT_IN_LOADERS) <= set(LOADERS)
    assert set(checks.BUILT_IN_BUILDERS) <= set(BUILDERS)
    assert set(checks.BUILT_IN_PROJECTIONS) <= set(PROJECTIONS)


def test_a_bad_plugin_or_a_folder_is_the_fault_of_one_project(tmp_path, monkeypatch):
    (tmp_path / "bad_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ProjectError, match="'bad_plugin': ZeroDivisionError"):
        load(tmp_path, "plugins = ['bad_plugin']" + LEAST)
    (tmp_path / "x.toml").mkdir()
    with pytest.raises(ProjectError, match=r"x\.toml: cannot be read: Is a directory"):
        Project.load(tmp_path / "x.toml")


def test_missing_sections_and_files_are_named(tmp_path):
    with pytest.raises(ProjectError, match=r"mine.toml: dataset: needs source"):
        load(tmp_path, "[model]\nbuilder = 'small_vgg'")
    with pytest.raises(ProjectError, match="there is no project file"):
        Project.load(tmp_path / "none.toml")
    with pytest.raises(ProjectError, match="not TOML"):
        load(tmp_path, "dataset = [")
    with pytest.raises(ProjectError, match=r"reference_split must be one of the splits"):
        load(tmp_path, LEAST.replace('"digits"', '"digits"\nreference_split = "val"'))
    with pytest.raises(ProjectError, match="cannot import 'no_such_plugin'"):
        load(tmp_path, "plugins = ['no_such_plugin']" + LEAST)


def test_paths_start_at_the_file_and_take_variables(tmp_path, monkeypatch):
    text = LEAST.replace('"digits"', '"parquet"\npath = "${VATUN_TEST_DATA:-../data}/cifar"')
    monkeypatch.delenv("VATUN_TEST_DATA", raising=False)
    folder = tmp_path / "projects"
    folder.mkdir()
    assert load(folder, text).dataset.path == tmp_path / "data" / "cifar"
    # Beside dodo.py, not below projects.
    assert load(folder, text).store == tmp_path / "stores" / "mine"
    monkeypatch.setenv("VATUN_TEST_DATA", str(tmp_path / "elsewhere"))
    assert load(folder, text).dataset.path == tmp_path / "elsewhere" / "cifar"
    with pytest.raises(ProjectError, match="VATUN_TEST_NONE is not set"):
        load(folder, LEAST.replace('"digits"', '"parquet"\npath = "${VATUN_TEST_NONE}"'))
    # Elsewhere a variable is only text.
    text = LEAST.replace("small_vgg", "x:${HOME}")
    assert load(folder, text).model.builder == "x:${HOME}"


def test_a_plugin_may_register_a_perturbation_before_it_is_named(tmp_path, monkeypatch):
    (tmp_path / "darker_plugin.py").write_text(
        "from vatun.specs import PerturbationSpec, register_spec\n"
        "register_spec(PerturbationSpec(name='test_darker', label='Darker', unit='factor',\n"
        "    low=0.0, identity=0.0, high=1.0, grid=(0.0, 0.5)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    text = "plugins = ['darker_plugin']" + LEAST + "[simulate]\nperturbations = ['test_darker']"
    try:
        assert load(tmp_path, text).simulate.perturbations[0].grid == (0.0, 0.5)
    finally:
        from vatun import specs

        specs._specs.pop("test_darker", None)


def test_settings_leave_out_paths_and_speed(tmp_path):
    slow = load(tmp_path, LEAST + "[capture]\nbatch_size = 1\ndevice = 'cpu'")
    fast = load(tmp_path, LEAST + "[capture]\nbatch_size = 512")
    assert STAGES["capture"].resolved(slow) == STAGES["capture"].resolved(fast)
    changed = load(tmp_path, LEAST + "[capture]\ninclude_logits = true")
    assert STAGES["capture"].resolved(slow) != STAGES["capture"].resolved(changed)


@pytest.mark.parametrize("path", sorted((ROOT / "projects").glob("*.toml")), ids=lambda p: p.stem)
def test_our_own_projects_are_valid(path):
    project = Project.load(path)
    names = [f"{task['basename']}:{task['name']}" for task in tasks(project)]
    assert names[-1] == f"store:{path.stem}"


def test_listing_tasks_imports_no_torch():
    code = (
        "import sys, pipelines.stages, pipelines.project; from pathlib import Path;"
        "[list(pipelines.stages.tasks(pipelines.project.Project.load(p)))"
        " for p in Path('projects').glob('*.toml')];"
        "assert not {'torch', 'panel', 'duckdb'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
