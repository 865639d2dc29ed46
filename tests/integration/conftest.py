"""Fixtures that most of these tests begin with; a test file that needs another machine defines its own `vm`."""

import pytest

from support import disks


@pytest.fixture
def folder(tmp_path):
    """Where the images are; the database lies beside it."""
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


@pytest.fixture
def vm(qemu, folder):
    """A QEMU with vda.qcow2 and vdb.qcow2."""
    return qemu(disks.two(folder)[0])
