"""Retrieval benchmarks by their official lists: Cars196, Stanford Online Products and In-shop Clothes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from semscale_pl.data.files import ImageFiles, class_folders
from semscale_pl.data.lists import check_named_once, read_text
from semscale_pl.data.source import DataError, DatasetNotFound, ImageSet
from semscale_pl.labels import sorted_names
from semscale_pl.options import check_choice

# Image below the dataset's folder and its class, in the order of a list.
Entries = list[tuple[str, str]]
_ADDRESSES = {
    # The authors' own link is dead.
    "cars196": "https://www.kaggle.com/datasets/jutrera/stanford-car-dataset-by-classes-folder",
    "stanford_online_products": "https://cvgl.stanford.edu/projects/lifted_struct",
    "in_shop": "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
}


class Listed(NamedTuple):
    """What the official lists say.

    Attributes:
        parts: "train", "test" and perhaps "gallery" to their images; the same ones twice where both are cut by class.
        class_names: in the order in which the first ones are trained on.
    """

    parts: dict[str, Entries]
    class_names: list[str]


class RetrievalLists:
    """Images of a retrieval benchmark whose training and test classes are disjoint, as its authors list them.

    Cars196 is read from ``cars_annos.mat`` beside ``car_ims/``, from the ``devkit/`` of the later edition with
    ``cars_test_annos_withlabels.mat``, or from ``train/`` and ``test/`` with a folder for each class, whose order by
    name is the official one. Stanford Online Products is read from ``Ebay_train.txt`` and ``Ebay_test.txt``, In-shop
    from ``list_eval_partition.txt``, where queries ("test") and the images that are searched ("gallery") are apart.

    Args:
        layout: "cars196", "stanford_online_products" or "in_shop".
        folder: of the dataset, below the root or absolute.
        address: where to get it, for the message when it is missing; None takes the authors' own.

    Raises:
        ValueError: there is no such layout.

    Reference: Krause et al. (3dRR 2013); Oh Song et al. (CVPR 2016); Liu et al. (CVPR 2016).
    """

    def __init__(self, layout: str, folder: str, address: str | None = None) -> None:
        check_choice(layout, list(_LAYOUTS), "layout")
        self.layout, self.folder, self.address = layout, folder, address or _ADDRESSES[layout]
        self._read: Callable[[Path], Listed | None] = _LAYOUTS[layout]
        self._listed: dict[Path, Listed] = {}

    @property
    def has_gallery(self) -> bool:
        """Whether the test images are searched in others, which are the split "gallery"."""
        return self.layout == "in_shop"

    def prepare(self, root: Path, download: bool) -> None:
        """Check that lists and images are there; nothing is fetched."""
        self._lists(root)

    def load(self, split: str, root: Path, seed: int) -> ImageSet | None:
        """Return "train", "test" or "gallery", where there is one; labels go through all classes."""
        listed = self._lists(root)
        if split not in listed.parts:
            return None
        numbers = {name: row for row, name in enumerate(listed.class_names)}
        entries = listed.parts[split]
        labels = torch.tensor([numbers[label] for _, label in entries], dtype=torch.int64)
        return ImageSet(ImageFiles(root / self.folder / name for name, _ in entries), labels, listed.class_names)

    def _lists(self, root: Path) -> Listed:
        folder = root / self.folder
        if folder not in self._listed:
            found = self._read(folder)
            if found is None:
                raise DatasetNotFound(
                    f"{self.layout} was not found: expected {_EXPECTED[self.layout]} in {folder.resolve()}. Get it "
                    f"from {self.address} and put it there (dataset.root or SEMSCALE_DATA)."
                )
            self._listed[folder] = found
        return self._listed[folder]


def _cars(folder: Path) -> Listed | None:
    for read in (_cars_of_one_list, _cars_of_devkit, _cars_of_folders):
        entries = read(folder)
        if entries:
            return Listed({"train": entries, "test": entries}, sorted_names({label for _, label in entries}))
    return None


def _cars_of_one_list(folder: Path) -> Entries:
    """Read the first edition: one list of all images, which all lie in car_ims/."""
    file = folder / "cars_annos.mat"
    if not (file.is_file() and (folder / "car_ims").is_dir()):
        return []
    return [(str(row.relative_im_path), str(int(row.__dict__["class"]))) for row in _annotations(file)]


def _cars_of_devkit(folder: Path) -> Entries:
    """Read the later edition: a list and a folder for each half, the test's labels perhaps beside the devkit."""
    entries: Entries = []
    for part, name in (("cars_train", "cars_train_annos.mat"), ("cars_test", "cars_test_annos_withlabels.mat")):
        file = next((path for path in (folder / "devkit" / name, folder / name) if path.is_file()), None)
        if file is None or not (folder / part).is_dir():
            return []
        entries += [(f"{part}/{row.fname}", str(int(row.__dict__["class"]))) for row in _annotations(file)]
    return entries


