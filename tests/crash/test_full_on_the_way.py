"""Room that was there when it was looked for, and is somebody else's when the overlays are made: nothing is begun."""
import pytest

import crash_oracle as oracle
from crash_cases import AFTER
from crash_points import Pointed, Stopped
from crash_snapshot import HELPER, NAME
from support.mounts import ext4, fill


@pytest.fixture
def small(tmp_path):
    with ext4(tmp_path / "small") as folder:
        yield folder


def test_file_system_that_fills_up_before_the_overlays_are_made_leaves_all_as_it_was(machine, tmp_path, small):
    (tmp_path / "conf").write_text("[space]\nreserve = 0\n")
    words = ("snapshot", "vm", "--config", tmp_path / "conf", "--dir", small, NAME)
    with machine(disks=2) as made:
        pointed = Pointed(made.ctl, tmp_path)
        pointed.run(*words)
        point = next(point for point in pointed.effects() if point.name == HELPER)
    for path in small.iterdir():
        path.unlink()
    with machine(disks=2) as made:
        stopped = Stopped(made.ctl, words, point, AFTER, tmp_path)
        filler = fill(small)
        result = stopped.go_on()
        assert result.status == 1 and str(small) in result.json["error"]["message"], result
        assert "No space left" in result.json["error"]["message"]
        assert list(small.iterdir()) == [filler]
        assert made.ctl.ok("log", "vm")["operations"] == []
        filler.unlink()
        oracle.assert_settled(made, [])
        oracle.assert_goes_on(made, [])
