#!/bin/sh
# host PROGRAM [ARGUMENT...]: a program of the machine that the guest runs on, with its own libraries; it
# sees the 9P mount at /mnt too.
exec chroot /host /usr/bin/env PATH=/usr/local/bin:/usr/bin:/bin "$@"
