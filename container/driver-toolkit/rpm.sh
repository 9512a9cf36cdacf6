#!/bin/sh
# The steps of Containerfile.rpm: toolchain | kernel KERNEL RT_KERNEL | release KERNEL RT_KERNEL
# RT_KERNEL is KERNEL+rt, or a pattern: up to RHEL 9.2 the real-time packages have a version of their own.
# Environment: RELEASE (of the distribution, for $releasever; may be empty), REPOSITORIES (words: an id of the base's
# own repositories, or id|url|key with `none` for packages without signatures), TOOLS, KERNEL_PACKAGES, RT_PACKAGES.
# A fault that has a name is said as `driver-toolkit: <name>: <sentence>`.
set -eu
export LC_ALL=C

own_repositories=/etc/yum.repos.d/driver-toolkit.repo
secrets=/run/secrets
links='/etc/rhsm-host /etc/pki/entitlement-host'
kept=/tmp/kept-links

fail() {
    echo "driver-toolkit: $1: $2" >&2
    exit 3
}

# dnf with our repositories. A repository that can't be had is an error, never an empty one.
packages() {
    set -- --assumeyes --setopt=install_weak_deps=False --setopt=tsflags=nodocs --setopt=retries=3 \
        --setopt=skip_if_unavailable=False ${RELEASE:+"--releasever=$RELEASE"} "$@"
    for repository in ${REPOSITORIES:-}; do
        set -- "--enablerepo=${repository%%|*}" "$@"
    done
    dnf "$@"
}

