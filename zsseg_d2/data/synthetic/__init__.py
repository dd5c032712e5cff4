"""Procedural scenes behind the embedded datasets: no file to download, the same pixels everywhere."""

from .minicity import ensure_minicity, ensure_minicity_split, write_minicity, write_minicity_split
from .miniphrases import ensure_miniphrases, write_miniphrases
from .miniworld import ensure_miniworld, write_miniworld
from .scene import Scene, SceneObject, render_scene
from .world import Category, World
from .worlds import CITY, PRETRAINING, WORLDS

__all__ = [
    "CITY",
    "PRETRAINING",
    "WORLDS",
    "Category",
    "Scene",
    "SceneObject",
    "World",
    "ensure_minicity",
    "ensure_minicity_split",
    "ensure_miniphrases",
    "ensure_miniworld",
    "render_scene",
    "write_minicity",
    "write_minicity_split",
    "write_miniphrases",
    "write_miniworld",
]
