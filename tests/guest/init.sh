#!/bin/sh
# The guest's first process: mounts what there is to mount, runs /run/script, leaves its output and its
# exit status in /run, which is a directory of the host, and switches the guest off.
# The kernel hands its unknown parameters on as variables: $run, $server, $port, $options.
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t hostfs -o "$run" run /run
mount -t hostfs -o / host /host
exec </dev/null >/run/stdout 2>/run/stderr
for module in netfs fscache 9pnet 9pnet_fd 9p; do
    insmod /modules/$module.ko
done
ifconfig lo 127.0.0.1 up
ifconfig vec0 10.0.2.15 netmask 255.255.255.0 up
if mount -t 9p -o "trans=tcp,port=$port${options:+,$options}" "$server" /mnt; then
    mount --bind /mnt /host/mnt
    cd /mnt
    setsid sh /run/script
    echo $? >/run/status
else
    dmesg | grep 9p >&2
    echo 32 >/run/status
fi
poweroff -f
