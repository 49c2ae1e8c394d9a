"""A jobd with so many MB of heap and so many open files more: `python ballast.py HEAP FILES OPTION...`."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from jobd.__main__ import main

heap = bytearray(os.urandom(1 << 20) * int(sys.argv[1]))
files = [os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[2]))]
main(sys.argv[3:])
