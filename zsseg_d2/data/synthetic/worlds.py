"""The two worlds: CITY (the target, with Cityscapes' classes) and PRETRAINING (a wider, brighter one)."""

from __future__ import annotations

from .palette import CITY_PALETTE, PRETRAINING_PALETTE
from .world import Category, Light, Surface, World

_S = Surface

# Names and label ids as in Cityscapes; synonyms as in the project's Cityscapes vocabulary.
_CITY_CATEGORIES = (
    Category("road", 7, False, ("road", "railroad")),
    Category("sidewalk", 8, False, ("sidewalk", "pavement")),
    Category("building", 11, False, ("building", "buildings", "edifice", "edifices", "house", "ceiling")),
    Category("wall", 12, False, ("wall", "walls", "brick wall", "stone wall", "tile wall", "wood wall")),
    Category("fence", 13, False, ("fence", "fences")),
    Category("pole", 17, False, ("pole", "poles")),
    Category("traffic light", 19, False, ("traffic light", "traffic lights")),
    Category("traffic sign", 20, False, ("traffic sign", "stop sign")),
    Category("vegetation", 21, False, ("vegetation", "tree", "trees", "palm tree", "bushes")),
    Category("terrain", 22, False, ("terrain", "river", "sand", "sea", "snow", "water", "mountain", "grass", "dirt", "rock")),
    Category("sky", 23, False, ("sky", "clouds")),
    Category("person", 24, True, ("person",)),
    Category("rider", 25, True, ("rider",)),
    Category("car", 26, True, ("car", "cars")),
    Category("truck", 27, True, ("truck", "trucks")),
    Category("bus", 28, True, ("bus", "buses")),
    Category("train", 31, True, ("train", "trains", "locomotive", "locomotives", "freight train")),
    Category("motorcycle", 32, True, ("motorcycle", "motorcycles")),
    Category("bicycle", 33, True, ("bicycle", "bicycles", "bike", "bikes")),
)  # fmt: skip

CITY = World(
    name="city",
    categories=_CITY_CATEGORIES,
    void_kinds=("ego vehicle", "static", "dynamic", "ground"),
    layouts={"street": 1.0},
    palette=CITY_PALETTE,
    colours={
        "": {name: 1.0 for name in CITY_PALETTE},
        "car": {"white": 2, "black": 2, "red": 2, "blue": 2, "green": 1, "yellow": 0.8, "brown": 0.7, "orange": 0.7, "purple": 0.4, "pink": 0.2},
        "bus": {"yellow": 2, "red": 2, "blue": 1, "green": 1, "orange": 1, "white": 0.6},
        "truck": {"white": 1.5, "blue": 1.5, "orange": 1.2, "red": 1, "green": 1, "brown": 0.6, "yellow": 0.5},
        "train": {"red": 2, "blue": 1.5, "green": 1, "yellow": 1, "white": 0.8},
        "motorcycle": {"red": 2, "blue": 1.2, "black": 1, "orange": 1, "green": 0.8, "yellow": 0.5, "white": 0.5},
    },
    surfaces={
        "sky": (_S((150, 182, 214), "clouds", 0.05, 0.5), _S((178, 194, 208), "clouds", 0.06, 0.45), _S((196, 200, 206), "haze", 0.04, 0.5)),
        "road": (_S((92, 92, 96), "asphalt", 0.07, 28), _S((106, 104, 106), "asphalt", 0.08, 28), _S((80, 82, 88), "asphalt", 0.07, 28)),
        "sidewalk": (_S((158, 148, 146), "slabs", 0.08, 46), _S((168, 160, 150), "tiles", 0.08, 46), _S((148, 144, 148), "slabs", 0.08, 52)),
        "ground": (_S((112, 100, 92), "gravel", 0.1, 40),),
        "terrain": (_S((108, 124, 66), "grass", 0.14, 40), _S((122, 120, 70), "grass", 0.14, 40), _S((134, 116, 86), "sand", 0.1, 40)),
        "building": (
            _S((158, 108, 88), "brick", 0.1, 34), _S((188, 174, 150), "plaster", 0.06, 20), _S((140, 140, 144), "stone", 0.07, 30),
            _S((172, 142, 116), "plaster", 0.06, 20), _S((120, 86, 76), "brick", 0.1, 34), _S((196, 190, 182), "plaster", 0.05, 20),
            _S((150, 158, 160), "slabs", 0.06, 30),
        ),
        "wall": (_S((128, 122, 114), "stone", 0.17, 60), _S((112, 116, 122), "stone", 0.15, 60), _S((142, 96, 78), "brick", 0.2, 40)),
        "fence": (_S((70, 92, 84), "fine", 0.04), _S((60, 62, 68), "fine", 0.04), _S((142, 112, 80), "fine", 0.04), _S((190, 190, 188), "fine", 0.04)),
        "pole": (_S((122, 124, 126), "fine", 0.03), _S((92, 96, 98), "fine", 0.03), _S((148, 148, 146), "fine", 0.03)),
        "traffic light": (_S((40, 44, 42)),),
        "vegetation": (_S((62, 96, 48), "leaves", 0.2, 44), _S((78, 106, 54), "leaves", 0.2, 44), _S((50, 82, 50), "leaves", 0.2, 44), _S((96, 108, 50), "leaves", 0.18, 44)),
    },
    sizes={"car": (4.3, 1.8, 1.5), "truck": (7.2, 2.35, 3.1), "bus": (9.5, 2.5, 3.0), "train": (21.0, 2.6, 3.4)},
    frequency={
        "building": 0.56, "wall": 0.12, "fence": 0.13, "hedge": 0.06, "trees": 0.13, "terrain": 0.45,
        "pole": 3.2, "traffic light": 1.1, "traffic sign": 1.5, "tree": 0.9, "static": 0.5, "dynamic": 0.15,
        "car": 6.0, "person": 4.2, "rider": 0.4, "bicycle": 0.55, "motorcycle": 0.2, "bus": 0.18, "truck": 0.18, "train": 0.04,
    },
    featured=("train", "truck", "wall", "bus", "motorcycle", "fence", "rider", "terrain"),
    camera_height=(1.6, 2.0),
    horizon=(0.36, 0.44),
    road_width=(9.0, 13.0),
    light=Light((0.84, 1.06), ((255, 252, 246), (248, 251, 255), (255, 248, 234)), (0.12, 0.4), (190, 198, 206), (1.5, 4.5), (-0.14, 0.14)),
    glass=((58, 70, 80), (74, 86, 96), (46, 54, 62)),
    trousers=((48, 52, 66), (70, 70, 76), (96, 88, 78)),
    crowds=0.35,
)  # fmt: skip

