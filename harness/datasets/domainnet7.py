"""DomainNet-7: the seven classes of DomainNet (Peng et al., ICCV 2019) that UCDIR retrieves.

They are those with more than 200 images in all six domains, train and test lists of the cleaned
release taken together. The count of ``real`` is not known exactly and is not checked.
"""

from harness.datasets.contract import DatasetSpec, StudyDefaults

SPEC = DatasetSpec(
    name="domainnet7",
    ks=(50, 100, 200),
    primary_metric="P@50",
    defaults=StudyDefaults(
        backbone="resnet50",
        weights="timm",
        image_size=224,
        batch_size=64,
        epochs=200,
        trials=20,
    ),
    domains=("clipart", "infograph", "painting", "quickdraw", "real", "sketch"),
    levels=("train", "test", "images"),
    classes=("bird", "feather", "teapot", "tiger", "whale", "windmill", "zebra"),
    expected_counts={
        "clipart": 1959,
        "infograph": 2121,
        "painting": 2415,
        "quickdraw": 3500,
        "sketch": 2091,
    },
    default_pairs=(
        ("clipart", "sketch"),
        ("infograph", "real"),
        ("infograph", "sketch"),
        ("clipart", "painting"),
        ("painting", "quickdraw"),
        ("quickdraw", "real"),
    ),
    folders_wanted=(
        "the folders clipart, infograph, painting, quickdraw, real and sketch, each with one "
        "folder of images per class (bird, feather, teapot, tiger, whale, windmill, zebra; other "
        "classes are ignored)"
    ),
)
