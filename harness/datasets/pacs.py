"""PACS (Li et al., ICCV 2017): 7 classes in 4 domains of very different style."""

from harness.datasets.contract import DatasetSpec, StudyDefaults

SPEC = DatasetSpec(
    name="pacs",
    ks=(50, 100, 200),
    primary_metric="mAP@All",
    defaults=StudyDefaults(
        backbone="resnet50",
        weights="timm",
        image_size=224,
        batch_size=64,
        epochs=200,
        trials=20,
    ),
    domains=("art_painting", "cartoon", "photo", "sketch"),
    aliases={"art_painting": ("art",)},
    levels=("train", "test", "images"),
    classes=("dog", "elephant", "giraffe", "guitar", "horse", "house", "person"),
    expected_counts={"art_painting": 2048, "cartoon": 2344, "photo": 1670, "sketch": 3929},
    folders_wanted=(
        "the folders art_painting, cartoon, photo and sketch, each with one folder of images per "
        "class (dog ... person)"
    ),
)