# Ids are this world's own, in the order of the table.
_PRETRAINING_THINGS = {
    "person": ("person", "people", "man", "woman"),
    "bicycle": ("bicycle", "bicycles", "bike", "bikes"),
    "car": ("car", "cars"),
    "motorcycle": ("motorcycle", "motorcycles"),
    "bus": ("bus", "buses"),
    "train": ("train", "trains", "locomotive"),
    "truck": ("truck", "trucks"),
    "boat": ("boat", "boats", "ship"),
    "airplane": ("airplane", "aeroplane", "plane"),
    "traffic light": ("traffic light", "traffic lights"),
    "traffic sign": ("traffic sign", "stop sign"),
    "fire hydrant": ("fire hydrant", "hydrant"),
    "bench": ("bench", "benches"),
    "dog": ("dog", "dogs"),
    "horse": ("horse", "horses"),
    "sheep": ("sheep",),
    "cow": ("cow", "cows", "cattle"),
    "umbrella": ("umbrella", "parasol"),
    "kite": ("kite", "kites"),
    "ball": ("ball", "sports ball"),
    "tent": ("tent", "tents"),
    "traffic cone": ("traffic cone", "cone"),
    "box": ("box", "crate"),
    "table": ("table", "dining table"),
}
_PRETRAINING_STUFF = {
    "road": ("road", "street"),
    "sidewalk": ("sidewalk", "pavement"),
    "building": ("building", "buildings", "house", "houses"),
    "wall": ("wall", "walls", "brick wall", "stone wall"),
    "fence": ("fence", "fences"),
    "vegetation": ("vegetation", "tree", "trees", "palm tree", "bushes"),
    "grass": ("grass", "lawn"),
    "dirt": ("dirt", "soil"),
    "gravel": ("gravel", "stones"),
    "sand": ("sand", "beach"),
    "snow": ("snow",),
    "water": ("water", "sea", "river"),
    "mountain": ("mountain", "mountains", "hill"),
    "sky": ("sky", "clouds"),
}
_PRETRAINING_CATEGORIES = tuple(
    Category(name, number, name in _PRETRAINING_THINGS, synonyms)
    for number, (name, synonyms) in enumerate((_PRETRAINING_THINGS | _PRETRAINING_STUFF).items(), start=1)
)

