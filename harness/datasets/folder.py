"""``folder``: one's own images, root/<domain>/<class>/<image>, whatever the names.

Defaults and ks are those of the built-in data; results are named after the root folder.
"""

from dataclasses import replace

from harness.datasets import shapes

SPEC = replace(
    shapes.SPEC,
    name="folder",
    domains=None,
    aliases={},
    levels=("train", "test", "images"),
    classes=None,
    expected_counts=None,
    default_pairs=None,
    folders_wanted=(
        "a folder with one subfolder per domain, in each of them one folder of images per class "
        "(<root>/<domain>/<class>/<image>)"
    ),
)
