"""Time and memory of functions; each form of a comparison has a process, and so a peak memory, of its own."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import active_children, get_context
from typing import Any
from unittest import mock

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ...process import keep_freed_memory

Function = Callable[[], Any]


@dataclass
class Form:
    """Timed calls of one function in a process of its own.

    Args:
        make: a picklable function that makes the function to time. Both are called once before any timing.
        keep_memory: whether freed memory is kept, as the programs of this project do.
    """

    make: Callable[[], Function]
    keep_memory: bool = True
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        others = set(active_children())
        self._process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        try:
            self.before = self._process.submit(_prepare, self.make, self.keep_memory).result()
        except BaseException:
            self._own = set(active_children()) - others
            self.stop()
            raise
        self._own = set(active_children()) - others

    def time(self) -> None:
        """Time one more call."""
        self.seconds.append(self._process.submit(_time).result())

    def finish(self) -> dict[str, Any]:
        """Return median, spread, memory in GB (peak; and what the calls added to programs and weights), and facts."""
        facts = self._process.submit(_finish).result()
        self.stop()
        added = facts["memory_gb"] - self.before
        spread = [min(self.seconds), max(self.seconds)]
        return {"seconds": statistics.median(self.seconds), "spread": spread, "added_gb": added, **facts}

    def stop(self) -> None:
        """End the process at once; at exit, Python would wait for its imports or its call."""
        self._process.shutdown(wait=False, cancel_futures=True)
        for process in self._own:
            process.kill()


def in_turns(makes: Mapping[str, Callable[[], Function]], repeat: int, plain: Sequence[str] = ()) -> dict[str, Form]:
    """Time several forms in turns, so that a busy machine slows all of them alike.

    Args:
        makes: see :class:`Form`, by name.
        repeat: timed calls of each form.
        plain: names of the forms that stand for programs which do not keep freed memory.
    """
    forms: dict[str, Form] = {}
    try:
        for name, make in makes.items():
            forms[name] = Form(make, name not in plain)
        for _ in range(repeat):
            for form in forms.values():
                form.time()
    finally:
        for form in forms.values():
            if len(form.seconds) < repeat:
                form.stop()
    return forms


_function: Function  # of this process, made by _prepare


def _prepare(make: Callable[[], Function], keep_memory: bool) -> float:
    global _function
    if keep_memory:
        keep_freed_memory()
    _function = make()
    before = memory_gb("VmRSS")
    _function()
    return before


def _time() -> float:
    return timeit.timeit(_function, timer=clock, number=1)


def clock() -> float:
    """Return the time in seconds, when a GPU in use has done its work."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def _finish() -> dict[str, Any]:
    facts: dict[str, Any] = {"memory_gb": memory_gb("VmHWM")}
    with _Operations() as counter:
        result = _function()
    if isinstance(result, dict) and "panoptic_seg" in result:
        ids, segments = result["panoptic_seg"]
        facts |= {"map_size": list(ids.shape), "segments": len(segments)}
    return {**facts, "operations": counter.total}


def memory_gb(kind: str) -> float:
    """Return the memory of this process in GB; of the GPU, if it is in use.

    Args:
        kind: ``"VmHWM"`` (peak) or ``"VmRSS"`` (now).
    """
    if torch.cuda.is_initialized():
        return (torch.cuda.max_memory_allocated() if kind == "VmHWM" else torch.cuda.memory_allocated()) / 2**30
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(kind)) / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


class _Operations(TorchDispatchMode):
    """Count multiplications and additions of matrix products, convolutions and attention.

    torch's FlopCounterMode also tracks modules, which fails on models that disable gradients inside.
    """

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.total += count(*args, **(kwargs or {}), out_val=output)
        return output


def seconds_of_parts(function: Function, places: Mapping[str, Sequence[tuple[nn.Module, str]]]) -> dict[str, float]:
    """Profile one call, and return the seconds of each part without the parts inside it.

    Args:
        places: part -> the methods that it consists of.

    Returns:
        Seconds of the parts that ran, ``rest`` (in no part) and ``all``.
    """
    on_gpu = torch.cuda.is_initialized()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    patches = [
        mock.patch.object(owner, name, record_function(part)(getattr(owner, name)))
        for part, found in places.items()
        for owner, name in found
    ]
    for patch in patches:
        patch.start()
    try:
        with profile(activities=activities) as profiler, record_function("all"):
            function()
    finally:
        for patch in patches:
            patch.stop()
    own: dict[str, float] = {}
    for event in profiler.events():
        if event.name in (*places, "all") and event.device_type == torch.autograd.DeviceType.CPU:
            seconds = (event.device_time_total if on_gpu else event.cpu_time_total) / 1e6
            own[event.name] = own.get(event.name, 0.0) + seconds
            above = _part_above(event, places)
            if above:
                own[above] = own.get(above, 0.0) - seconds
    rest = own.pop("all")
    parts = {part: own[part] for part in places if part in own}
    return {**parts, "rest": rest, "all": rest + sum(parts.values())}


def _part_above(event: FunctionEvent, places: Mapping[str, Any]) -> str:
    above = event.cpu_parent
    while above is not None and above.name not in (*places, "all"):
        above = above.cpu_parent
    return "" if above is None else above.name


def matrix_rate(dtype: torch.dtype, device: str = "cpu", side: int = 3072) -> float:
    """Return the operations a second of large matrix products: what arithmetic alone could reach here."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    from torch.utils.benchmark import Timer  # which looks for a compiler and takes seconds to import

    timer = Timer("a @ b", globals={"a": a, "b": b}, num_threads=torch.get_num_threads())
    return 2 * side**3 / min(timer.blocked_autorange(min_run_time=1).times)


def machine() -> str:
    """Describe the machine in a line."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    threads = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads{gpu}"
    return f"{_processor()}, {threads}, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    except OSError:
        return platform.processor() or platform.machine()