PRETRAINING = World(
    name="pretraining",
    categories=_PRETRAINING_CATEGORIES,
    void_kinds=("pole", "rider"),  # COCO has no such classes either
    layouts={"street": 0.32, "country": 0.12, "plaza": 0.11, "park": 0.08, "harbour": 0.08, "beach": 0.06, "snow": 0.05, "studio": 0.18},
    palette=PRETRAINING_PALETTE,
    colours={
        "": {name: 1.0 for name in PRETRAINING_PALETTE},
        "dog": {"brown": 2, "black": 1.5, "white": 1, "orange": 0.6},
        "cow": {"brown": 2, "black": 1.5, "white": 1},
        "horse": {"brown": 2.5, "black": 1, "white": 1},
        "sheep": {"white": 3, "brown": 0.5, "black": 0.5},
        "bench": {"brown": 2, "green": 1, "red": 0.6, "blue": 0.6},
        "traffic cone": {"orange": 3, "red": 1, "yellow": 0.6},
        "fire hydrant": {"red": 3, "yellow": 1.5, "blue": 0.5},
        "box": {"brown": 2.5, "white": 0.6, "blue": 0.6, "red": 0.5},
        "table": {"brown": 2.5, "white": 1, "blue": 0.4, "green": 0.4},
        "airplane": {"white": 2, "red": 1, "blue": 1, "orange": 0.6, "yellow": 0.6},
    },
    surfaces={
        "sky": (_S((92, 164, 236), "clouds", 0.09, 0.6), _S((240, 186, 150), "haze", 0.05, 0.6), _S((128, 190, 232), "clouds", 0.11, 0.7), _S((168, 174, 214), "haze", 0.05, 0.6)),
        "road": (_S((122, 112, 108), "gravel", 0.07, 30), _S((98, 96, 110), "asphalt", 0.1, 40), _S((74, 72, 82), "asphalt", 0.1, 40), _S((136, 130, 128), "asphalt", 0.1, 40)),
        "sidewalk": (_S((196, 172, 150), "tiles", 0.12, 64), _S((186, 186, 194), "slabs", 0.12, 72), _S((198, 158, 138), "brick", 0.14, 30)),
        "gravel": (_S((164, 150, 136), "gravel", 0.16, 60), _S((140, 130, 126), "gravel", 0.16, 60)),
        "dirt": (_S((146, 106, 70), "sand", 0.14, 40), _S((122, 90, 64), "plaster", 0.14, 40)),
        "grass": (_S((98, 156, 56), "grass", 0.2, 50), _S((126, 164, 70), "grass", 0.2, 50), _S((118, 128, 62), "grass", 0.18, 50)),
        "sand": (_S((228, 202, 146), "sand", 0.08, 40), _S((214, 184, 132), "sand", 0.08, 40)),
        "snow": (_S((232, 238, 246), "snow", 0.05, 24), _S((216, 226, 240), "snow", 0.06, 24)),
        "water": (_S((60, 124, 176), "waves", 0.14, 22), _S((58, 140, 150), "waves", 0.14, 22), _S((90, 130, 150), "waves", 0.12, 22)),
        "mountain": (_S((120, 116, 142), "plaster", 0.14, 1.2), _S((104, 128, 112), "plaster", 0.14, 1.2), _S((150, 122, 104), "plaster", 0.14, 1.2)),
        "building": (
            _S((226, 160, 112), "planks", 0.12, 44), _S((196, 86, 70), "brick", 0.16, 28), _S((232, 214, 170), "plaster", 0.09, 26),
            _S((122, 164, 186), "planks", 0.12, 44), _S((206, 150, 168), "plaster", 0.09, 26), _S((150, 166, 126), "slabs", 0.1, 40),
            _S((172, 164, 160), "stone", 0.12, 36),
        ),
        "wall": (_S((176, 110, 90), "brick", 0.22, 30), _S((168, 162, 146), "stone", 0.22, 44), _S((138, 136, 150), "stone", 0.2, 50)),
        "fence": (_S((236, 232, 222), "fine", 0.05), _S((166, 112, 66), "fine", 0.08), _S((82, 120, 92), "fine", 0.05), _S((74, 70, 72), "fine", 0.05)),
        "pole": (_S((92, 108, 122), "fine", 0.04), _S((140, 110, 82), "fine", 0.06), _S((160, 162, 160), "fine", 0.04)),
        "traffic light": (_S((58, 60, 48)), _S((190, 150, 40)), _S((36, 38, 44))),
        "vegetation": (_S((56, 128, 60), "needles", 0.22, 60), _S((104, 150, 58), "leaves", 0.24, 60), _S((66, 108, 74), "leaves", 0.22, 60), _S((186, 138, 56), "leaves", 0.2, 60)),
    },
    sizes={"car": (3.9, 1.75, 1.62), "truck": (6.6, 2.3, 2.9), "bus": (8.6, 2.45, 3.2), "train": (18.0, 2.6, 3.2)},
    frequency={
        "building": 0.42, "wall": 0.18, "fence": 0.18, "hedge": 0.06, "trees": 0.16, "terrain": 0.4,
        "pole": 2.2, "traffic light": 1.4, "traffic sign": 1.6, "tree": 1.0, "static": 0.0, "dynamic": 0.0,
        "car": 3.0, "person": 2.6, "rider": 0.3, "bicycle": 0.8, "motorcycle": 0.5, "bus": 0.4, "truck": 0.4, "train": 0.15,
    },
    featured=(),
    camera_height=(1.5, 2.4),
    horizon=(0.32, 0.5),
    road_width=(6.5, 10.0),
    light=Light((0.9, 1.14), ((255, 244, 222), (255, 255, 255), (244, 248, 255), (255, 236, 208)), (0.02, 0.2), (222, 214, 214), (0.5, 2.5), (-0.2, 0.2)),
    glass=((84, 112, 142), (60, 78, 104), (120, 148, 168)),
    trousers=((58, 60, 92), (92, 76, 62), (128, 124, 120), (60, 58, 60)),
    crowds=0.15,
)  # fmt: skip

WORLDS: dict[str, World] = {world.name: world for world in (CITY, PRETRAINING)}
