"""What an image is made of: the lock of the second stack, its Beam's boot, and no more."""

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ncs4cvr.pipeline import secrets

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
#: Python of Debian 13, which the environment is made with.
PYTHON = "3.13"


def locked(name: str) -> dict[str, str]:
    """Per package, its version in a lock file on Linux with PYTHON."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    needs = [Requirement(line.removesuffix(" \\")) for line in lines if re.match(r"\w\S*==", line)]
    here = {"python_full_version": f"{PYTHON}.5", "python_version": PYTHON}
    assert needs
    return {
        need.name: str(need.specifier).removeprefix("==")
        for need in needs
        if not need.marker or need.marker.evaluate(here)
    }


@pytest.fixture(scope="module")
def image():
    return locked("image.txt")


@pytest.fixture(scope="module")
def tested():
    return locked("tfx-1.21.txt")


def test_beams_boot_is_of_the_locked_beam_and_of_the_same_python(image):
    assert f"--from=apache/beam_python{PYTHON}_sdk:{image['apache-beam']} " in DOCKERFILE


def test_the_image_holds_the_tested_versions(image, tested):
    beside = {"pip": image["pip"], "tensorflow-cpu": tested["tensorflow"]}
    assert image == {name: tested.get(name) for name in image} | beside


def test_nothing_of_tests_and_benchmarks_is_in_the_image(image):
    assert not image.keys() & {"hypothesis", "lightgbm", "mypy", "pytest", "ruff", "tensorflow"}


@pytest.mark.parametrize("lock", ["image.txt", "tfx-1.21.txt", "kubeflow.txt"])
def test_every_locked_package_has_a_hash(lock):
    text = (ROOT / "requirements" / lock).read_text()
    blocks = re.split(r"\n(?=\w)", text)
    assert all("--hash=sha256:" in block for block in blocks)


def test_the_build_sees_all_that_the_wheel_is_made_of():
    sources = {"setup.py", "pyproject.toml", "README.md", "LICENSE", "requirements"}
    sources |= {"schemas", "models", "components", "pipeline"}
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines.index("*") < min(lines.index(f"!{source}") for source in sources)
    assert {line[1:] for line in lines if line.startswith("!")} == sources


def test_the_image_does_not_run_as_root():
    (user,) = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.M)
    assert int(user) > 0
    assert DOCKERFILE.index("USER") > DOCKERFILE.rindex("RUN")


def test_a_container_without_a_command_starts_beams_boot():
    assert DOCKERFILE.rstrip().endswith('ENTRYPOINT ["/opt/apache/beam/boot"]')


def test_a_command_is_missing_though_a_function_has_its_name():
    # image-in-trixie calls buildah by a function `buildah` of its own.
    script = ". tests/compat/trixie.sh; name=image; not-there() { :; }; needs sh not-there; echo on"
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "image: skipped: needs not-there (apt-get install not-there)\n"


def test_the_documented_command_hands_on_the_secrets_that_commands_read():
    text = (ROOT / "docs/production.md").read_text()
    (alias,) = re.findall(r"^alias ncs4cvr='(.*?)'$", text, re.DOTALL | re.MULTILINE)
    # By name alone: docker takes the value from its own environment, and `ps` shows none.
    assert set(secrets.VARIABLES) <= set(re.findall(r"--env (\w+)(?=\s)", alias))
