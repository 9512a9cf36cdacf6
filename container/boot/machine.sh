#!/bin/sh
# Gives a Debian or Ubuntu machine what boots of kernels need (docs/boot.md): QEMU, UEFI firmware, sbsign, and /dev/kvm
# for this user. What is there is left alone. KVM only saves time: where it can't be had, nothing fails.
set -eu

case $(uname -m) in
    x86_64) qemu="qemu-system-x86" firmware="ovmf" variables="/usr/share/OVMF/OVMF_VARS_4M.fd" ;;
    *) qemu="qemu-system-arm" firmware="qemu-efi-aarch64" variables="/usr/share/AAVMF/AAVMF_VARS.fd" ;;
esac
missing=""
command -v "qemu-system-$(uname -m)" > /dev/null 2>&1 || missing="$missing $qemu"
[ -e "$variables" ] || missing="$missing $firmware"
command -v sbsign > /dev/null 2>&1 || missing="$missing sbsigntool"

sudo=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo > /dev/null 2>&1 && sudo -n true 2> /dev/null; then
        sudo="sudo"
    elif [ -n "$missing" ]; then
        echo "missing on this machine:$missing" >&2
        echo "run: sudo apt-get install --no-install-recommends$missing" >&2
        exit 3
    fi
fi
if [ -n "$missing" ]; then
    echo "installing missing packages:$missing"
    $sudo apt-get -qq update
    # shellcheck disable=SC2086 # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing > /dev/null
fi
# As GitHub documents it for its runners: everybody on this machine may use KVM.
if [ -e /dev/kvm ] && [ ! -w /dev/kvm ] && [ -n "$sudo" ] && command -v udevadm > /dev/null 2>&1; then
    echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' |
        $sudo tee /etc/udev/rules.d/99-kvm4all.rules > /dev/null
    $sudo udevadm control --reload-rules || true
    $sudo udevadm trigger --name-match=kvm || true
fi
