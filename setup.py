"""Metadata of the project; the lock files in requirements/ are compiled from it."""

from pathlib import Path

from setuptools import setup

# The folders of the checkout are installed as one top-level package: two wheels that both
# ship a bare `models/` or `pipeline/` would overwrite each other silently.
PACKAGE_DIR = {
    "ncs4cvr.schemas": "schemas",
    "ncs4cvr.models": "models",
    "ncs4cvr.models.days": "models/days",
    "ncs4cvr.models.evaluation": "models/evaluation",
    "ncs4cvr.models.layers": "models/layers",
    "ncs4cvr.models.learning": "models/learning",
    "ncs4cvr.models.packed": "models/packed",
    "ncs4cvr.models.pruning": "models/pruning",
    "ncs4cvr.models.serving": "models/serving",
    "ncs4cvr.models.together": "models/together",
    "ncs4cvr.components": "components",
    "ncs4cvr.components.log": "components/log",
    "ncs4cvr.pipeline": "pipeline",
    "ncs4cvr.pipeline.commands": "pipeline/commands",
    "ncs4cvr.pipeline.init": "pipeline/init",
    "ncs4cvr.pipeline.kit": "pipeline/kit",
    "ncs4cvr.pipeline.kubeflow": "pipeline/kubeflow",
    "ncs4cvr.pipeline.recipes": "pipeline/recipes",
    "ncs4cvr.pipeline.report": "pipeline/report",
    "ncs4cvr.pipeline.run": "pipeline/run",
    "ncs4cvr.pipeline.serving": "pipeline/serving",
}

README = Path(__file__).with_name("README.md")

setup(
    name="ncs4cvr",
    version="0.1.0",
    description="TFX pipeline for multi-task CTR and CVR models with per-task lottery tickets",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=list(PACKAGE_DIR),
    package_dir=PACKAGE_DIR,
    package_data={
        **{package: ["py.typed"] for package in PACKAGE_DIR},
        "ncs4cvr.pipeline.kit": ["py.typed", "*.md", "*.sh", "*.yaml"],
        "ncs4cvr.pipeline.report": ["py.typed", "*.css"],
        "ncs4cvr.schemas": ["py.typed", "*.pbtxt"],
    },
    zip_safe=False,
    # Each range spans both supported stacks: TFX 1.16 with TensorFlow 2.16, and 1.21 with 2.21.
    install_requires=[
        "apache-beam>=2.47",
        "dill",  # tfx-bsl imports it without naming it, and newer Beam no longer brings it
        "grpcio>=1.60",
        "matplotlib>=3.7",
        "ml-dtypes>=0.3",
        "numpy>=1.22",
        "pyarrow>=10",
        "pyyaml>=6",
        "scikit-learn>=1.3",
        "tensorflow>=2.16,<2.22",
        "tensorflow-model-optimization>=0.8",
        "tensorflow-recommenders>=0.7.3",
        "tensorflow-serving-api>=2.16,<2.22",
        "tf-keras>=2.16,<2.22",
        "tfx>=1.16,<1.22",
        "tqdm>=4.60",
    ],
    extras_require={
        "bench": ["lightgbm>=4"],
        # In an environment of its own (requirements/kubeflow.txt): TFX 1.16 needs protobuf 3.
        "kubeflow": ["kfp>=2.14,<3"],
        "test": ["hypothesis>=6.100", "pytest>=8", "pytest-xdist>=3.6"],
        "dev": ["mypy>=1.10", "ruff>=0.9"],
    },
    entry_points={"console_scripts": ["ncs4cvr = ncs4cvr.pipeline.cli:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Typing :: Typed",
    ],
)
