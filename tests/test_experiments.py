"""The tables in experiments/: their profiles make valid runs, and their headers say what they cost."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from semscale_pl.config.checks import check_train
from semscale_pl.config.composing import config_dir, experiments_dir
from semscale_pl.features.store import StorePart, write_store
from semscale_pl.tables.cache import compose_all
from semscale_pl.tables.schema import load_table
from semscale_pl.training import building

# The tables with a make target, and the row of their demo profile that takes a step here.
REPRODUCED = {
    "table1": "digits-LT, ResNet-8",
    "table2": "DSB-CE",
    "table3": "ResNet-18, DSB-CE",
    "table4": "DSB-ST",
    "table5": "DSB-ST: power of count",
    "appendix_d5": "DSB-NSM",
    "calibration": "DSB-LDAM",
    "subsets": "DSB-CE",
    "ablations": "mixup, clean",
    "appendix_d7": "ResNet-34, DSB-CE",
    "appendix_h2": "CDB, dynamic tau",
}
PROFILES = ("paper", "reduced", "demo")
FILES = {path.stem: path for path in sorted(experiments_dir().glob("*.yaml"))}
TABLES = {name: path for name, path in FILES.items() if "rows" in yaml.safe_load(path.read_text())}
# Tables of heads on the features of a store.
OF_STORES = tuple(name for name, path in TABLES.items() if "dataset=features" in path.read_text())
TIME = r"\b(\d+|a) (second|minute|hour|GPU-hour)s?\b"


def profiles_of(name: str) -> list[str | None]:
    return list(yaml.safe_load(TABLES[name].read_text()).get("profiles") or []) or [None]


def header_of(name: str) -> str:
    lines = TABLES[name].read_text().splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(lines[:end])


def test_all_reproduced_tables_are_there() -> None:
    assert set(REPRODUCED) <= set(TABLES)
    assert all(profiles_of(name) == list(PROFILES) for name in REPRODUCED)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What is added to the call of a table of heads: a store that is there."""
    part = StorePart.of(np.eye(4), [0, 0, 1, 1])
    folder = tmp_path_factory.mktemp("stores") / "store"
    write_store(folder, {"train": part, "test": part}, ["a", "b"])
    return (f"dataset.store={folder}",)


@pytest.mark.parametrize("name", TABLES)
def test_first_cells_make_valid_runs(name: str, stores: tuple[str, ...]) -> None:
    for profile in profiles_of(name):
        table = load_table(TABLES[name], profile)
        assert table.name == name
        rows = table.rows if profile == "demo" else table.rows[:2]
        chosen = [
            cell
            for cell in table.cells(stores if name in OF_STORES else ())
            if cell.seed == table.seeds[0]
            and (cell.column == table.columns[0].name or cell.row == table.rows[0].name)
            and cell.row in {row.name for row in rows}
        ]
        assert len(compose_all(table, chosen)) == len(rows) + len(table.columns) - 1


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_every_cell_makes_a_valid_run(name: str, stores: tuple[str, ...]) -> None:
    for profile in profiles_of(name):
        table = load_table(TABLES[name], profile)
        cells = table.cells(stores if name in OF_STORES else ())
        heads = [cell.head for cell in cells]  # of rows that share a run
        configs = [repr(found) for found in zip(heads, compose_all(table, cells), strict=True)]
        assert len(set(configs)) == len(cells), "two cells are the same run"


@pytest.mark.parametrize("name", TABLES)
def test_header_states_command_and_cost(name: str) -> None:
    header = header_of(name)
    assert f"semscale table experiments/{name}.yaml" in header
    assert re.search(r"\d runs", header)
    assert re.search(TIME, header)


@pytest.mark.parametrize("name", REPRODUCED)
def test_header_states_the_target_and_each_profiles_runs(name: str) -> None:
    header = header_of(name)
    assert f"make reproduce-{name.replace('_', '-')} PROFILE=" in header
    assert "# Expected" in header
    for profile in PROFILES:
        stated = re.search(rf"\b{profile} +(\d+) runs", header)
        assert stated is not None
        assert int(stated[1]) == len(load_table(TABLES[name], profile).cells())


@pytest.mark.parametrize("name", REPRODUCED)
def test_demo_is_the_default_and_says_what_it_is(name: str) -> None:
    demo = load_table(TABLES[name])
    assert demo.profile == "demo"
    assert "machinery only" in demo.title
    assert "trainer=gpu" not in " ".join(override for cell in demo.cells() for override in cell.overrides)


def stated_figures(profile: str) -> dict[tuple[str, str, str], tuple[float, float]]:
    """The published figures that a profile's columns have beside them: table, row and "column/measure"."""
    found = {}
    for name in REPRODUCED:
        table = load_table(TABLES[name], profile)
        beside = {f"{column.name}/{measure.name}" for column in table.columns for measure in table.measures}
        for row in table.rows:
            shown = {key: figure for key, figure in row.paper if key in beside or "/" not in key}
            found |= {(name, row.name, key): (figure.low, figure.high) for key, figure in shown.items()}
    return found


