"""The part of the packaging that pyproject.toml cannot state: configs/ and tools/ are installed inside the package."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def mapped_packages() -> dict[str, str]:
    """Map ``zsseg_d2.configs``, its subfolders and ``zsseg_d2.tools`` to their folders at the top of the repository."""
    folders = [HERE / "tools", HERE / "configs", *(p for p in (HERE / "configs").rglob("*") if p.is_dir())]
    return {".".join(("zsseg_d2", *f.relative_to(HERE).parts)): str(f.relative_to(HERE)) for f in folders}


setup(
    packages=[*find_packages(include=["zsseg_d2", "zsseg_d2.*"]), *mapped_packages()],
    package_dir=mapped_packages(),
    package_data={
        "zsseg_d2": ["py.typed", "vocabularies/*.yaml", "datasets/*.yaml", "weights/*"],
        "zsseg_d2.auto_vocabulary": ["lists/*.yaml"],
        "zsseg_d2.experiments": ["Snakefile"],
        "zsseg_d2.page": ["view.css", "view.js"],
        "zsseg_d2.modeling.clip": ["configs/*"],
        "zsseg_d2.evaluation.auto_vocabulary": ["relations.yaml"],
        **{name: ["*.yaml"] for name in mapped_packages()},
    },
)
