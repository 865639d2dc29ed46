"""What the tests of the command line share: a VM of two disks that is registered, and documents that are held to a shape."""
import pathlib
import tempfile

import pytest

from support import images
from support.chainctl import Chainctl
from support.qemu import Qemu

from cli_vm import RegisteredVm, disk_words


@pytest.fixture
def image_folder(tmp_path):
    """Where the images of the test's VM are; nothing else is in it."""
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


@pytest.fixture
def vm(qemu, chainctl, image_folder):
    """A paused QEMU with the disks vda (qcow2) and vdb (raw), registered as `vm1`."""
    paths = {"vda": image_folder / "vda.qcow2", "vdb": image_folder / "vdb.raw"}
    images.create(paths["vda"], "64M")
    images.create(paths["vdb"], "32M", "raw")
    made = qemu(disk_words(paths))
    registered = RegisteredVm("vm1", made, chainctl(), paths)
    registered.chainctl.ok("vm", "add", "vm1", "--qmp", made.qmp)
    return registered


@pytest.fixture(scope="module")
def shared_vm(tmp_path_factory):
    """As `vm`, but one for all tests of a file: for those that prove, or do not care, that nothing changes."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "images").mkdir()
    paths = {"vda": folder / "images/vda.qcow2", "vdb": folder / "images/vdb.raw"}
    images.create(paths["vda"], "64M")
    images.create(paths["vdb"], "32M", "raw")
    with Qemu(disk_words(paths)) as made:
        registered = RegisteredVm("vm1", made, Chainctl(folder / "state"), paths)
        registered.chainctl.ok("vm", "add", "vm1", "--qmp", made.qmp)
        registered.chainctl.ok("snapshot", "vm1", "shared")
        yield registered


@pytest.fixture
def running_vm(qemu, chainctl, image_folder):
    """A QEMU that runs, with the disk vda, not yet registered: for what needs an agent."""
    paths = {"vda": images.create(image_folder / "vda.qcow2", "64M")}
    return RegisteredVm("vm1", qemu(disk_words(paths), paused=False), chainctl(), paths)


@pytest.fixture
def open_folder():
    """A folder that every user can reach, for tests that give up root."""
    with tempfile.TemporaryDirectory(prefix="chainctl-open-") as made:
        folder = pathlib.Path(made)
        folder.chmod(0o755)
        yield folder
