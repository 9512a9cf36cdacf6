#!/bin/sh
# What KMM's worker does in its container: `load` or `unload` what /etc/kmm-worker/config says, which sets KMM_DIRECTORY,
# KMM_MODULE, KMM_ORDER, KMM_FIRMWARE and KMM_REMOVE; /tmp has what was copied out of the image.
set -eu
host=/var/lib/firmware # where OpenShift's KMM has nodes find firmware
# shellcheck source=/dev/null
. /etc/kmm-worker/config

load() {
    [ -z "$KMM_FIRMWARE" ] || printf %s "$host" > /sys/module/firmware_class/parameters/path
    remove=
    for name in $KMM_REMOVE; do
        [ -z "$(find /lib/modules ! -type d -name "$name.ko*")" ] || remove="$remove $name"
    done
    # shellcheck disable=SC2086 # a list of words
    [ -z "$remove" ] || modprobe -rv $remove
    [ -z "$KMM_FIRMWARE" ] || cp -R "/tmp$KMM_FIRMWARE/." "$host"
    modprobe -vd "/tmp$KMM_DIRECTORY" "$KMM_MODULE"
}

unload() {
    # shellcheck disable=SC2086 # a list of words
    modprobe -rvd "/tmp$KMM_DIRECTORY" ${KMM_ORDER:-$KMM_MODULE}
    [ -z "$KMM_FIRMWARE" ] || (cd "/tmp$KMM_FIRMWARE" && find . ! -type d) | while read -r file; do
        rm "$host/$file"
    done
}

"$1"
