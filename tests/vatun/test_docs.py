"""The change that docs/projects.md registers works as it is written there."""

import re
from pathlib import Path

import torch

from vatun import perturb, specs

TEXT = (Path(__file__).parents[2] / "docs" / "projects.md").read_text()


def test_the_change_of_the_docs_can_be_registered():
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "fog" in block
    ]
    try:
        exec(compile(code, "docs/projects.md", "exec"), {})
        images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        found = perturb.perturb(images, "fog", 0.25)
        torch.testing.assert_close(found, 0.75 * images + 0.25)
        assert list(specs.PERTURBATION_SPECS)[-2:] == ["fog", "fgsm"]
    finally:
        specs._specs.pop("fog", None)
        perturb._perturbations.pop("fog", None)
