"""Packaging. Lower bounds are what the code needs; constraints.txt pins what was tested."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "zsseg_d2" / "__init__.py").read_text()).group(1)


def config_packages() -> dict[str, str]:
    """configs/ stands at the top of the repository and is installed as zsseg_d2/configs."""
    folders = [HERE / "configs", *(p for p in (HERE / "configs").rglob("*") if p.is_dir())]
    return {".".join(("zsseg_d2", *f.relative_to(HERE).parts)): str(f.relative_to(HERE)) for f in folders}


setup(
    name="zsseg_d2",
    version=VERSION,
    description="Open-vocabulary panoptic and referring segmentation with Detectron2 and a frozen CLIP",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["zsseg_d2", "zsseg_d2.*"]), *config_packages()],
    package_dir=config_packages(),
    package_data={
        "zsseg_d2": ["vocabularies/*.yaml", "weights/*"],
        "zsseg_d2.modeling": ["clip_configs/*"],
        "zsseg_d2.experiments": ["Snakefile"],
        **{name: ["*.yaml"] for name in config_packages()},
    },
    install_requires=[
        # Detectron2 itself is not on the package index under its own name: see README, "Installing".
        "torch>=2.1",
        "torchvision>=0.16",
        "open_clip_torch>=3.0",
        "timm>=1.0",
        "numpy>=1.24",
        "scipy>=1.10",
        "Pillow>=10.1",
        "safetensors>=0.4",
        "PyYAML>=6.0",
        "tqdm>=4.60",
        "tabulate>=0.9",
        "portalocker>=2.8",
        # Suites: order, restarts, parallel places and clusters.
        "snakemake>=9.27",
        "pandas>=2.1",
        "psutil",
        # What Detectron2 v0.5 imports; a source build brings them itself.
        "fvcore>=0.1.5",
        "iopath>=0.1.9",
        "yacs>=0.1.8",
        "omegaconf>=2.1",
        "hydra-core>=1.1",
        "cloudpickle",
        "termcolor>=1.1",
        "tensorboard",
        "pycocotools>=2.0.6",
        "matplotlib>=3.7",
        "contourpy>=1.0.5",
        # The reference preparation and evaluation of Cityscapes; MiniCity is prepared by it.
        "cityscapesscripts>=2.2",
    ],
    extras_require={
        "test": [
            "pytest>=7", "pytest-xdist", "hypothesis>=6", "transformers>=4.40", "snakemake-executor-plugin-slurm>=2.0",
        ],
    },
)
