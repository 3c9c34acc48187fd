"""The twelve classes of ``shapes``: every one an outline of parts whose proportions vary."""

import numpy as np
from numpy.random import Generator

from harness.datasets.shapes_parts import (
    BEAK,
    CREAM,
    DARK,
    FOLIAGE,
    GLASS,
    MAIN,
    METAL,
    PALE,
    SHADE,
    SLATE,
    TINT,
    WHITE,
    WOOD,
    ObjectClass,
    Part,
    arc,
    bent,
    mirrored,
    polygon,
    quadratic,
    smooth,
)


def _apple(rng: Generator) -> list[Part]:
    w, low = rng.uniform(0.85, 1.08), rng.uniform(0.5, 0.66)
    body = smooth(
        *mirrored(
            [
                (0, -0.46),
                (0.4 * w, -0.68),
                (0.86 * w, -0.3),
                (low * w, 0.6),
                (0.24 * w, 0.86),
                (0, 0.76),
            ]
        )
    )
    lean, leaf = rng.uniform(-0.12, 0.12), rng.uniform(0.35, 0.55)
    top = (lean, -0.98)
    return [
        Part(polygon((0, -0.44), (lean * 0.3, -0.75), top), WOOD, width=0.1),
        Part(body, MAIN),
        Part(
            smooth((0.02, -0.66), (leaf * 0.45, -0.98), (leaf, -0.98), (leaf * 0.6, -0.7)), FOLIAGE
        ),
    ]


def _bird(rng: Generator) -> list[Part]:
    head, tail = rng.uniform(-0.1, 0.1), rng.uniform(-0.25, 0.2)
    belly, leg = rng.uniform(0.48, 0.68), rng.uniform(0.92, 1.08)
    body = smooth(
        (-0.72, 0.05),
        (-0.3, -0.22),
        (0.2, -0.36 + head * 0.5),
        (0.36, -0.7 + head),
        (0.62, -0.8 + head),
        (0.84, -0.58 + head),
        (0.76, -0.3 + head * 0.6),
        (0.6, 0.1),
        (0.3, belly * 0.85),
        (-0.1, belly),
        (-0.48, belly * 0.65),
    )
    wing = smooth((0.3, 0.02), (0.08, -0.16), (-0.7, 0.22), (-0.32, 0.36), (0.1, 0.34))
    feet = [polygon((x - 0.02, 0.45), (x, leg), (x + 0.17, leg)) for x in (-0.1, 0.18)]
    return [
        *(Part(foot, BEAK, width=0.06) for foot in feet),
        Part(polygon((-0.5, 0.0), (-1.1, tail - 0.16), (-1.14, tail + 0.12), (-0.5, 0.28)), SHADE),
        Part(polygon((0.78, -0.7 + head), (1.14, -0.5 + head), (0.78, -0.42 + head)), BEAK),
        Part(body, MAIN),
        Part(wing, SHADE),
        Part(arc(0.6, -0.56 + head, 0.07, 0.07), DARK),
    ]


def _car(rng: Generator) -> list[Part]:
    roof, hood = rng.uniform(-0.62, -0.45), rng.uniform(0.45, 0.62)
    rear, wheel = rng.uniform(-0.62, -0.36), rng.uniform(0.2, 0.27)
    body = polygon(
        (-1.0, 0.36),
        (-1.0, 0.0),
        (-0.92, -0.08),
        (rear - 0.26, -0.1),
        (rear, roof + 0.04),
        (rear + 0.08, roof),
        (hood - 0.42, roof),
        (hood - 0.32, roof + 0.05),
        (hood, -0.1),
        (0.9, 0.0),
        (1.02, 0.12),
        (1.02, 0.36),
    )
    middle = (rear + hood) / 2 - 0.12
    glass_top, glass_low = roof + 0.1, -0.1
    windows = [
        polygon(
            (rear - 0.12, glass_low),
            (rear + 0.1, glass_top),
            (middle - 0.05, glass_top),
            (middle - 0.05, glass_low),
        ),
        polygon(
            (middle + 0.05, glass_low),
            (middle + 0.05, glass_top),
            (hood - 0.38, glass_top),
            (hood - 0.13, glass_low),
        ),
    ]
    wheels = [(x, 0.36) for x in (-0.56, 0.58)]
    return [
        Part(body, MAIN),
        *(Part(window, GLASS) for window in windows),
        Part(arc(0.96, 0.12, 0.06, 0.08), CREAM),
        *(Part(arc(x, y, wheel, wheel), DARK) for x, y in wheels),
        *(Part(arc(x, y, wheel * 0.48, wheel * 0.48), METAL) for x, y in wheels),
    ]


