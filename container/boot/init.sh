#!/bin/sh
# The first program of the kernel that is booted to prove a cell's modules. What it finds it writes into the kernel's
# log, where it stands in order with what the kernel says; a word and its subject a line, and nothing is judged here.
#
# /foundry/plan sets LOAD (modules, in the order in which they are loaded) and NAMES (what the kernel calls them), each
# a list of words. /foundry/refused has modules that this kernel must not load.
set -u
PATH=/usr/sbin:/sbin:/usr/bin:/bin:/foundry/bin
export PATH

say() { echo "kmod-foundry: $*" > /dev/kmsg; }

# The lines of a command's output, each for itself: one write to the kernel's log is one message.
said() {
    say "code $1"
    while read -r text; do
        [ -z "$text" ] || say "text $text"
    done < /foundry/output
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2> /dev/null
mount -t securityfs security /sys/kernel/security 2> /dev/null

read -r release < /proc/sys/kernel/osrelease
say "kernel $release"
if read -r enforced < /sys/module/module/parameters/sig_enforce; then say "enforced $enforced"; fi 2> /dev/null
if read -r lockdown < /sys/kernel/security/lockdown; then say "lockdown $lockdown"; fi 2> /dev/null
# shellcheck source=/dev/null
. /foundry/plan

for file in /foundry/refused/*.ko; do
    [ -e "$file" ] || continue
    say "begin refuse ${file##*/}"
    insmod "$file" > /foundry/output 2>&1
    said "$?"
done

for time in first again; do
    backwards=
    for module in $LOAD; do
        backwards="$module $backwards"
        say "begin load-$time $module"
        modprobe -vd /opt "$module" > /foundry/output 2>&1
        said "$?"
    done
    for name in $NAMES; do
        state=missing
        [ ! -e "/sys/module/$name/initstate" ] || read -r state < "/sys/module/$name/initstate"
        say "begin live-$time $name"
        say "state $state"
    done
    for module in $backwards; do
        say "begin unload-$time $module"
        modprobe -rvd /opt "$module" > /foundry/output 2>&1
        said "$?"
    done
    for name in $NAMES; do
        state=gone
        [ ! -e "/sys/module/$name/initstate" ] || read -r state < "/sys/module/$name/initstate"
        say "begin gone-$time $name"
        say "state $state"
    done
done

say "tainted $(cat /proc/sys/kernel/tainted)"
say "end"
echo o > /proc/sysrq-trigger
while :; do :; done
