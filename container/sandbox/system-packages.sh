#!/bin/sh
# Installs the Debian or Ubuntu packages that the sandbox needs and that are missing; with `tests`, also a browser.
# With root or sudo it installs them and says so; without, it prints the one line to run and fails.
# Fedora and RHEL: see README.md; this script then only says what is missing.
set -eu

case $(uname -m) in
    x86_64) qemu="qemu-system-x86" firmware="ovmf" variables="/usr/share/OVMF/OVMF_VARS_4M.fd" ;;
    *) qemu="qemu-system-arm" firmware="qemu-efi-aarch64" variables="/usr/share/AAVMF/AAVMF_VARS.fd" ;;
esac
# command that shows that a package is there -> package
wanted="
podman:podman
runc:runc
newuidmap:uidmap
gpg:gpg
gpg-agent:gpg-agent
gpgconf:gpgconf
gpgv:gpgv
docker-registry:docker-registry
rpmbuild:rpm
rpmsign:rpm
createrepo_c:createrepo-c
mmdebstrap:mmdebstrap
skopeo:skopeo
softhsm2-util:softhsm2
qemu-system-$(uname -m):$qemu
cpio:cpio
gcc:gcc
git:git
make:make
modinfo:kmod
openssl:openssl
patch:patch
pkcs11-tool:opensc
sbsign:sbsigntool
zsh:zsh
"

missing=""
for pair in $wanted; do
    command=${pair%%:*}
    package=${pair#*:}
    if ! PATH="$PATH:/usr/sbin:/sbin" command -v "$command" > /dev/null 2>&1; then
        case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac
    fi
done
if ! python3 -c 'import ensurepip, venv' > /dev/null 2>&1; then
    missing="$missing python3-venv"
fi
if [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    missing="$missing debian-archive-keyring"
fi
if [ ! -e "$variables" ]; then
    missing="$missing $firmware"
fi
if [ "${1:-}" = tests ]; then
    command -v chromium > /dev/null 2>&1 || command -v google-chrome > /dev/null 2>&1 || missing="$missing chromium"
    command -v chromedriver > /dev/null 2>&1 || missing="$missing chromium-driver"
fi
missing=${missing# }
[ -n "$missing" ] || exit 0

if ! command -v apt-get > /dev/null 2>&1; then
    echo "missing on this machine: $missing" >&2
    echo "apt-get is not here; install the like of these packages and run again" >&2
    exit 3
fi
sudo=""
if [ "$(id -u)" -ne 0 ]; then
    # without a terminal, only a sudo that asks no password
    if command -v sudo > /dev/null 2>&1 && { [ -t 0 ] || sudo -n true 2> /dev/null; }; then
        sudo="sudo"
    else
        echo "missing on this machine: $missing" >&2
        echo "run: sudo apt-get install --no-install-recommends $missing" >&2
        exit 3
    fi
fi

echo "installing missing packages: $missing"
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get -qq update
# shellcheck disable=SC2086 # a list of words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing > /dev/null
case " $missing " in
    *" docker-registry "*)
        # The package starts a system service on port 5000; the sandbox runs a registry of its own.
        if command -v systemctl > /dev/null 2>&1 && systemctl is-active --quiet docker-registry; then
            $sudo systemctl disable --now docker-registry
        fi ;;
esac
