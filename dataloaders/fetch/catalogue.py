"""The public data sets that recipes are about, and what each is checked by.

No address here has been tried by the makers of foveate, who had no network: each was read from
public sources, and `DataSet.tried` says so until somebody has. A hash stands here only where its
publisher or several others state it; elsewhere the published counts are the check, and the first
download's sha256 is kept and enforced from then on (`trust.py`).
"""

from __future__ import annotations

import difflib

from ..errors import DataError
from .entry import GB, Count, DataSet, Remote

_MENDELEY = "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files"
_LIVECELL = "https://livecell-dataset.s3.eu-central-1.amazonaws.com/LIVECell_dataset_2021"
_BCCD_COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
_KERMANY = (
    "Kermany D., Zhang K., Goldbaum M. (2018): Labeled Optical Coherence Tomography (OCT) and "
    "Chest X-Ray Images for Classification, Mendeley Data v2, doi:10.17632/rscbjbr9sj.2; Kermany "
    "et al., Cell 172 (2018) 1122-1131."
)
_MEDMNIST = (
    "Yang J. et al.: MedMNIST v2, Scientific Data 10 (2023) 41, doi:10.5281/zenodo.10519652; "
    "images of Kermany et al., doi:10.17632/rscbjbr9sj.2."
)


def _classes(part: str, ending: str, **files: int) -> tuple[Count, ...]:
    return tuple(Count(f"{part}/{name}/*.{ending}", count) for name, count in files.items())


OCT2017 = DataSet(
    name="oct2017",
    title="retinal OCT, four classes, 84,484 scans",
    licence="CC BY 4.0",
    citation=_KERMANY,
    page="https://data.mendeley.com/datasets/rscbjbr9sj/2",
    remotes=(
        Remote(
            "OCT2017.tar.gz",
            f"{_MENDELEY}/5699a1d8-d1b6-45db-bb92-b61051445347/file_downloaded",
            cap=8 * GB,
            about=5_793_183_169,  # one public note says so; no second one
            anchor=("train", "test"),
            unpacked=16 * GB,
        ),
    ),
    counts=(
        *_classes("train", "jpeg", CNV=37_205, DME=11_348, DRUSEN=8_616, NORMAL=26_315),
        *_classes("test", "jpeg", CNV=250, DME=250, DRUSEN=250, NORMAL=250),
    ),
    recipe="oct2017",
)

CHEST_XRAY = DataSet(
    name="chest_xray",
    title="pneumonia on chest X-rays of children, two classes, 5,856 films",
    licence="CC BY 4.0",
    citation=_KERMANY,
    page="https://data.mendeley.com/datasets/rscbjbr9sj/2",
    remotes=(
        Remote(
            "ChestXRay2017.zip",
            f"{_MENDELEY}/f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded",
            cap=2 * GB,
            about=1_235_512_464,  # one public note says so; no second one
            anchor=("train", "test"),
            unpacked=4 * GB,
        ),
    ),
    counts=(
        *_classes("train", "jpeg", NORMAL=1_349, PNEUMONIA=3_883),
        *_classes("test", "jpeg", NORMAL=234, PNEUMONIA=390),
    ),
    recipe="chest_xray",
    notes=(
        "The copy on Kaggle, whose counts the recipe names, has moved 8 films of each class from "
        "train to a val folder: here train has 1,349 and 3,883, and the plan will say so.",
    ),
)

BRAIN_MRI = DataSet(
    name="brain_mri",
    title="brain tumours on MRI, four classes, 3,264 slices",
    licence="MIT (a derived copy states CC0)",
    citation=(
        "Bhuvaji S., Kadam A., Bhumkar P., Dedge S., Kanchan S. (2020): Brain Tumor Classification "
        "(MRI), doi:10.34740/kaggle/dsv/1183165."
    ),
    page="https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri",
    remotes=(Remote("archive.zip", cap=GB, about=91 * 10**6, anchor=("Training",), unpacked=GB),),
    counts=(
        *_classes(
            *("Training", "jpg"),
            glioma_tumor=826,
            meningioma_tumor=822,
            no_tumor=395,
            pituitary_tumor=827,
        ),
        *_classes(
            *("Testing", "jpg"),
            glioma_tumor=100,
            meningioma_tumor=115,
            no_tumor=105,
            pituitary_tumor=74,
        ),
    ),
    recipe="brain_mri",
    manual=(
        "log in at https://www.kaggle.com/datasets/sartajbhuvaji/brain-tumor-classification-mri, "
        "download the zip, put it at {file}, and give the same command again"
    ),
)

BCCD = DataSet(
    name="bccd",
    title="blood cells, boxes of three kinds, 364 images",
    licence="MIT",
    citation="Shenggan: BCCD Dataset, https://github.com/Shenggan/BCCD_Dataset.",
    page="https://github.com/Shenggan/BCCD_Dataset",
    remotes=(
        Remote(
            "BCCD_Dataset.zip",
            f"https://codeload.github.com/Shenggan/BCCD_Dataset/zip/{_BCCD_COMMIT}",
            cap=100 * 10**6,
            about=9 * 10**6,
            anchor=("Annotations", "ImageSets", "JPEGImages"),
            unpacked=100 * 10**6,
        ),
    ),
    counts=(
        Count("JPEGImages/*.jpg", 364),
        Count("Annotations/*.xml", 364),
        Count("ImageSets/Main/*.txt", 4),
    ),
    # GitHub packs the zip anew and promises no hash of it: this one is over the files of the
    # commit, computed from a clone.
    content="debd2d76b13c300a3999f96a08cbe9ada5f231c3f882f9877a65a01a695872d1",
    recipe="bccd",
)