def _cup(rng: Generator) -> list[Part]:
    height, foot, rim = rng.uniform(0.5, 0.85), rng.uniform(0.36, 0.58), rng.uniform(0.12, 0.2)
    handle = rng.uniform(0.26, 0.38)
    body = np.concatenate(
        [arc(-0.15, height, foot, rim * 0.6, 0, 180), polygon((-0.82, -0.5), (0.52, -0.5))]
    )
    parts = [
        Part(arc(0.46, 0.05, handle + 0.1, handle, -95, 100), MAIN, width=0.16),
        Part(body, MAIN),
        Part(arc(-0.15, -0.5, 0.68, rim), SHADE),
        Part(arc(-0.15, -0.46, 0.52, rim * 0.6), WOOD),
    ]
    if rng.random() < 0.4:
        plate = arc(-0.15, height + rim * 0.3, 1.0, 0.2)
        parts.insert(0, Part(plate, PALE))
    return parts


def _fish(rng: Generator) -> list[Part]:
    fat, fork, fin = rng.uniform(0.4, 0.62), rng.uniform(0.35, 0.55), rng.uniform(0.2, 0.36)
    body = smooth(
        (0.95, 0.02),
        (0.6, -fat * 0.75),
        (0.12, -fat),
        (-0.4, -fat * 0.5),
        (-0.68, 0.0),
        (-0.4, fat * 0.5),
        (0.12, fat),
        (0.6, fat * 0.75),
    )
    tail = polygon((-0.5, 0.0), (-1.08, -fork), (-0.9, 0.0), (-1.08, fork))
    dorsal = smooth((0.34, -fat * 0.8), (0.05, -fat - fin), (-0.32, -fat - fin * 0.6), (-0.2, -0.2))
    ventral = polygon((0.12, fat * 0.9), (-0.12, fat + fin * 0.9), (-0.2, fat * 0.75))
    return [
        Part(tail, SHADE),
        Part(dorsal, SHADE),
        Part(ventral, SHADE),
        Part(body, MAIN),
        Part(polygon((0.88, 0.14), (0.78, 0.19), (0.66, 0.2)), DARK, width=0.035),
        Part(smooth((0.2, 0.1), (-0.2, -0.02), (-0.16, 0.28)), SHADE),
        Part(arc(0.62, -0.12, 0.11, 0.11), WHITE),
        Part(arc(0.64, -0.12, 0.055, 0.055), DARK),
    ]


def _house(rng: Generator) -> list[Part]:
    w, eaves, peak = rng.uniform(0.62, 0.85), rng.uniform(-0.25, 0.05), rng.uniform(-0.98, -0.8)
    over = w + rng.uniform(0.1, 0.2)
    ridge = rng.uniform(-0.12, 0.12)
    door = rng.uniform(-0.5, -0.1) * w
    pane = rng.uniform(0.14, 0.2)
    x, y = 0.45 * w, eaves + 0.38
    parts = [
        Part(polygon((-w, eaves), (w, eaves), (w, 0.85), (-w, 0.85)), MAIN),
        Part(polygon((-over, eaves), (ridge, peak), (over, eaves)), SLATE),
        Part(
            polygon(
                (door - 0.17, 0.85), (door - 0.17, 0.3), (door + 0.17, 0.3), (door + 0.17, 0.85)
            ),
            WOOD,
        ),
        Part(
            polygon(
                (x - pane, y - pane),
                (x + pane, y - pane),
                (x + pane, y + pane),
                (x - pane, y + pane),
            ),
            GLASS,
        ),
        Part(polygon((x, y - pane), (x, y + pane)), DARK, width=0.035),
        Part(polygon((x - pane, y), (x + pane, y)), DARK, width=0.035),
    ]
    if rng.random() < 0.6:
        side = rng.uniform(0.38, 0.5) * w
        chimney = polygon(
            (side, eaves), (side, peak + 0.05), (side + 0.2, peak + 0.05), (side + 0.2, eaves)
        )
        parts.insert(1, Part(chimney, SHADE))
    return parts


