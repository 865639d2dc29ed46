"""A machine that loses its power keeps what was promised: what is synced, and in which order, seen from the kernel."""
import pytest

import crash_durability as durability
from crash_snapshot import running


@pytest.mark.parametrize("disks, syncs", [(1, 5), (2, 6)])
def test_snapshot_syncs_each_thing_before_what_depends_on_it(machine, disks, syncs):
    with machine(disks=disks) as made:
        seen = durability.trace(made, running(disks).verb.words)
    assert seen == durability.expected(disks)
    assert len([word for word in seen if word.startswith("sync")]) == syncs
