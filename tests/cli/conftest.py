"""A log that is imported, and runs that are made, by the command line itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sensorium.cli import main

N_ITEMS = 14
LONG_TITLE = "A title that is longer than any terminal is wide, " * 6 + "to its very end"
CONFIG = """\
data: {{dataset: {data}}}
model: {{name: {model}}}
training: {{epochs: 2, batch_size: 64}}
evaluation: {{ks: [3, 5], metrics: [recall, ndcg, coverage]}}
selection: recall@5
"""


@dataclass(frozen=True)
class Said:
    """What a command left: its exit status and what it said."""

    status: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run one command in this process; its output is that of a pipe."""

    def run(*words: str | Path) -> Said:
        capfd.readouterr()
        status = main([str(word) for word in words])
        said = capfd.readouterr()
        return Said(status, said.out, said.err)

    return run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One data home for the tests of a file: the environment must not outlive them."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_HOME", str(folder))
        patch.delenv("SENSORIUM_DATA", raising=False)
        yield folder


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV log of 24 users with a table of titles beside it; user "all" has every item, user "most" nine of them."""
    folder = tmp_path_factory.mktemp("log")
    draw = np.random.default_rng(1)
    users = {f"u{number:02d}": draw.permutation(N_ITEMS)[:7].tolist() for number in range(24)}
    users |= {"all": list(range(N_ITEMS)), "most": list(range(1, 10))}
    rows = [f"{user},{item:02d},{100 * place}" for user, items in users.items() for place, item in enumerate(items)]
    (folder / "log.csv").write_text("customer,item_id,timestamp\n" + "\n".join(rows) + "\n")
    titles = [f"{item:02d},{LONG_TITLE if item == 0 else f'Thing {item}'}" for item in range(N_ITEMS)]
    titles = [line if line.count(",") == 1 else line.replace(",", ',"', 1) + '"' for line in titles]
    (folder / "items.csv").write_text("item_id,title\n" + "\n".join(titles) + "\n")
    return folder / "log.csv"


@pytest.fixture(scope="module")
def shop(home: Path, log: Path) -> str:
    """The imported data set's name."""
    words = ["data", "import", log, "--name", "shop", "--column", "user_id=customer"]
    assert main([str(word) for word in [*words, "--items", log.parent / "items.csv"]]) == 0
    return "shop"


@pytest.fixture(scope="module")
def config(shop: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that is right."""
    path = tmp_path_factory.mktemp("config") / "run.yaml"
    path.write_text(CONFIG.format(data=shop, model="itemknn"))
    return path


@pytest.fixture(scope="module")
def runs(config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three complete runs."""
    folder = tmp_path_factory.mktemp("runs")
    for model in ("popularity", "itemknn", "bpr"):
        words = ["run", config, "--set", f"model.name={model}", "--out", folder / model]
        assert main([str(word) for word in words]) == 0
    return {model: folder / model for model in ("popularity", "itemknn", "bpr")}
