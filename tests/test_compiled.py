"""C sources compiled where they run, and kept."""

from __future__ import annotations

import io
import os
import shutil
import subprocess

import pytest

from m3eda.caching import cache_command
from m3eda.simulate.compiled import library

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("M3EDA_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }")
    return path


def kept(tmp_path):
    [found] = (tmp_path / "cache" / "kernels").iterdir()
    return found


def test_a_library_is_compiled_once(source, tmp_path, monkeypatch):
    assert library(source, ()).seven() == 7
    before = kept(tmp_path).stat().st_ino
    monkeypatch.setattr("m3eda.simulate.compiled._compile", None)
    assert library(source, ()).seven() == 7
    assert kept(tmp_path).stat().st_ino == before


@pytest.mark.parametrize("fault", ["of others", "a link", "damaged"])
def test_a_library_that_another_may_have_put_there_is_not_loaded(source, tmp_path, fault):
    library(source, ())
    place = kept(tmp_path)
    other = tmp_path / "other.c"
    other.write_text("int seven(void) { return 666; }")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", tmp_path / "other.so", other], check=True, timeout=60
    )
    place.unlink()
    if fault == "a link":
        place.symlink_to(tmp_path / "other.so")
    elif fault == "of others":
        shutil.copy(tmp_path / "other.so", place)
        place.chmod(0o777)
    else:
        place.write_bytes(b"damaged")
    assert library(source, ()).seven() == 7


def test_a_wide_umask_does_not_have_it_compiled_each_time(source, tmp_path):
    mask = os.umask(0)
    try:
        library(source, ())
    finally:
        os.umask(mask)
    assert kept(tmp_path).stat().st_mode & 0o777 == 0o755


def test_clearing_the_cache_drops_it(source, tmp_path):
    library(source, ())
    cache_command(io.StringIO(), clear=True)
    assert not (tmp_path / "cache" / "kernels").exists()
