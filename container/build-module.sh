#!/bin/sh
# Makes a driver's modules inside a toolkit image, without network and without rights, in two containers or three.
#
# `compile [NAME=VALUE...] make ARGUMENT...`: the driver's own code runs, with these in its environment; what it leaves
#   is looked at before anything is believed.
#   Mounted: /foundry/src (the cell's patched copy, read-only), /foundry/work (empty).
#   Environment: KERNEL, JOBS, PRE_BUILD (a program of the package with its arguments, run before; may be missing).
# `finish`: nothing of the driver runs; strips the modules, makes depmod's files.
#   Mounted: /foundry/modules (the modules, read-only), /foundry/out (empty).
#   Environment: KERNEL, STRIP (debug|none), MODULES (their names; with a colon the folder below /lib/modules/KERNEL that
#   one goes to), LOADING_ORDER (names of modules, first to last; may be missing).
#   Leaves in /foundry/out: modules/<name>, depmod/<depmod's files>, compiler, signature_hash.
# `link`: for modules that need some of the kernel's own; depmod's files are made anew and know these, below `host`.
#   Mounted and in the environment: as for `finish`, whose /foundry/out is there; IN_TREE (names of these modules).
#   Leaves in /foundry/out what `finish` does, and missing: a line for each module that this toolkit does not have.
# shellcheck disable=SC2153  # KERNEL, JOBS and the like are the container's environment
set -eu

kernel_build=/lib/modules/$KERNEL/build

compile() {
    # Makefiles have variables of the same names: nothing of ours is in their environment, as with DKMS.
    kernel=$KERNEL jobs=$JOBS pre_build=${PRE_BUILD:-}
    unset KERNEL JOBS PRE_BUILD CC CXX CFLAGS CXXFLAGS LDFLAGS
    tree=/usr/src/kernels/$kernel
    if [ ! -e "$kernel_build/Makefile" ] && [ -e "$tree/Makefile" ]; then
        # The toolkit lacks the link to the build tree. Who may not make it names the tree itself.
        if ! { mkdir -p "/lib/modules/$kernel" && ln -sfn "$tree" "$kernel_build"; } 2> /dev/null; then
            for argument do
                shift
                case $argument in *"$kernel_build"*)
                    argument=${argument%%"$kernel_build"*}$tree${argument#*"$kernel_build"} ;;
                esac
                set -- "$@" "$argument"
            done
            kernel_build=$tree
        fi
    fi
    if [ ! -e "$kernel_build/Makefile" ]; then
        echo "foundry: this toolkit has no build tree for kernel $kernel" >&2
        exit 3
    fi
    # Makefiles of packages ask for the running kernel where nobody names another: it is the one to build for.
    mkdir -p /tmp/bin
    uname=$(command -v uname)
    cat > /tmp/bin/uname <<END
#!/bin/sh
said=\$("$uname" "\$@") || exit
running=\$("$uname" -r)
case " \$said " in
    *" \$running "*) said=\${said%%"\$running"*}$kernel\${said#*"\$running"} ;;
esac
printf '%s\n' "\$said"
END
    chmod 755 /tmp/bin/uname

    # pahole's threads order the types of a module's BTF differently from run to run: it gets one.
    if pahole=$(command -v pahole); then
        cat > /tmp/bin/pahole <<END
#!/bin/sh
for argument do
    shift
    case \$argument in -j* | --jobs*) ;; *) set -- "\$@" "\$argument" ;; esac
done
exec "$pahole" "\$@"
END
        chmod 755 /tmp/bin/pahole
    fi
    PATH=/tmp/bin:$PATH

    cp -R /foundry/src/. /foundry/work
    cd /foundry/work
    # shellcheck disable=SC2086  # words without blanks, checked before
    $pre_build
    while [ "$1" != make ]; do
        export "${1?}"
        shift
    done
    shift
    make -j "$jobs" ${pahole:+PAHOLE=/tmp/bin/pahole} "$@"
}

finish() {
    out=/foundry/out
    install_dir=$out/root/lib/modules/$KERNEL
    mkdir -p "$out/modules" "$install_dir" "$out/depmod"
    "${CC:-gcc}" --version | sed -n 1p > "$out/compiler"
    # The hash that this kernel's own modules are signed with.
    cat "$kernel_build/include/config/auto.conf" "/usr/src/kernels/$KERNEL/include/config/auto.conf" 2> /dev/null |
        sed -n 's/^CONFIG_MODULE_SIG_HASH="\(.*\)"$/\1/p' | sed -n 1p > "$out/signature_hash"
    for entry in $MODULES; do
        name=${entry%%:*}
        folder=${entry#"$name"}
        folder=$install_dir/${folder#:}
        mkdir -p "$folder"
        cp "/foundry/modules/$name" "$out/modules/$name"
        [ "$STRIP" = none ] || strip --strip-debug "$out/modules/$name"
        cp "$out/modules/$name" "$folder/$name"
    done
    list_modules
}

# depmod's files for what is in $install_dir.
list_modules() {
    # depmod wants the kernel's own lists; they tell modprobe what is built in.
    for list in modules.order modules.builtin modules.builtin.modinfo; do
        if [ -f "/lib/modules/$KERNEL/$list" ]; then
            cp "/lib/modules/$KERNEL/$list" "$install_dir/$list"
        else
            : > "$install_dir/$list"
        fi
    done
    depmod -b "$out/root" "$KERNEL"
    rm -f "$install_dir/modules.order"
    before=
    for name in ${LOADING_ORDER:-}; do
        [ -z "$before" ] || echo "softdep $name pre: $before" >> "$install_dir/modules.softdep"
        before=$name
    done
    for file in "$install_dir"/modules.*; do
        cp "$file" "$out/depmod/"
    done
}

# On a node `host` leads to its own /lib/modules/KERNEL. Here it has only those of the kernel's modules that are needed:
# depmod's files don't grow by all others, and these can't take the place of the driver's.
link() {
    out=/foundry/out
    install_dir=$out/root/lib/modules/$KERNEL
    tree=/lib/modules/$KERNEL
    : > "$out/missing"
    seen=
    left=$IN_TREE
    while [ -n "$left" ]; do
        name=${left%% *}
        left=${left#"$name"}
        left=${left# }
        case " $seen " in *" $name "*) continue ;; esac
        seen="$seen $name"
        pattern=$(echo "$name" | sed 's/[-_]/[-_]/g')
        file=$(find "$tree/" -name "$pattern.ko" -o -name "$pattern.ko.*" | sort | sed -n 1p)
        if [ -z "$file" ]; then
            echo "$name" >> "$out/missing"
            continue
        fi
        place=$install_dir/host${file#"$tree"}
        mkdir -p "${place%/*}"
        ln -s "$file" "$place"
        more=$(modinfo -F depends "$file" | tr , ' ')
        left="$left${left:+${more:+ }}$more"
    done
    [ -s "$out/missing" ] || list_modules
}

step=$1
shift
"$step" "$@"
