"""Office-31 (Saenko et al., ECCV 2010): 31 kinds of office objects in 3 domains.

Several classes have fewer than 15 images (dslr 14 of them, webcam 2): P@15 is cut short there.
"""

from harness.datasets.contract import DatasetSpec, StudyDefaults

_CLASSES = """
back_pack bike bike_helmet bookcase bottle calculator desk_chair desk_lamp desktop_computer
file_cabinet headphones keyboard laptop_computer letter_tray mobile_phone monitor mouse mug
paper_notebook pen phone printer projector punchers ring_binder ruler scissors speaker stapler
tape_dispenser trash_can
"""

SPEC = DatasetSpec(
    name="office31",
    ks=(1, 5, 15),
    primary_metric="mAP@All",
    defaults=StudyDefaults(
        backbone="resnet50",
        weights="timm",
        image_size=224,
        batch_size=64,
        epochs=200,
        trials=20,
    ),
    domains=("amazon", "dslr", "webcam"),
    levels=("train", "test", "images"),
    classes=tuple(_CLASSES.split()),
    expected_counts={"amazon": 2817, "dslr": 498, "webcam": 795},
    folders_wanted=(
        "the folders amazon, dslr and webcam, each with one folder of images per class "
        "(back_pack ... trash_can; the level 'images' between them may stay)"
    ),
)
