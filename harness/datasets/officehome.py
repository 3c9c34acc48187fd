"""Office-Home (Venkateswara et al., CVPR 2017): 65 kinds of everyday objects in 4 domains.

Counts as in the lists of CDTrans. K, ks and pairs as in the tables of UCDIR and ProtoOT.
"""

from harness.datasets.contract import DatasetSpec, StudyDefaults

_CLASSES = """
Alarm_Clock Backpack Batteries Bed Bike Bottle Bucket Calculator Calendar Candles Chair
Clipboards Computer Couch Curtains Desk_Lamp Drill Eraser Exit_Sign Fan File_Cabinet Flipflops
Flowers Folder Fork Glasses Hammer Helmet Kettle Keyboard Knives Lamp_Shade Laptop Marker
Monitor Mop Mouse Mug Notebook Oven Pan Paper_Clip Pen Pencil Postit_Notes Printer Push_Pin
Radio Refrigerator Ruler Scissors Screwdriver Shelf Sink Sneakers Soda Speaker Spoon TV Table
Telephone ToothBrush Toys Trash_Can Webcam
"""

SPEC = DatasetSpec(
    name="officehome",
    ks=(1, 5, 15),
    primary_metric="P@1",
    defaults=StudyDefaults(
        backbone="resnet50",
        weights="timm",
        image_size=224,
        batch_size=64,
        epochs=200,
        trials=20,
    ),
    domains=("Art", "Clipart", "Product", "Real_World"),
    aliases={"Clipart": ("Clip_Art",), "Real_World": ("Real",)},
    levels=("train", "test", "images"),
    classes=tuple(_CLASSES.split()),
    expected_counts={"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357},
    folders_wanted=(
        "the folders Art, Clipart, Product and Real_World, each with one folder of images per "
        "class (Alarm_Clock ... Webcam)"
    ),
)