def _leaf(rng: Generator) -> list[Part]:
    w, widest, bend = rng.uniform(0.42, 0.62), rng.uniform(-0.05, 0.35), rng.uniform(-0.15, 0.15)
    blade = np.concatenate(
        [
            quadratic((0.0, -1.0), (w * 1.5, widest - 0.35), (0.0, 0.72)),
            quadratic((0.0, 0.72), (-w * 1.5, widest - 0.25), (0.0, -1.0)),
        ]
    )
    veins = [
        polygon((0.0, y + 0.24), (side * w * 0.52, y))
        for y in (-0.45, -0.12, 0.2)
        for side in (-1.0, 1.0)
    ]
    parts = [
        Part(polygon((0.0, 0.68), (0.02, 0.85), (0.1, 1.05)), FOLIAGE, width=0.08),
        Part(blade, MAIN),
        Part(polygon((0.0, -0.8), (0.0, 0.7)), SHADE, width=0.045),
        *(Part(vein, SHADE, width=0.03) for vein in veins),
    ]
    return [Part(bent(part.points_P2, bend), part.paint, part.width) for part in parts]


def _mushroom(rng: Generator) -> list[Part]:
    w, dome, stem = rng.uniform(0.82, 1.0), rng.uniform(-0.95, -0.72), rng.uniform(0.2, 0.32)
    brim = rng.uniform(-0.05, 0.1)
    foot = smooth(
        *mirrored([(stem * 0.85, brim - 0.1), (stem, 0.5), (stem * 1.25, 0.82), (stem * 0.6, 0.92)])
    )
    cap = np.concatenate(
        [arc(0.0, brim, w, brim - dome, 180, 360), arc(0.0, brim, w, 0.16, 0, 180)[1:-1]]
    )
    middle = (brim + dome) / 2
    spots = [
        (rng.uniform(-0.1, 0.1), middle - 0.15, rng.uniform(0.13, 0.18)),
        (-0.48 * w, middle + 0.14, rng.uniform(0.1, 0.15)),
        (0.5 * w, middle + 0.12, rng.uniform(0.1, 0.16)),
        (0.06 * w, brim - 0.12, rng.uniform(0.07, 0.11)),
    ]
    return [
        Part(foot, CREAM),
        Part(cap, MAIN),
        *(Part(arc(x, y, r, r * 0.85), WHITE) for x, y, r in spots),
    ]


def _sailboat(rng: Generator) -> list[Part]:
    mast, deck, keel = rng.uniform(-0.1, 0.12), rng.uniform(0.38, 0.5), rng.uniform(0.78, 0.95)
    boom, jib = rng.uniform(0.62, 0.85), rng.uniform(0.5, 0.72)
    top = -1.0
    main_sail = smooth(
        (mast + 0.07, top + 0.08),
        (mast + boom * 0.55, -0.35),
        (mast + boom, deck - 0.16),
        (mast + boom * 0.5, deck - 0.1),
        (mast + 0.07, deck - 0.12),
        (mast + 0.05, -0.3),
    )
    fore_sail = polygon(
        (mast - 0.08, top + 0.28), (mast - 0.08, deck - 0.12), (mast - jib, deck - 0.12)
    )
    hull = smooth(
        (-1.0, deck),
        (0.0, deck + 0.03),
        (1.0, deck),
        (0.72, keel),
        (0.0, keel + 0.04),
        (-0.62, keel),
    )
    return [
        Part(polygon((mast, top), (mast, deck + 0.1)), WOOD, width=0.07),
        Part(main_sail, PALE),
        Part(fore_sail, TINT),
        Part(hull, MAIN),
    ]