def test_only_full_length_has_published_figures() -> None:
    assert {key: found for key, found in stated_figures("paper").items() if key[0] == "calibration"} == {
        ("calibration", "CE", "top-1"): (37.5, 39.1),
        ("calibration", "LDAM-DRW", "top-1"): (42.0, 42.9),
        ("calibration", "Balanced Softmax", "top-1"): (43.0, 43.0),
    }
    first = {key: found[0] for key, found in stated_figures("paper").items() if key[2].endswith("/R@1")}
    assert first == {
        ("table4", "NormSoftmax", "CUB-2011, 64/R@1"): 63.9,
        ("table4", "DSB-NSM", "CUB-2011, 64/R@1"): 65.1,
        ("table4", "SoftTriple", "CUB-2011, 64/R@1"): 65.4,
        ("table4", "DSB-ST", "CUB-2011, 64/R@1"): 66.4,
        ("table4", "NormSoftmax", "Cars196, 64/R@1"): 83.2,
        ("table4", "DSB-NSM", "Cars196, 64/R@1"): 84.0,
        ("table4", "SoftTriple", "Cars196, 64/R@1"): 84.5,
        ("table4", "DSB-ST", "Cars196, 64/R@1"): 85.6,
        ("appendix_d5", "NormSoftmax", "mini-ImageNet, 64/R@1"): 85.7,
        ("appendix_d5", "DSB-NSM", "mini-ImageNet, 64/R@1"): 87.1,
        ("appendix_d5", "NormSoftmax", "CIFAR-100, 64/R@1"): 60.1,
        ("appendix_d5", "DSB-NSM", "CIFAR-100, 64/R@1"): 61.4,
    }
    assert len(stated_figures("paper")) == 3 + 3 * len(first)
    assert stated_figures("reduced") == stated_figures("demo") == {}


@pytest.mark.parametrize("name", REPRODUCED)
def test_demo_takes_a_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the twins of Table 2 are written to runs/
    table = load_table(TABLES[name], "demo")
    cell = next(cell for cell in table.cells() if cell.row == REPRODUCED[name])
    one_step = ["trainer.fast_dev_run=true", "+trainer.enable_checkpointing=false"]
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        cfg = compose("train", overrides=[*cell.overrides, *one_step])
    pl.seed_everything(0, verbose=False)
    data = building.build_datamodule(cfg)
    module = building.build_module(cfg, data.num_classes, data.class_names, [int(count) for count in data.class_counts])
    reweighting = building.built_or_none(cfg.reweighting)
    callbacks = [] if reweighting is None else [reweighting]
    trainer = building.build_trainer(cfg, callbacks, [], tmp_path, data.has_validation)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 1
    assert len(data.test_dataset) > 0


def test_the_sweep_file_s_command_is_a_valid_run() -> None:
    sweep = yaml.safe_load((experiments_dir() / "wandb_sweep.yaml").read_text())
    words = sweep["command"]
    assert words[:3] == ["${env}", "semscale", "train"]
    assert words[-1] == "${args_no_hyphens}"
    values = [{name: which["values"][end] for name, which in sweep["parameters"].items()} for end in (0, -1)]
    for chosen in values:
        overrides = [*words[3:-1], *(f"{name}={value}" for name, value in chosen.items())]
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            cfg = compose("train", overrides=overrides)
        check_train(cfg)
        assert {name: OmegaConf.select(cfg, name) for name in chosen} == chosen
        assert cfg.dataset.validation_per_class > 0, "val/balanced_accuracy needs a validation part"
    assert sweep["metric"]["name"] == "val/balanced_accuracy"
    stated = re.search(r"= (\d+) runs", (experiments_dir() / "wandb_sweep.yaml").read_text())
    assert stated is not None
    assert int(stated[1]) == math.prod(len(which["values"]) for which in sweep["parameters"].values())


def test_published_results_come_from_committed_code() -> None:
    commits = {
        file.parent.name: set(re.findall(r'"commit": ?"([^"]*)"', file.read_text()))
        for file in (experiments_dir() / "results").glob("*/*.json")
        if file.name in ("cells.json", "result.json", "benchmark.json")
    }
    assert len(commits) > 15
    wrong = {name: found for name, found in commits.items() if not found or any("dirty" in text for text in found)}
    assert wrong == {}


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize("name", REPRODUCED)
def test_make_target_runs_the_table(name: str) -> None:
    target = f"reproduce-{name.replace('_', '-')}"
    root = Path(__file__).parent.parent
    call = ["make", "-n", "-o", ".venv/.installed", target, "PROFILE=reduced", "JOBS=3"]
    printed = subprocess.run(call, cwd=root, capture_output=True, text=True, check=True).stdout
    assert f"semscale table experiments/{name}.yaml profile=reduced jobs=3" in printed
    listed = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in listed
