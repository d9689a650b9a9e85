"""What a cell's key hashes of the package: all that its training imports, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from semscale_pl.config.composing import PACKAGE, experiments_dir
from semscale_pl.tables.cache import compose_all, targets
from semscale_pl.tables.schema import TRAIN, load_table
from semscale_pl.tables.sources import PICTURES, Sources, imported


@pytest.fixture(scope="module")
def demo() -> dict[str, set[str]]:
    """What a cell of each row of the demo names."""
    table = load_table(experiments_dir() / "demo.yaml")
    cells = [cell for cell in table.cells() if cell.seed == table.seeds[0]]
    configs = compose_all(table, cells)
    return {cell.row: {TRAIN, *targets(config)} for cell, config in zip(cells, configs, strict=True)}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return shutil.copytree(PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))


def changed(demo: dict[str, set[str]], package: Path, file: str) -> set[str]:
    """Return the rows whose key another statement in a file changes."""
    before = {row: Sources(package).hash(names) for row, names in demo.items()}
    assert before == {row: Sources(package).hash(names) for row, names in demo.items()}
    with (package / file).open("a") as source:
        source.write("\nANOTHER = 1\n")
    return {row for row, names in demo.items() if Sources(package).hash(names) != before[row]}


def files_of(*rooms: str) -> list[str]:
    """Return a file or two of each room."""
    return [
        path.relative_to(PACKAGE).as_posix()
        for room in rooms
        for path in [*sorted((PACKAGE / room).rglob("*.py"))[:1], *sorted((PACKAGE / room).rglob("*.py"))[-1:]]
    ]


@pytest.mark.parametrize("file", files_of("cli", "measuring", "studies", "figures", "advice", "benchmarks", "tables"))
def test_what_no_training_imports_leaves_every_cell_valid(file: str, demo: dict[str, set[str]], package: Path) -> None:
    assert changed(demo, package, file) == set()


@pytest.mark.parametrize(
    "file",
    [
        "__init__.py",
        "losses/seesaw.py",  # by its package, which imports every loss
        "callbacks/recording/recorder.py",
        "data/datamodule.py",
        "data/vision.py",
        "geometry/classes.py",
        "training/run.py",
        "training/building.py",
        "modules/classifier.py",
        "weighting.py",
    ],
)
def test_what_every_training_imports_makes_every_cell_another(
    file: str, demo: dict[str, set[str]], package: Path
) -> None:
    assert changed(demo, package, file) == set(demo)


def test_a_re_weighting_matters_to_the_cells_that_have_it(demo: dict[str, set[str]], package: Path) -> None:
    folder = "semscale_pl.callbacks.reweighting"
    # A power of the count, the control, is made of the same parts.
    built_on_it = {
        f"{folder}.semantic_scale.SemanticScaleReweighting",
        f"{folder}.scale_controls.PowerOfCountReweighting",
    }
    having = {row for row, names in demo.items() if names & built_on_it}
    assert having
    assert having != set(demo)
    assert changed(demo, package, "callbacks/reweighting/semantic_scale.py") == having


def test_a_file_s_name_counts_and_a_broken_one_elsewhere_does_not(demo: dict[str, set[str]], package: Path) -> None:
    (package / "cli" / "broken.py").write_text("not python")
    assert changed(demo, package, "weighting.py") == set(demo)
    first = Sources(package).hash({"semscale_pl.losses.LDAM"})
    (package / "losses" / "ldam.py").rename(package / "losses" / "margins.py")
    assert Sources(package).hash({"semscale_pl.losses.LDAM"}) != first


def test_imports_are_found_wherever_they_stand() -> None:
    source = b"""
import a, b.c as d
from . import e
from ..f import g
if typing.TYPE_CHECKING:
    import unseen
else:
    import h
class I:
    def j(self):
        try:
            import k
        except ImportError:
            from l import m
        match 1:
            case 1:
                with x:
                    import n
"""
    assert imported(source, "p.q") == ("a", "b.c", "p.q.e", "p.f.g", "h", "k", "l.m", "n")


# Many parts of the package between them; the wandb logger is left out, which only adds files of others.
TRAININGS = {
    "DSB": [
        "reweighting=semantic_scale", "reweighting.start_epoch=1", "loss=ldam", "classifier=cosine", "mixing=mixup",
        "augmentation=rand_augment", "callbacks=drift", "dataset.validation_per_class=1",
        "callbacks.recorder.pictures_every_n_epochs=2",
    ],
    "CDB": [
        "reweighting=cdb", "reweighting.start_epoch=1", "sampler=progressive", "backbone=resnet20", "backbone.depth=8",
        "loss=seesaw", "dataset.validation_fraction=0.2", "scheduler=multistep", "callbacks=early_stopping",
    ],
    "AREA": ["reweighting=effective_area", "reweighting.start_epoch=1", "lr_reference_batch=128"],
    "prior": ["reweighting=semantic_scale_prior", "reweighting.start_epoch=1", "logger=tensorboard"],
}  # fmt: skip
# Everything is imported that is not the package's own; then each configuration trains in a fork.
TRAIN_AND_LIST = """
import json, os, sys
import pytorch_lightning, torch, torchmetrics, torchvision, scipy.stats, hydra, sklearn.datasets, PIL.Image
assert not any(name.startswith("semscale_pl.") and "operators" not in name for name in sys.modules), "a fresh process"
for name, overrides in json.loads(sys.argv[1]).items():
    if os.fork() == 0:
        from pathlib import Path
        from hydra import compose, initialize_config_dir
        from omegaconf import OmegaConf
        folder = Path(name)
        folder.mkdir()
        with initialize_config_dir(sys.argv[2], version_base="1.3"):
            small = ["trainer.max_epochs=2", "dataset.batch_size=512", "dataset.source.train_fraction=0.1"]
            cfg = compose("train", overrides=[*small, *overrides])
        from semscale_pl.training.run import train
        train(cfg, folder)
        modules = sorted(name for name in sys.modules if name.partition(".")[0] == "semscale_pl")
        config = OmegaConf.to_container(cfg, resolve=False)
        (folder / "modules.json").write_text(json.dumps([config, modules]))
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


def test_all_that_a_real_training_has_imported_is_found(tmp_path: Path) -> None:
    script = "import semscale_pl\n" + TRAIN_AND_LIST
    arguments = [json.dumps(TRAININGS), str(PACKAGE.parent / "conf")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in TRAININGS:
        config, modules = json.loads((tmp_path / name / "modules.json").read_text())
        sources = Sources()
        found = set().union(*map(sources.reached, {TRAIN, *targets(config)}))
        drawing = {module for module in modules if f"{module}.".startswith(f"{PICTURES}.")}
        assert len(modules) > 50
        assert set(modules) - found - drawing == set(), name
