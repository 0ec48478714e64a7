"""The lock files: every package by its hash, and none that has another is installed."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_package_is_pinned_to_one_version_and_its_hashes(lock):
    entries = re.sub(r"\\\n", " ", lock.read_text()).splitlines()
    packages = [line for line in entries if line and not line.startswith("#")]
    assert packages
    for line in packages:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line


def test_the_bill_of_materials_covers_every_lock_file_of_an_environment():
    (named,) = re.findall(r"for lock in (.*?); do", (ROOT / "Makefile").read_text())
    assert set(named.split()) | {"uv"} == {lock.stem for lock in LOCKS}


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose lock names one package, and a folder that has it."""
    uv = shutil.which("uv") or Path(sys.prefix).parent / ".uv/bin/uv"
    if not Path(uv).exists():
        pytest.skip("no uv; `make env` gets it")
    wheel = tmp_path / "wheels/demo-1-py3-none-any.whl"
    wheel.parent.mkdir()
    about = "demo-1.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("demo.py", "")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: demo\nVersion: 1\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    scripts = tmp_path / "requirements"
    scripts.mkdir()
    shutil.copy(ROOT / "requirements/setup.sh", scripts)
    (tmp_path / "setup.py").touch()
    return tmp_path, wheel, Path(uv)


def set_up(checkout, digest):
    """Runs the real set-up with this hash in the lock; what it says."""
    folder, wheel, uv = checkout
    for stack in ("1.16", "1.21"):
        (folder / f"requirements/tfx-{stack}.txt").write_text(f"demo==1 --hash=sha256:{digest}\n")
    offline = {"UV_NO_INDEX": "1", "UV_FIND_LINKS": str(wheel.parent), "UV_OFFLINE": "1"}
    path = f"{uv.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(folder / "requirements/setup.sh")],
        env={**os.environ, **offline, "PATH": path}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    return done.stderr


def test_a_package_with_the_hash_of_the_lock_is_installed(checkout):
    told = set_up(checkout, hashlib.sha256(checkout[1].read_bytes()).hexdigest())
    assert "installing ncs4cvr itself" in told, told


def test_a_package_with_another_hash_ends_the_set_up(checkout):
    told = set_up(checkout, "0" * 64)
    assert "Hash mismatch for `demo==1`" in told, told
    assert "installing ncs4cvr itself" not in told
    assert not list(checkout[0].glob(".venv/lib/*/site-packages/demo.py"))
