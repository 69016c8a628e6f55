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
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(tmp_path, addition, message):
    text = addition + LEAST if addition.startswith("plugins") else LEAST + addition
    with pytest.raises(ProjectError, match=re.escape(message)):
        load(tmp_path, text)


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
    assert load(folder, LEAST.replace("small_vgg", "${HOME}")).model.builder == "${HOME}"


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
