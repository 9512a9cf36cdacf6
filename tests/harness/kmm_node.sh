#!/bin/sh
# The first program of a node in a play: takes one step of /play after the other, and writes into the kernel's log what
# came of it. `load POD` and `unload POD` run KMM's worker, in a root of its own (/worker) with that pod's volumes, the
# node's /lib/modules and its firmware; `modprobe MODULE` is the node's own.
set -u

say() { echo "kmm: $*" > /dev/kmsg; }

# A pod's folder where its worker has it.
volume() { mount -o bind "/pods/$1" "/worker/$2" && mount -o remount,bind,ro "/worker/$2"; }

worker() {
    volume "$2/tmp" tmp
    volume "$2/config" etc/kmm-worker
    [ "$1" = unload ] || volume "$2/modprobe.d" etc/modprobe.d
    chroot /worker /bin/sh /kmm_worker.sh "$1"
    code=$?
    umount /worker/tmp /worker/etc/kmm-worker
    [ "$1" = unload ] || umount /worker/etc/modprobe.d
    return "$code"
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for place in proc sys dev lib/modules var/lib/firmware; do mount -o bind "/$place" "/worker/$place"; done
mount -o remount,bind,ro /worker/lib/modules
export PATH=/usr/sbin:/sbin:/usr/bin:/bin:/busybox

while read -r step name; do
    say "step $step $name"
    case $step in
        modprobe) chroot /worker modprobe -v "$name" > /output 2>&1 ;;
        *) worker "$step" "$name" > /output 2>&1 ;;
    esac
    say "code $?"
    while read -r text; do say "text $text"; done < /output
    while read -r module rest; do
        version=-
        [ ! -e "/sys/module/$module/version" ] || read -r version < "/sys/module/$module/version"
        say "module $module $version $rest"
    done < /proc/modules
    find /var/lib/firmware -type f | while read -r file; do say "firmware ${file#/var/lib/firmware/}"; done
done < /play
say "end"
echo o > /proc/sysrq-trigger
while :; do :; done
