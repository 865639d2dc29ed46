"""A storage daemon's exports copied and moved to their copies, while clients go on to write."""
import pytest
from test_storage_daemon import add, daemon, golden, problems, web  # noqa: F401: fixtures

from support.mirrors import assert_copied


@pytest.fixture
def copies(tmp_path):
    (tmp_path / "copies").mkdir()
    return tmp_path / "copies"


@pytest.mark.parametrize("goal", ["--finish", "--pivot"])
def test_exports_are_copied_and_go_on(chainctl, web, folder, copies, goal):  # noqa: F811
    ctl = chainctl()
    add(ctl, web)
    web.qemu_io("web", "write -P 1 1M 64k")
    done = ctl.ok("mirror", "q", "--to", copies, goal)
    before = {"web": folder / "web.qcow2", "data": folder / "data.raw"}
    for name, path in before.items():
        assert_copied(path, copies / f"{name}.qcow2")
        active = ctl.ok("path", "q", name)["path"]
        assert active == str(copies / f"{name}.qcow2" if goal == "--pivot" else path)
    assert {mirror["state"] for mirror in done["mirrors"]} == {"pivoted" if goal == "--pivot" else "finished"}
    web.qemu_io("web", "read -P 1 1M 64k", "write -P 2 2M 64k", "read -P 2 2M 64k", "read -P 9 0 64k")
    assert problems(ctl) == []
    ctl.ok("snapshot", "q", "next")
    assert problems(ctl) == []
