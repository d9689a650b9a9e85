"""A wrong call of `semscale measure` is one line, exit code 2 and no folder, before torch is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from semscale_pl.cli.command import Call
from semscale_pl.cli.main import main
from semscale_pl.cli.measure import COMMAND, checked

CALLS: dict[str, tuple[str, ...]] = {
    "seed=1": ("one of features=FILE, dataset=NAME and images=FOLDER", "none of them"),
    "features=x.npz dataset=digits": ("one of features=FILE", "features and dataset"),
    "features=x.npz images=.": ("one of features=FILE", "features and images"),
    "featurs=x.npz": ("Unknown setting `featurs`", "Did you mean `features`"),
    "features=x.npz aplha=2": ("Unknown setting `aplha`", "Did you mean `alpha`"),
    "features=x.npz --intervals": ("KEY=VALUE", "'--intervals'"),
    "features=x.npz features=x.npz": ("`features` once",),
    "features=x.npz alpha=0.5": ("`alpha`", "at least 1", "got 0.5"),
    "features=x.npz alpha=inf": ("`alpha`", "'inf'"),
    "features=x.npz ratio=dims": ("`ratio`", "'dims'"),
    "features=x.npz ratio=0": ("`ratio`", "above 0"),
    "features=x.npz unit=-1": ("`unit`", "above 0"),
    "features=x.npz feature_norm=l1": ("`feature_norm` to be one of none, l2, rms",),
    "features=x.npz num_features=0": ("`num_features`", "at least 1"),
    "features=x.npz controlled=matched,oass": ("`controlled` to be one of matched, oas", "'oass'"),
    "features=x.npz intervals=yes": ("`intervals` to be true or false", "'yes'"),
    "features=x.npz level=95": ("`level`", "in (0, 1)"),
    "features=x.npz spectrum=many": ("`spectrum`", "'many'"),
    "features=x.npz spectrum=65": ("`spectrum`", "65"),
    "features=x.npz seed=-1": ("`seed`", "got -1"),
    "features=x.npz max_memory=lots": ("`max_memory`", "'lots'"),
    "features=x.npz top=0": ("`top`", "at least 1"),
    "features=x.npz report=maybe": ("`report`", "true or false"),
    "features=x.npz image_size=8": ("`image_size` only with dataset=NAME or images=FOLDER",),
    "features=x.npz ckpt=x.npz": ("`ckpt` only with dataset=NAME or images=FOLDER",),
    "features=x.npz dataset.root=data": ("`dataset.root` only with dataset=NAME",),
    "dataset=digits labels=x.npz": ("`labels` only with features=FILE",),
    "dataset=digits label_column=y": ("`label_column` only with features=FILE",),
    "dataset=digits image_size=0": ("`image_size`", "at least 1"),
    "dataset=digitz": ("Unknown option `digitz` of `dataset`", "Did you mean `digits`"),
    "dataset=digits dataset.rot=x": ("Unknown key `dataset.rot`", "Did you mean `dataset.root`"),
    "dataset=digits backbone=resnet18": ("pretrained=true with `backbone`", "untrained network"),
    "dataset=digits pretrained=true": ("`backbone` with pretrained=true",),
    "dataset=digits backbone=resnet999 pretrained=true": ("Unknown option `resnet999` of `backbone`",),
    "dataset=digits backbone=resnet18 pretrained=true image_size=8": ("`image_size` only", "set dataset.image_size."),
    "images=. backbone=resnet18 pretrained=true image_size=8": ("`image_size` only where pixels", "Leave it out."),
    "dataset=digits ckpt=x.npz image_size=8": ("`image_size` only where pixels", "Leave it out."),
    "dataset=digits ckpt=x.npz dataset.image_size=8": ("no `dataset.image_size` with `ckpt`", "Leave it out."),
    "dataset=digits dataset.image_size=4": ("`image_size` where pixels are taken", "`dataset.image_size`"),
    "dataset=digits +dataset.image_size=4 image_size=4": ("`image_size` where pixels are taken",),
    "dataset=digits ckpt=x.npz backbone=resnet18": ("either `ckpt` or `backbone`",),
    "dataset=digits ckpt=none.ckpt": ("`ckpt` to be a checkpoint or the folder of a run", "none.ckpt"),
    "images=nowhere": ("`images` to be a folder", "'nowhere'"),
}
# Sure to be answered only once torch or the folder has been looked at.
LATE_CALLS: dict[str, tuple[str, ...]] = {
    "images=empty": ("one folder of images for each class", "no folders"),
    "images=hollow": ("images in every class folder", "'b' has none"),
    "images=broken": ("broken/a/1.png",),
    "dataset=digits ckpt=x.npz": ("checkpoint of `semscale train`", "x.npz"),
    "dataset=digits backbone=resnet20 pretrained=true": ("backbone with published weights", "resnet20 has none"),
}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", features=np.eye(4), labels=[0, 0, 1, 1])
    for folder in ("empty", "hollow/a", "hollow/b", "broken/a"):
        Path(folder).mkdir(parents=True)
    for file in ("hollow/a/1.png", "broken/a/1.png"):
        Path(file).write_bytes(b"no image")


@pytest.mark.parametrize("call", [*CALLS, *LATE_CALLS])
def test_one_line_says_what_is_wrong(call: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", *call.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("semscale: ")
    assert printed.err.count("\n") == 1
    assert all(part in printed.err for part in (CALLS | LATE_CALLS)[call]), printed.err
    assert not Path("runs").exists()


def test_wrong_calls_do_not_wait_for_torch() -> None:
    program = (
        "import json, sys; from semscale_pl.cli.main import main; "
        f"codes = [main(['measure', *call.split()]) for call in json.loads({json.dumps(list(CALLS))!r})]; "
        "print(json.dumps([codes, sorted({'torch', 'pytorch_lightning', 'matplotlib'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    codes, imported = json.loads(done.stdout)
    assert codes == [2] * len(CALLS)
    assert imported == []


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["measure", "--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {key}=" in text for key in (*COMMAND.keys, "dataset", "backbone"))
    assert main(["measure"]) == 2
    assert capsys.readouterr().err == text


def read(arguments: list[str]) -> Call:
    return checked(COMMAND.parse(arguments))


def test_a_call_is_read() -> None:
    call = read(
        [
            "features=x.npz",
            "alpha=2",
            "ratio=0.5",
            "controlled=oas,matched",
            "intervals=true",
            "max_memory=2GiB",
            "top=3",
        ]
    )
    assert call.features == Path("x.npz")
    assert (call.max_memory, call.top, call.out.parent) == (2**31, 3, Path("runs/measure"))
    assert call.settings["controlled"] == ("oas", "matched")
    assert (call.settings["alpha"], call.settings["ratio"], call.settings["intervals"]) == (2.0, 0.5, True)
    plain = read(["dataset=digits_lt", "imbalance_factor=10"])
    assert plain.overrides == ("dataset=digits_lt", "imbalance_factor=10")
    assert (plain.image_size, plain.max_memory) == (16, 2**30)
    assert read(["images=hollow"]).out.name.startswith("hollow-")


def test_the_folder_tells_sources_apart() -> None:
    for name in ("a/train", "b/train"):
        Path(name).mkdir(parents=True)
        np.savez(Path(name, "train.npz"), features=np.zeros((3, 2)), labels=np.zeros(3))
    Path("x.ckpt").touch()
    sources = [
        ["images=a/train"], ["images=b/train"], ["features=a/train/train.npz"], ["features=b/train/train.npz"],
        ["features=a/train/train.npz", "label_column=y"], ["dataset=digits_lt"], ["dataset=digits"],
        ["dataset=digits_lt", "imbalance_factor=10"], ["dataset=digits_lt", "ckpt=x.ckpt"],
    ]  # fmt: skip
    folders = [read(source).out for source in sources]
    assert len(set(folders)) == len(sources)
    assert folders[5:7] == [Path("runs/measure/digits_lt"), Path("runs/measure/digits")]
    assert folders[:2] == [
        read(["images=./a/../a/train", "alpha=2"]).out,
        read([f"images={Path('b/train').resolve()}"]).out,
    ]
