"""The kinds of suite there are: the value of `task` in a suite file."""

from __future__ import annotations

from .measures import Task
from .panoptic import PANOPTIC
from .referring import REFERRING

TASKS: dict[str, Task] = {"panoptic": PANOPTIC, "referring": REFERRING}