def _cars_of_folders(folder: Path) -> Entries:
    """Read a copy with a folder for each class, numbered from 1 on in alphabetical order."""
    if not all((folder / part).is_dir() for part in ("train", "test")):
        return []
    numbers = {
        name: str(row + 1)
        for row, name in enumerate(sorted(p.name for p in (folder / "train").iterdir() if p.is_dir()))
    }
    entries: Entries = []
    for part in ("train", "test"):
        found = class_folders(folder / part)
        unknown = [name for name in found.class_names if name not in numbers]
        if unknown:
            raise DataError(
                f"Expected the class folders of {folder / part} to be those of {folder / 'train'}, but got "
                f"{unknown[0]!r} ({len(unknown)} such). Rename or remove it."
            )
        entries += [
            (str(Path(path).relative_to(folder)), numbers[found.class_names[label]])
            for path, label in zip(found.images.paths, found.labels.tolist(), strict=True)  # type: ignore[union-attr]
        ]
    return entries


def _annotations(file: Path) -> list[Any]:
    """Return the rows of a MATLAB list of Cars196."""
    from scipy.io import loadmat

    try:
        rows = loadmat(str(file), struct_as_record=False, squeeze_me=True)["annotations"]
        found = [row for row in rows.reshape(-1) if "class" in row.__dict__]
    except Exception as error:  # whatever damaged bytes lead to
        raise DataError(
            f"Expected {file} to be the list of Cars196 with labels, but it cannot be read: "
            f"{' '.join(str(error).split()) or type(error).__name__}. Fetch it again."
        ) from error
    if len(found) != rows.size:
        raise DataError(
            f"Expected every image of {file} to have a class, but got {rows.size - len(found):,} without. Take "
            "cars_test_annos_withlabels.mat."
        )
    return found


def _products(folder: Path) -> Listed | None:
    files = {"train": folder / "Ebay_train.txt", "test": folder / "Ebay_test.txt"}
    if not all(file.is_file() for file in files.values()):
        return None
    parts = {part: [(row[3], row[1]) for row in _rows(file, 1, 4)] for part, file in files.items()}
    return _of_disjoint(parts, str(folder))


def _in_shop(folder: Path) -> Listed | None:
    places = [folder / name for name in ("Eval/list_eval_partition.txt", "list_eval_partition.txt")]
    file = next((path for path in places if path.is_file()), None)
    # The images lie in Img/img/ as they come, or in img/ where the archives were unpacked side by side.
    prefix = next((prefix for prefix in ("Img/", "") if (folder / prefix / "img").is_dir()), None)
    if file is None or prefix is None:
        return None
    parts: dict[str, Entries] = {"train": [], "query": [], "gallery": []}
    for name, item, part in _rows(file, 2, 3):
        if part not in parts:
            raise DataError(f"Expected train, query or gallery for {name} in {file}, but got {part!r}. Fetch it again.")
        parts[part].append((prefix + name, item))
    parts = {"train": parts["train"], "test": parts["query"], "gallery": parts["gallery"]}
    return _of_disjoint(parts, str(file))


def _rows(file: Path, header: int, columns: int) -> Iterable[list[str]]:
    """Yield the columns of a list's lines after its header."""
    for number, line in enumerate(read_text(file).split("\n"), 1):
        words = line.split()
        if number <= header or not words:
            continue
        if len(words) != columns:
            raise DataError(
                f"Expected {columns} columns in line {number} of {file}, but got {line.strip()!r}. Fetch it again."
            )
        yield words


def _of_disjoint(parts: dict[str, Entries], where: str) -> Listed:
    """Number the classes, those of the training part first, and see that the others have none of them."""
    for part, entries in parts.items():
        if not entries:
            raise DataError(f"Expected images of the part {part!r} in {where}, but found none. Fetch the list again.")
    check_named_once([entry for entries in parts.values() for entry in entries], where)
    trained = {label for _, label in parts["train"]}
    tested = {label for part, entries in parts.items() if part != "train" for _, label in entries}
    if both := sorted(trained & tested):
        raise DataError(
            f"Expected the training classes of {where} to be none of the test, but {len(both)} are in both, for "
            f"example {both[0]!r}. Fetch the list again."
        )
    return Listed(parts, sorted_names(trained) + sorted_names(tested))


_LAYOUTS: dict[str, Callable[[Path], Listed | None]] = {
    "cars196": _cars,
    "stanford_online_products": _products,
    "in_shop": _in_shop,
}
_EXPECTED = {
    "cars196": "cars_annos.mat and car_ims/, or devkit/, cars_train/ and cars_test/, or classes in train/ and test/",
    "stanford_online_products": "Ebay_train.txt, Ebay_test.txt and their images",
    "in_shop": "Eval/list_eval_partition.txt and Img/img/",
}