repositories() {
    for repository in ${REPOSITORIES:-}; do
        case $repository in
        *'|'*'|'*)
            rest=${repository#*|}
            key=${rest#*|}
            mkdir -p "${own_repositories%/*}"
            printf '[%s]\nname=%s\nbaseurl=%s\nenabled=0\n' "${repository%%|*}" "${repository%%|*}" "${rest%%|*}"
            if [ "$key" = none ]; then
                printf 'gpgcheck=0\n'
            else
                printf 'gpgcheck=1\ngpgkey=%s\n' "$key"
            fi
            ;;
        esac
    done > /tmp/driver-toolkit.repo
    [ ! -s /tmp/driver-toolkit.repo ] || cp /tmp/driver-toolkit.repo "$own_repositories"
}

# Where there are secrets, the system is registered for as long as packages are installed, and no longer. The program
# is Python: what it takes for its arguments is in no process's argument list, and what it says is shown without them.
subscribe() {
    [ -s "$secrets/rhsm_org" ] || return 0
    program=$(command -v subscription-manager) || fail rhsm-missing "the base image has no subscription-manager"
    interpreter=$(sed -n '1s/^#! *\([^ ]*\).*/\1/p' "$program")
    mkdir -p "$kept"
    for link in $links; do # with these it believes that the host is registered
        [ ! -L "$link" ] || cp -P "$link" "$kept/"
        rm -f "$link"
    done
    trap unsubscribe EXIT
    "$interpreter" - "$program" "$secrets" <<'END' || fail rhsm-refused "the subscription manager does not register us"
import contextlib, io, runpy, sys
program, folder = sys.argv[1:]
said = [open(folder + "/" + name).read().strip() for name in ("rhsm_org", "rhsm_activationkey")]
sys.argv = [program, "register", "--org=" + said[0], "--activationkey=" + said[1]]
out, code = io.StringIO(), 0
try:
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        runpy.run_path(program, run_name="__main__")
except SystemExit as error:
    code = error.code if isinstance(error.code, int) else int(error.code is not None)
    out.write(error.code if isinstance(error.code, str) else "")
except BaseException as error:
    out.write(repr(error))
    code = 1
text = out.getvalue()
for secret in said:
    text = text.replace(secret, "***") if secret else text
print(text.strip())
sys.exit(code)
END
}

unsubscribe() {
    status=$?
    trap - EXIT
    subscription-manager unregister > /dev/null 2>&1 || echo "driver-toolkit: the system could not be unregistered" >&2
    subscription-manager clean > /dev/null 2>&1 || :
    rm -rf /etc/pki/consumer /etc/pki/entitlement /var/lib/rhsm /var/log/rhsm /etc/yum.repos.d/redhat.repo
    for link in $links; do
        [ ! -L "$kept/${link##*/}" ] || cp -P "$kept/${link##*/}" "$link"
    done
    rm -rf "$kept"
    clean
    return "$status"
}

# Nothing that is only of use while packages are installed, and nothing that differs from build to build.
clean() {
    rm -rf /var/cache/dnf /var/cache/libdnf5 /var/lib/dnf /var/log/dnf* /var/log/hawkey.log /var/cache/ldconfig/aux-cache \
        "$own_repositories" /tmp/driver-toolkit.*
}

# The versions of a package that the repositories have, the oldest first.
offered() {
    packages --quiet repoquery --available --queryformat '%{version}-%{release}.%{arch}\n' "$1" > /tmp/driver-toolkit.list \
        || fail repositories-unreachable "the package repositories can't be asked for $1"
    grep . /tmp/driver-toolkit.list | sort -u -V || :
}

# The compiler that compiled the kernel, as its configuration tells; else the version alone; else the base's own.
install_compiler() {
    config=/lib/modules/$1/config
    text=$(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"$/\1/p' "$config")
    version=$(echo "$text" | grep -o '[0-9][0-9]*\.[0-9][0-9]*\.[0-9][0-9]*' | head -1 || :)
    if [ -z "$version" ]; then
        version=$(sed -n 's/^CONFIG_GCC_VERSION=0*\([0-9]*\)\([0-9][0-9]\)\([0-9][0-9]\)$/\1 \2 \3/p' "$config" \
            | awk '{ printf "%d.%d.%d", $1, $2, $3 }')
    fi
    built=$(echo "$text" | sed -n "s/.*(Red Hat \($version-[0-9.]*\)).*/\1/p")
    for wanted in ${built:+"gcc-$built.*"} ${version:+"gcc-$version-*"}; do
        has=$(offered "$wanted") || exit 3
        if [ -n "$has" ]; then
            packages install "$wanted"
            return
        fi
    done
    echo "driver-toolkit: gcc ${version:-of an unknown version} is not to be had; the base's is taken"
    packages install gcc
}

case $1 in
toolchain)
    repositories
    subscribe
    packages --quiet makecache || fail repositories-unreachable "the package repositories can't be had"
    # shellcheck disable=SC2086 # a list of words
    packages install $TOOLS || fail packages-missing "the tools can't be installed"
    clean
    ;;
kernel)
    kernel=$2 rt_kernel=$3 arch=$(uname -m)
    release=${kernel%."$arch"}
    [ "$release" != "$kernel" ] || fail kernel-foreign "kernel $kernel is not one for $arch"
    repositories
    subscribe
    has=$(offered kernel-core)
    echo "$has" | grep -qxF "$kernel" || fail kernel-missing \
        "the repositories have no kernel $kernel; the newest that they have: $(echo "$has" | tail -8 | tr '\n' ' ')"
    wanted=
    for name in $KERNEL_PACKAGES; do
        wanted="$wanted $name-$release"
    done
    # shellcheck disable=SC2086 # a list of words
    packages install $wanted || fail packages-missing "the packages of kernel $kernel can't be installed"
    has=
    found=
    [ -z "$rt_kernel" ] || has=$(offered kernel-rt-core) || exit 3
    for version in $has; do
        # shellcheck disable=SC2254 # a pattern; the packages of `KERNEL+rt` have the kernel's version
        case $version in ${rt_kernel%+rt}) found=${version%."$arch"} ;; esac
    done
    if [ -n "$found" ]; then
        wanted=
        for name in $RT_PACKAGES; do
            wanted="$wanted $name-$found"
        done
        # shellcheck disable=SC2086 # a list of words
        packages install $wanted || fail packages-missing "the packages of the real-time kernel $found can't be installed"
    fi
    install_compiler "$kernel"
    clean
    ;;
release)
    kernel=$2 rt_kernel=$3
    installed=$(rpm -q --queryformat '%{VERSION}-%{RELEASE}.%{ARCH}' kernel-core)
    [ "$installed" = "$kernel" ] || fail kernel-missing "kernel-core is that of $installed, not of $kernel"
    there=
    for folder in /lib/modules/${rt_kernel:-none}; do
        [ ! -d "$folder" ] || there=${folder##*/}
    done
    rhel=$(echo "$kernel" | sed -n 's/.*\.el\([0-9][0-9]*\)_\([0-9][0-9]*\)[.+].*/\1.\2/p; s/.*\.el\([0-9][0-9]*\)\..*/\1/p')
    printf '{"KERNEL_VERSION": "%s", "RT_KERNEL_VERSION": "%s", "RHEL_VERSION": "%s"}\n' \
        "$kernel" "$there" "$rhel" > /etc/driver-toolkit-release.json
    ;;
*)
    echo "driver-toolkit: toolchain | kernel KERNEL RT_KERNEL | release KERNEL RT_KERNEL" >&2
    exit 2
    ;;
esac
