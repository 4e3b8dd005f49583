"""What each content of the demo catalogue tells: which hidden trait, and how much of what people like.

    sensorium data generate demo --modalities text,image,audio,video
    python benchmarks/demo_probe.py demo-media           # encodes what is not encoded yet

First table: accuracy of a linear classifier (ridge, four folds) of each trait by each content's features. Second: the
share of the variance of the true utilities [users, items] that a linear map of the features finds on items it has not
seen, for each content alone, and what is lost when all others are there and it is not.
"""

import argparse

import numpy as np
from sklearn.linear_model import RidgeClassifier, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict, cross_val_score

from sensorium.core.config import build
from sensorium.data.catalogue import open_dataset
from sensorium.data.demo import DemoConfig, PlantedTruth, read_truth
from sensorium.encoders.encode import encode_all

COMPONENTS = 36  # of the utilities: there are no more kinds of traits


def utilities(truth: PlantedTruth, config: DemoConfig) -> np.ndarray:
    """Return the principal components of the utilities when the users join, float64 [items, COMPONENTS]."""
    total = sum(
        config.weight(name) * truth.taste_first[name] @ (shares - shares.mean(0)).T
        for name, shares in truth.item.items()
    )
    centred = (total - total.mean(1, keepdims=True)).T
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    return left[:, :COMPONENTS] * size[:COMPONENTS]


def explained(parts: list[np.ndarray], wanted: np.ndarray) -> float:
    """Return the share of the variance that a linear map finds on held-out items."""
    x = np.concatenate(parts, axis=1)
    folds = KFold(4, shuffle=True, random_state=0)
    found = cross_val_predict(RidgeCV(alphas=np.logspace(-3, 2, 11)), x, wanted, cv=folds)
    return float(1 - ((wanted - found) ** 2).sum() / (wanted**2).sum())


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("data", nargs="?", default="demo-media", help="a demo catalogue")
    data = open_dataset(arguments.parse_args().data)
    if not data.feature_names:
        data = encode_all(data, prefer="weights")
    truth = read_truth(data.root)
    config = build(DemoConfig, data.info.source.options, source=str(data.root))
    scaled: dict[str, np.ndarray] = {}
    print("| content |", " | ".join(truth.item), "|")
    for name in data.feature_names:
        x, present = data.features(name)
        x = (x - x[present].mean(0)) / np.maximum(x[present].std(0), 1e-6)
        found = {
            trait: max(
                cross_val_score(RidgeClassifier(alpha=alpha), x[present], shares[present].argmax(1), cv=4).mean()
                for alpha in (30.0, 300.0, 3_000.0)
            )
            for trait, shares in truth.item.items()
        }
        print(f"| {name} |", " | ".join(f"{value:.2f}" for value in found.values()), "|")
        x[~present] = 0
        scaled[name] = x / np.sqrt(x.shape[1])
    wanted = utilities(truth, config)
    whole = explained(list(scaled.values()), wanted)
    print(f"| all | {whole:.3f} | |")
    for name, x in scaled.items():
        without = explained([other for key, other in scaled.items() if key != name], wanted)
        print(f"| {name} | {explained([x], wanted):.3f} | {whole - without:.3f} |")


if __name__ == "__main__":
    main()
