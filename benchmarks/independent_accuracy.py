"""Accuracy of the CIFAR-10 network in ten lines that share nothing with ours, beside the store's.

python -m benchmarks.independent_accuracy DATA WEIGHTS [STORE] [--split test]
"""

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torchvision.models import vgg16_bn


def evaluate(data: Path, weights: Path, split: str) -> float:
    """Return the share of images classified right."""
    model = nn.Sequential(vgg16_bn().features, nn.Flatten(), nn.Linear(512, 512), nn.ReLU(),
                          nn.Linear(512, 10)).eval()  # fmt: skip
    names = {"features": "0", "classifier.0": "2", "classifier.2": "4"}
    state = {k: v.float() for k, v in load_file(weights).items()}
    for name, place in names.items():
        state = {k.replace(f"{name}.", f"{place}.") if k.startswith(f"{name}.") else k: v
                 for k, v in state.items()}  # fmt: skip
    model.load_state_dict(state)
    table = pq.read_table(data / f"{split}.parquet")
    images = [np.array(Image.open(io.BytesIO(i["bytes"]))) for i in table["img"].to_pylist()]
    inputs = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]])[..., None, None]
    with torch.inference_mode():
        predicted = torch.cat([model((part - mean) / std).argmax(1) for part in inputs.split(500)])
    return float((predicted == torch.tensor(table["label"].to_pylist())).float().mean())


def main() -> None:
    """Print both accuracies; exit 1 when they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("store", type=Path, nargs="?")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    ours = evaluate(arguments.data, arguments.weights, arguments.split)
    print(f"independent evaluation, {arguments.split}: {ours:.4%}")
    if arguments.store is not None:
        from feature_store import Store

        with Store.open(arguments.store) as store:
            stored = store.describe()["accuracy"][arguments.split]["accuracy"]
        print(f"store, {arguments.split}: {stored:.4%}")
        raise SystemExit(int(abs(stored - ours) > 1e-6))


if __name__ == "__main__":
    main()