def _star(rng: Generator) -> list[Part]:
    inner = rng.uniform(0.38, 0.52)
    angle = np.radians(np.arange(10) * 36.0 - 90.0) + rng.normal(0.0, 0.03, 10)
    radius = np.where(np.arange(10) % 2 == 0, 1.0, inner) * rng.uniform(0.93, 1.07, 10)
    return [Part(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), MAIN)]


def _tree(rng: Generator) -> list[Part]:
    w, bottom, trunk = rng.uniform(0.62, 0.9), rng.uniform(0.12, 0.34), rng.uniform(0.1, 0.17)
    lobes = int(rng.integers(6, 9))
    turn = np.linspace(0.0, 1.0, 6 * lobes, endpoint=False)
    bulge = np.abs(np.sin(np.pi * lobes * turn)) * np.repeat(rng.uniform(0.18, 0.32, lobes), 6)
    radius = (0.78 + bulge) / 1.04
    angle = 2 * np.pi * (turn + rng.random())
    half = (bottom + 1.0) / 2
    crown = np.stack(
        [w * radius * np.cos(angle), bottom - half + half * radius * np.sin(angle)], axis=1
    )
    branch = rng.choice([-1.0, 1.0]) * 0.22
    return [
        Part(
            polygon(
                (-trunk, bottom - 0.4),
                (trunk, bottom - 0.4),
                (trunk * 1.1, 0.7),
                (trunk * 2.0, 1.0),
                (-trunk * 2.0, 1.0),
                (-trunk * 1.1, 0.7),
            ),
            WOOD,
        ),
        Part(crown, MAIN),
        Part(polygon((0.0, bottom - 0.02), (branch, bottom - 0.36)), WOOD, width=0.05),
    ]


def _umbrella(rng: Generator) -> list[Part]:
    brim, scallop = rng.uniform(-0.12, 0.05), rng.uniform(0.1, 0.2)
    ribs = int(rng.integers(4, 6))
    x = np.linspace(1.0, -1.0, ribs * 8 + 1)
    edge = np.stack([x, brim - scallop * np.abs(np.sin(np.pi * ribs * (x + 1) / 2))], axis=1)
    dome = brim + rng.uniform(0.7, 0.85)
    canopy = np.concatenate([arc(0.0, brim, 1.0, dome, 180, 360), edge[1:-1]])
    peak = brim - dome
    hook = np.concatenate(
        [polygon((0.0, peak - 0.12), (0.0, 0.84)), arc(0.15, 0.84, 0.15, 0.15, 180, 10)]
    )
    inner = [2.0 * i / ribs - 1.0 for i in range(1, ribs)]
    return [
        Part(hook, WOOD, width=0.08),
        Part(canopy, MAIN),
        *(
            Part(
                quadratic((0.0, peak + 0.02), (x * 0.95, peak + 0.3), (x, brim - 0.03)),
                SHADE,
                width=0.03,
            )
            for x in inner
        ),
    ]


CLASSES: dict[str, ObjectClass] = {
    "apple": ObjectClass(_apple, hue=0.0, tilt=40),
    "bird": ObjectClass(_bird, hue=0.57, tilt=35),
    "car": ObjectClass(_car, hue=0.5, tilt=25),
    "cup": ObjectClass(_cup, hue=0.9, tilt=35),
    "fish": ObjectClass(_fish, hue=0.08, tilt=50),
    "house": ObjectClass(_house, hue=0.04, tilt=20),
    "leaf": ObjectClass(_leaf, hue=0.28, tilt=180),
    "mushroom": ObjectClass(_mushroom, hue=0.98, tilt=35),
    "sailboat": ObjectClass(_sailboat, hue=0.64, tilt=25),
    "star": ObjectClass(_star, hue=0.14, tilt=36),
    "tree": ObjectClass(_tree, hue=0.36, tilt=25),
    "umbrella": ObjectClass(_umbrella, hue=0.78, tilt=60),
}