NUCLEI = DataSet(
    name="nuclei",
    title="cell nuclei, a mask each, 670 images (Data Science Bowl 2018, stage 1)",
    licence="CC0 1.0",
    citation=(
        "Caicedo J. et al.: Nucleus segmentation across imaging experiments: the 2018 Data Science "
        "Bowl, Nature Methods 16 (2019) 1247-1253; image set BBBC038v1."
    ),
    page="https://bbbc.broadinstitute.org/BBBC038",
    remotes=(
        Remote(
            "stage1_train.zip",
            "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
            cap=GB,
            into="stage1_train",
            unpacked=2 * GB,
        ),
    ),
    counts=(Count("stage1_train/*/images/*.png", 670),),
    recipe="nuclei",
)

LIVECELL = DataSet(
    name="livecell",
    title="living cells in phase contrast, a polygon each, 5,239 images",
    licence="CC BY-NC 4.0: NO COMMERCIAL USE, of the images or of what is made from them",
    citation=(
        "Edlund C. et al.: LIVECell - A large-scale dataset for label-free live cell segmentation, "
        "Nature Methods 18 (2021) 1038-1045."
    ),
    page="https://sartorius-research.github.io/LIVECell",
    remotes=(
        Remote(
            "images.zip",
            f"{_LIVECELL}/images.zip",
            cap=4 * GB,
            about=1_300 * 10**6,
            into="images",
            anchor=("livecell_train_val_images", "livecell_test_images"),
            unpacked=6 * GB,
        ),
        *(
            Remote(
                f"livecell_coco_{part}.json",
                f"{_LIVECELL}/annotations/LIVECell/livecell_coco_{part}.json",
                cap=3 * GB,
                about=700 * 10**6,  # a third of what the three are said to have
                into="annotations/LIVECell",
            )
            for part in ("train", "val", "test")
        ),
    ),
    counts=(
        Count("images/livecell_train_val_images/**/*.tif", 3_727),
        Count("images/livecell_test_images/**/*.tif", 1_512),
        Count("annotations/LIVECell/*.json", 3),
    ),
    recipe="livecell",
)

OCTMNIST = DataSet(
    name="octmnist",
    title="retinal OCT at 224 px in one npz, 109,309 scans",
    licence="CC BY 4.0",
    citation=_MEDMNIST,
    page="https://zenodo.org/records/10519652",
    remotes=(
        Remote(
            "octmnist_224.npz",
            "https://zenodo.org/records/10519652/files/octmnist_224.npz?download=1",
            cap=8 * GB,
            about=3_700 * 10**6,
            md5="abc493b6d529d5de7569faaef2773ba3",
        ),
    ),
    counts=(Count("octmnist_224.npz", 1),),
)

PNEUMONIAMNIST = DataSet(
    name="pneumoniamnist",
    title="chest X-rays at 224 px in one npz, 5,856 films",
    licence="CC BY 4.0",
    citation=_MEDMNIST,
    page="https://zenodo.org/records/10519652",
    remotes=(
        Remote(
            "pneumoniamnist_224.npz",
            "https://zenodo.org/records/10519652/files/pneumoniamnist_224.npz?download=1",
            cap=GB,
            about=200 * 10**6,
            md5="d6a3c71de1b945ea11211b03746c1fe1",
        ),
    ),
    counts=(Count("pneumoniamnist_224.npz", 1),),
)

SLIDE = DataSet(
    name="cmu_small_region",
    title="a small whole-slide image, H&E, Aperio SVS, 2,220 x 2,967",
    licence="CC0 1.0",
    citation="OpenSlide test data, Carnegie Mellon University: CMU-1-Small-Region.svs.",
    page="https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/",
    remotes=(
        Remote(
            "CMU-1-Small-Region.svs",
            "https://openslide.cs.cmu.edu/download/openslide-testdata/Aperio/CMU-1-Small-Region.svs",
            cap=1_938_955,
            bytes=1_938_955,
            sha256="ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7",
        ),
    ),
    counts=(Count("CMU-1-Small-Region.svs", 1),),
)

SETS = (
    *(OCT2017, CHEST_XRAY, BRAIN_MRI, BCCD, NUCLEI, LIVECELL, OCTMNIST, PNEUMONIAMNIST),
    SLIDE,
)


def find_set(name: str) -> DataSet:
    """The data set of that name. Raises DataError, with the nearest, where there is none."""
    known = {entry.name: entry for entry in SETS}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1)
    guess = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(known)}"
    raise DataError(f"no data set '{name}'; {guess}")


def checked_by(entry: DataSet) -> str:
    """What a download of it is held against, in a word or two."""
    published = {kind for r in entry.remotes for kind in ("sha256", "md5") if getattr(r, kind)}
    if published:
        return ", ".join(sorted(published, reverse=True))
    if entry.content:
        return "every file's hash"
    return "counts, then first sha256" if any(r.url for r in entry.remotes) else "counts"
