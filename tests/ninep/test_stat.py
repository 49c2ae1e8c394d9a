"""Stats, their packed forms, and what a Twstat or Tsetattr asks for."""

from __future__ import annotations

import stat as unix

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from jobd.ninep import interfaces as i
from jobd.ninep import messages as m
from jobd.ninep.interfaces import Qid, SetStat
from jobd.ninep.linux import changes_of_setattr, setattr_of_changes
from jobd.ninep.stat import (
    UNTOUCHED,
    Stat,
    device_number,
    ninep_mode,
    read_record,
    requested_changes,
    stat_of_changes,
    unix_mode,
)

_u32 = st.integers(0, 2**32 - 2)
_owner = st.none() | _u32 | st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
_changes = st.builds(
    SetStat,
    mode=st.none() | _u32,
    uid=_owner,
    gid=_owner,
    length=st.none() | st.integers(0, 2**64 - 2),
    atime=st.none() | _u32.map(float),
    mtime=st.none() | _u32.map(float),
    name=st.none() | st.text(st.characters(codec="utf-8"), min_size=1, max_size=9),
    muid=st.none() | st.just("someone"),
)
_linux_changes = st.builds(
    SetStat,
    mode=st.none() | st.integers(0, 0o777),
    uid=st.none() | _u32,
    gid=st.none() | _u32,
    length=st.none() | st.integers(0, 2**64 - 1),
    atime=st.none() | st.just(-1.0) | st.integers(0, 2**33).map(float),
    mtime=st.none() | st.just(-1.0) | st.integers(0, 2**20).map(lambda n: n / 4),
    name=st.none(),
    muid=st.none(),
)


class StatTests(SynchronousTestCase):
    def test_packed_once(self) -> None:
        """A stat keeps its packed forms, one for each dialect."""
        stat = Stat(Qid(0, 1, 2), 0o644, 5, "name")
        for extended in (False, True):
            self.assertIs(stat.record(extended), stat.record(extended))
        self.assertIs(stat.attributes(), stat.attributes())
        self.assertNotEqual(stat.record(False), stat.record(True))
        self.assertNotEqual(stat._replace(length=6).record(False), stat.record(False))

    def test_records(self) -> None:
        """Records follow each other in a directory, and each is read back."""
        stats = [
            Stat(Qid(0, n, n), n, n, "x" * n, atime=n, mtime=n, n_uid=1, n_gid=2, n_muid=3) for n in range(9)
        ]
        data = b"".join(stat.record(True) for stat in stats)
        position, read = 0, []
        while position < len(data):
            stat, position = read_record(data, position, len(data), True)
            read.append(stat)
        self.assertEqual(read, stats)

    def test_attributes(self) -> None:
        """9P2000.L gets what stat(2) tells: nanoseconds, blocks, the type of the file in its mode."""
        stat = Stat(Qid(0, 1, 2), 0o640, 1025, atime=1.5, mtime=2.25, ctime=3.0, n_uid=4, n_gid=5, nlink=6)
        reply = m.Rgetattr._make(m.LINUX.layouts[25].unpack(bytes(8) + stat.attributes(), 0, 153))
        expected = m.Rgetattr(
            0, Qid(0, 1, 2), 0o100640, 4, 5, 6, 0, 1025, 4096, 3,
            1, 500_000_000, 2, 250_000_000, 3, 0, 0, 0, 0, 0,
        )  # fmt: skip
        self.assertEqual(reply, expected)

    def test_modes(self) -> None:
        """Permissions of 9P and of Unix are each other's, for all types of files."""
        for ninep, mode in (
            (0o644, unix.S_IFREG | 0o644),
            (i.DMDIR | 0o755, unix.S_IFDIR | 0o755),
            (i.DMSYMLINK | 0o777, unix.S_IFLNK | 0o777),
            (i.DMNAMEDPIPE | 0o600, unix.S_IFIFO | 0o600),
            (i.DMSOCKET | 0o600, unix.S_IFSOCK | 0o600),
            (i.DMDEVICE | 0o600, unix.S_IFCHR | 0o600),
            (i.DMSETUID | i.DMSETGID | i.DMSETVTX | 0o111, unix.S_IFREG | 0o7111),
        ):
            self.assertEqual(unix_mode(ninep), mode)
            self.assertEqual(ninep_mode(mode), ninep)
        self.assertEqual(unix_mode(i.DMDEVICE | 0o600, "b 8 0"), unix.S_IFBLK | 0o600)
        self.assertEqual(ninep_mode(unix.S_IFBLK | 0o600), i.DMDEVICE | 0o600)

    def test_device_numbers(self) -> None:
        """A device's number is packed as the kernel packs it."""
        for extension, number in (
            ("c 1 3", 0x103),
            ("b 259 300", 0x11032C),
            ("", 0),
            ("c x 3", 0),
            ("c 1", 0),
        ):
            self.assertEqual(device_number(extension), number)


class ChangesTests(SynchronousTestCase):
    def test_untouched(self) -> None:
        """A stat of nothing but "don't touch" asks for nothing."""
        self.assertEqual(requested_changes(UNTOUCHED), SetStat())
        self.assertEqual(stat_of_changes(SetStat()), UNTOUCHED)

    @given(_changes)
    @settings(deadline=None)
    def test_wstat(self, changes: SetStat) -> None:
        """What is asked for by a Twstat of 9P2000.u arrives."""
        frame = m.encode(1, m.Twstat(1, stat_of_changes(changes)), m.UNIX)
        self.assertEqual(requested_changes(m.decode(frame, m.UNIX).message.stat), changes)

    @given(_linux_changes)
    @settings(deadline=None)
    def test_setattr(self, changes: SetStat) -> None:
        """What is asked for by a Tsetattr arrives."""
        self.assertEqual(changes_of_setattr(*setattr_of_changes(changes)), changes)
