"""What a model of content learned on one data set is worth on another one: no item in common, one configuration.

    from scratch     trained on the target alone
    zero-shot        the source's weights, no training
    fine-tuned       the source's weights, trained on 1 %, 10 % and all of the target's users

All are selected and tested on the same validation and test rows, of all users. `epochs_to_scratch` is how many epochs
a fine-tuned model needs to be at least as good on validation as the model from scratch ever was. Features, and what an
encoder says of the items, are standardised by the target's own training items (`recommenders.towers.carrying`).

Weights over stored features mean nothing over features of another encoder, however wide: who made them is compared
(`encoders.identity`). A fitted encoder is another one on each catalogue that it was fitted to.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.config import build, dump
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.view import TrainView
from sensorium.encoders.identity import maker_of
from sensorium.experiments.config import RunConfig, read_tree
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.experiments.measuring import fit, intervals, measure_test, validate_best
from sensorium.experiments.setup import Setup, features_read, set_up
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.sequential.model import SequentialRecommender
from sensorium.recommenders.towers.carrying import carry
from sensorium.recommenders.towers.features import FeatureTower
from sensorium.recommenders.towers.id import IDTower

log = logging.getLogger(__name__)

KIND = "transfer"
RESULT = "result.json"


def transfer(
    source: str | Path | LoadedRun,
    target: RunConfig | Mapping[str, Any] | str | Path,
    *,
    out: str | Path,
    shares: Sequence[float] = (0.01, 0.1, 1.0),
    same_features: bool = False,
) -> dict[str, Any]:
    """Carry a run's model to another data set; write `result.json` and `report.html` into a new folder.

    Args:
        source: The run, or its folder.
        target: A run's configuration on the target; its model is the source's, whatever it says.
        out: The folder.
        shares: Of the target's users, for fine-tuning, each above 0 and at most 1.
        same_features: Take the caller's word that features are by one encoder where the data say otherwise; the result
            and the page then say so.

    Returns:
        What `result.json` holds: source, target, metric, notices, and one entry for each variant.

    Raises:
        ConfigError: A share is out of range, the model has rows for single items or users, which mean nothing on other
            data, or it reads what the target has not in this form.
        DataError: The two data sets share an item, features are by another encoder on the target, or an encoder inside
            the model has other weights there.
        RunError: The folder holds something.
    """
    named = [f"{share:.0%}" for share in shares]
    if not all(0 < share <= 1 for share in shares) or len(set(named)) < len(named):
        raise ConfigError(
            f"shares: {', '.join(map(str, shares))}: each is above 0, at most 1, and in whole percents once"
        )
    loaded = source if isinstance(source, LoadedRun) else load_run(source)
    config = _with_model_of(loaded, target)
    setup = set_up(config)
    _require_disjoint(loaded.dataset, setup.dataset)
    notices = _require_same_features(loaded, setup, same_features)
    _carry(loaded.model, setup.model, config.model.name)  # what cannot be carried is said before anything trains
    out = Path(out)
    kept = RunDirectory.create(out, {"kind": KIND, "source": str(loaded.path), "target": dump(config)})
    variants = [_variant("from scratch", setup, out, None, 1.0), _variant("zero-shot", setup, out, loaded, 0.0)]
    variants += [_variant(f"fine-tuned, {share:.0%} of users", setup, out, loaded, share) for share in shares]
    best = variants[0]["best_valid"]
    for variant in variants[2:]:
        reached = [epoch for epoch, value in variant["curve"] if value >= best]
        variant["epochs_to_scratch"] = min(reached, default=None)
    result = {
        "kind": KIND,
        "source": loaded.dataset.info.name,
        "target": setup.dataset.info.name,
        "model": config.model.name,
        "metric": config.selection,
        "seed": config.seed,
        "notices": notices,
        "variants": variants,
    }
    kept.write_result(result)
    write_transfer_page([out], out / "report.html")
    return result


def _with_model_of(loaded: LoadedRun, target: RunConfig | Mapping[str, Any] | str | Path) -> RunConfig:
    tree, name = read_tree(target)
    return build(RunConfig, {**tree, "model": loaded.config.model.tree()}, source=name)


def _require_disjoint(source: Dataset, target: Dataset) -> None:
    shared = np.flatnonzero(source.items_of(target.item_ids().to_list()) >= 0)
    if len(shared):
        raise DataError(
            f"'{source.name}' and '{target.name}' share {len(shared):,} items (for example "
            f"'{target.item_ids()[int(shared[0])]}'): what transfer is worth is only seen on items that are all new"
        )


def _require_same_features(source: LoadedRun, target: Setup, said: bool) -> list[str]:
    """Return what is to be said of the stored features that both sides read, place by place.

    Raises:
        ConfigError: The two read another number of features.
        DataError: Two that stand in one place are not by one encoder, and nobody said that they are.
    """
    if not any(isinstance(part, FeatureTower) for part in source.model.modules()):
        return []
    here, there = features_read(source.model, source.view), target.features_read()
    if len(here) != len(there):
        raise ConfigError(
            f"the model reads {len(here)} features ({', '.join(here)}) and the target's run reads {len(there)} "
            f"({', '.join(there)}): name those of the target in data.features, in the same order"
        )
    notices = []
    for own, other in zip(here, there, strict=True):
        first, second = maker_of(source.dataset, own), maker_of(target.dataset, other)
        named = (
            f"'{own}' of '{source.dataset.name}' is by {first.words} and '{other}' of '{target.dataset.name}' by "
            f"{second.words}"
        )
        if first.identity is None and second.identity is None and own == other:
            notices.append(f"nobody knows whether one encoder made the features: {named}")
        elif (first.identity is None or first.identity != second.identity) and said:
            notices.append(f"features were said to be by one encoder: {named}")
        elif first.identity is None or first.identity != second.identity:
            raise DataError(
                f"features are not by one encoder: {named}; weights over the one mean nothing over the other. Encode "
                "both by one encoder with weights (a fitted one is another on each catalogue), or, where you know that "
                "they are alike, say same_features (--same-features)"
            )
    for notice in notices:
        log.warning("%s", notice)
    return notices


def _carry(source: Recommender, target: Recommender, name: str) -> None:
    """Put what a model has learned into one of another catalogue, component by component.

    Raises:
        ConfigError: It holds rows of single items or users, or a component of the two is not built alike.
        DataError: An encoder has other weights on the target.
    """
    if not isinstance(source, SequentialRecommender) or not isinstance(target, SequentialRecommender):
        raise ConfigError(f"'{name}' holds rows of single users: only models that a history asks can be carried")
    if any(isinstance(part, IDTower) for part in source.modules()):
        raise ConfigError(f"'{name}' holds rows of single items: only models of content alone can be carried")
    there = target.components()
    for part, module in source.components().items():
        carry(module, there[part], part)


def _variant(name: str, setup: Setup, out: Path, source: LoadedRun | None, share: float) -> dict[str, Any]:
    """Build, train and test one variant; its records stay in a folder of its own."""
    view = setup.view if share in (0.0, 1.0) else _some_users(setup.view, share)
    model: Recommender = setup.config.model.target(view, setup.config.model.config)
    if source is not None:
        _carry(source.model, model, setup.config.model.name)
    own = Setup(setup.config, setup.dataset, setup.split, view, model)
    curve: list[tuple[int, float]] = []
    if share:
        folder = out / "variants" / name.replace(" ", "-").replace(",", "").replace("%", "percent")
        run = RunDirectory.create(folder, {"kind": KIND, "variant": name})
        trained, _ = fit(own, run)
        records = run.records("metrics.jsonl")
        curve = [(record["epoch"], record["valid"][setup.config.selection]) for record in records if "valid" in record]
        best, epochs = trained.best_value, trained.epochs
    else:
        best, epochs = validate_best(own).summary[setup.config.selection], 0
    tested = measure_test(own).result
    bounds = intervals(tested)
    return {
        "name": name,
        "users": int(np.count_nonzero(view.user_count)) if share else 0,
        "epochs": epochs,
        "best_valid": best,
        "test": dict(tested.summary),
        "test_intervals": {metric: [bound.low, bound.high] for metric, bound in bounds.items()},
        "curve": [[epoch, value] for epoch, value in curve if value is not None],
    }


def _some_users(view: TrainView, share: float) -> TrainView:
    """Return the view with the rows of a share of its users, at least two of them."""
    known = np.flatnonzero(view.user_count)
    count = max(2, round(share * len(known)))
    chosen = np.zeros(view.n_users, dtype=bool)
    chosen[numpy_generator(view.seed, "transfer", "users").permutation(known)[:count]] = True
    kept = chosen[view.user]
    order = None
    if view.in_order is not None:
        place = np.cumsum(kept) - 1
        order = place[view.in_order[kept[view.in_order]]]
    return replace(
        view,
        user=view.user[kept],
        item=view.item[kept],
        timestamp=None if view.timestamp is None else view.timestamp[kept],
        weight=None if view.weight is None else view.weight[kept],
        in_order=order,
    )


# --- the page -------------------------------------------------------------------------------------------------------


def write_transfer_page(folders: Sequence[str | Path], path: str | Path) -> Path:
    """Write a page over transfers: a matrix of what each gave on each target, and how fine-tuning went.

    Args:
        folders: Of transfers, one or several.
        path: The file.

    Raises:
        RunError: A folder holds no transfer.
    """
    from sensorium.core.pages import figure, write_page
    from sensorium.experiments import plots
    from sensorium.experiments.plots import Line
    from sensorium.experiments.tables import Sheet, plain

    results = [_read(Path(folder)) for folder in folders]
    metric = results[0]["metric"]
    targets = list(dict.fromkeys(result["target"] for result in results))
    rows: dict[str, dict[str, float]] = {}
    for result in results:
        for variant in result["variants"]:
            scratch = variant["name"] == "from scratch"
            label = variant["name"] if scratch else f"{result['source']}: {variant['name']}"
            rows.setdefault(label, {})[result["target"]] = variant["test"][metric]
    values = np.array([[row.get(target, np.nan) for target in targets] for row in rows.values()])
    drawn = [
        figure(
            plots.matrix(list(rows), targets, values, title=f"{metric} on the test of each target"),
            description=f"{metric} by source, variant and target",
        )
    ]
    for result in results:
        curves = {
            variant["name"]: [Line([point[0] for point in variant["curve"]], [point[1] for point in variant["curve"]])]
            for variant in result["variants"]
            if variant["curve"]
        }
        title = f"{result['source']} to {result['target']}"
        plot = plots.curves(curves, x="epoch", y=metric, title=title)
        drawn.append(figure(plot, description=f"{metric} on validation by epoch, {title}"))
    columns = ("source", "target", "variant", "users", "epochs", f"test {metric}", "epochs to scratch's best")
    cells = tuple(
        (
            result["source"],
            result["target"],
            variant["name"],
            f"{variant['users']:,}",
            str(variant["epochs"]),
            f"{plain(variant['test'][metric])} [{', '.join(plain(end) for end in variant['test_intervals'][metric])}]",
            _reached(variant),
        )
        for result in results
        for variant in result["variants"]
    )
    write_page(
        path,
        title="Transfer between data sets",
        template="experiments/templates/transfer.html",
        notices=list(dict.fromkeys(notice for result in results for notice in result.get("notices", []))),
        lead=f"{results[0]['model']}, selected by {metric} on the target's validation rows; no shared item.",
        plots=drawn,
        table=Sheet("Transfers", columns, cells, frozenset(columns[3:])),
    )
    return Path(path)


def _reached(variant: Mapping[str, Any]) -> str:
    if "epochs_to_scratch" not in variant:
        return ""
    return "not reached" if variant["epochs_to_scratch"] is None else str(variant["epochs_to_scratch"])


def _read(folder: Path) -> dict[str, Any]:
    result = read_json(folder / RESULT) if (folder / RESULT).exists() else {}
    if result.get("kind") != KIND:
        raise RunError(f"{folder} holds no transfer: make one with sensorium transfer")
    return dict(result)
