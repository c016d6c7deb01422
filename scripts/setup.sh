#!/usr/bin/env bash
# Makes a Debian machine able to build and run punktfunk: packages by apt, Rust by rustup; with
# --udev, and only then, lets ordinary users make virtual controllers. Run it by
# itself, or source it for its functions, as scripts/run and scripts/test do. Where nothing is
# missing it takes under 0.2 s and no network. `scripts/setup.sh moonlight` also installs the stock
# GameStream client that the tests drive, in target/moonlight.

set -euo pipefail

# What the build needs; what a host without a desktop needs; what the tests' stock GameStream client
# needs; what scripts/lab needs beside.
PACKAGES=(
    ca-certificates cmake curl g++ git libclang-dev libpipewire-0.3-dev libx264-dev make pkg-config
    pipewire sway wireplumber
    python3-venv
    dbus-daemon iproute2 pipewire-bin
)

# The checkout that this file belongs to, without symbolic links.
ROOT=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf 'punktfunk: %s\n' "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# The invoking user, looking through sudo.
invoker() {
    if ((EUID == 0)) && [[ -n ${SUDO_USER:-} ]]; then
        echo "$SUDO_USER"
    else
        id -un
    fi
}

home_of() { getent passwd "$1" | cut -d: -f6; }

# ---- packages ---------------------------------------------------------------------------------

missing_packages() {
    local installed
    # dpkg-query fails when a name is unknown to it; that is one of the answers here.
    installed=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null |
        awk '$1 == "ii" { print $2 }') || true
    comm -23 <(printf '%s\n' "${PACKAGES[@]}" | LC_ALL=C sort) \
        <(LC_ALL=C sort <<<"$installed") | xargs
}

ensure_packages() {
    if ! type dpkg-query apt-get >/dev/null 2>&1; then
        [[ -z ${PUNKTFUNK_SKIP_PACKAGES:-} ]] || return 0
        die "this is not Debian: install what these packages hold, then set" \
            "PUNKTFUNK_SKIP_PACKAGES=1: ${PACKAGES[*]}"
    fi
    local missing
    missing=$(missing_packages)
    [[ -n $missing ]] || return 0

    local as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            die "not root and no sudo; as root run: apt-get install --no-install-recommends $missing"
        as_root=(sudo)
    fi
    say "installing $missing"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
        -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
    "${apt[@]}" update >&2 ||
        die "apt-get update failed: check the network and /etc/apt, or install by hand: $missing"
    # shellcheck disable=SC2086  # a list of package names
    "${apt[@]}" install -y --no-install-recommends $missing </dev/null >&2 ||
        die "apt-get could not install: $missing (its messages are above)"
}

# ---- Rust -------------------------------------------------------------------------------------

toolchain_wanted() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$ROOT/rust-toolchain.toml"; }

# True if `rustc` in this checkout is the wanted version or newer, with rustfmt and clippy.
rust_suffices() {
    local have want=$1
    type cargo rustc >/dev/null 2>&1 || return 1
    # RUSTUP_AUTO_INSTALL: a missing toolchain is ours to report, not rustup's to fetch in silence.
    have=$(cd "$ROOT" && RUSTUP_AUTO_INSTALL=0 rustc --version 2>/dev/null | cut -d' ' -f2) ||
        return 1
    [[ $(printf '%s\n' "$want" "$have" | sort -V | head -n 1) == "$want" ]] || return 1
    local bin
    bin=$(cd "$ROOT" && rustc --print sysroot)/bin
    [[ -x $bin/cargo-clippy && -x $bin/rustfmt ]]
}

ensure_rust() {
    # cargo insists on a home directory; `env -i` and some containers give none.
    export HOME=${HOME:-$(home_of "$(id -un)")}
    export PATH=${CARGO_HOME:-$HOME/.cargo}/bin:${PATH:-/usr/local/bin:/usr/bin:/bin}
    local want
    want=$(toolchain_wanted)
    rust_suffices "$want" && return

    if command -v rustup >/dev/null; then
        say "installing the Rust toolchain $want"
        rustup toolchain install "$want" --profile minimal -c rustfmt -c clippy </dev/null >&2 ||
            die "rustup could not install $want: check the network (static.rust-lang.org)"
    else
        say "installing rustup and the Rust toolchain $want into $HOME"
        local script
        script=$(curl --proto '=https' --tlsv1.2 -sSf --retry 3 https://sh.rustup.rs) ||
            die "https://sh.rustup.rs cannot be fetched: check the network, or install Rust $want"
        sh -s -- -y --no-modify-path --profile minimal --default-toolchain "$want" \
            -c rustfmt -c clippy <<<"$script" >&2 ||
            die "rustup could not install $want: check the network (static.rust-lang.org)"
    fi
    rust_suffices "$want" ||
        die "rustc $want is installed but not found in PATH ($(command -v rustc || echo none))"
}

# ---- what the tests use beside ------------------------------------------------------------------

# The system's libavcodec, which has its version in its package's name: the tests decode with it,
# beside openh264, which is built in.
ensure_libavcodec() {
    [[ $(PATH=$PATH:/usr/sbin:/sbin ldconfig -p) != *libavcodec.so.* ]] || return 0
    local PACKAGES=()
    mapfile -t PACKAGES < <(apt-cache pkgnames libavcodec | grep -E '^libavcodec[0-9]+$' |
        sort -V | tail -n 1)
    if ((${#PACKAGES[@]} == 0)); then
        say "apt knows no libavcodec: its tests are passed over (apt-get update may help)"
        return 0
    fi
    ensure_packages
}

# What the tests know; its wheel holds moonlight-common-c. Under the GPL: a program of its own, in an
# environment of its own, never part of this project.
MOONLIGHT=moonlight-python==0.3.0

# ensure_moonlight DIR: a Python environment with it.
ensure_moonlight() {
    local dir=$1
    # Written last, so that a broken installation is made again.
    [[ $(cat "$dir/installed" 2>/dev/null) != "$MOONLIGHT" ]] || return 0
    say "installing $MOONLIGHT into $dir"
    rm -rf "$dir"
    # Debian's own first: another one in PATH may be closed to the user who runs the tests.
    local python=/usr/bin/python3
    [[ -x $python ]] || python=python3
    "$python" -m venv "$dir" >&2 || die "python3 -m venv failed: install python3-venv"
    "$dir/bin/pip" --quiet --disable-pip-version-check install "$MOONLIGHT" >&2 ||
        die "pip could not install $MOONLIGHT: check the network (pypi.org)"
    echo "$MOONLIGHT" >"$dir/installed"
}

# ---- users ------------------------------------------------------------------------------------

# Only installing is done as root. Prints who does the rest when root starts us: the user behind
# sudo, or the user `punktfunk`, made here, where there is only root.
unprivileged_user() {
    local user
    user=$(invoker)
    if [[ $user == root ]]; then
        user=punktfunk
        getent passwd "$user" >/dev/null ||
            useradd --system --create-home --shell /usr/sbin/nologin "$user" >&2 ||
            die "the user $user cannot be made: run useradd --system --create-home $user by hand"
    fi
    echo "$user"
}

# Prints a private runtime directory of user $1: the login session's, or one in its place.
runtime_dir_of() {
    local user=$1 uid dir
    uid=$(id -u "$user")
    for dir in ${XDG_RUNTIME_DIR:-} "/run/user/$uid" "/tmp/punktfunk-runtime-$uid"; do
        if [[ ! -e $dir ]]; then
            # Only root can make one below /run. mkdir does not follow a link put in the way.
            ((EUID != 0)) || mkdir -p /run/user
            mkdir -m 0700 "$dir" 2>/dev/null || continue
            chown "$user:" "$dir"
        fi
        if [[ ! -L $dir && $(stat -c '%u %a' "$dir") == "$uid 700" ]]; then
            echo "$dir"
            return
        fi
    done
    die "no private runtime directory for $user: set XDG_RUNTIME_DIR to a directory of mode 0700"
}

CAPABILITIES=-all

# Lets what we start as another user have real-time threads and locked memory. Some containers
# forbid root to raise limits but leave it CAP_SYS_NICE; then exec_as_user hands on that one
# capability. Without either the host says so and goes on at normal priority.
raise_limits() {
    ((EUID == 0)) || return 0
    local limit
    for limit in --rtprio=20:20 --nice=30:30 --memlock=unlimited:unlimited; do
        prlimit --pid $$ "$limit" 2>/dev/null || true
    done
    if (($(ulimit -r) < 20)) && setpriv --inh-caps=+sys_nice --ambient-caps=+sys_nice true \
        2>/dev/null; then
        CAPABILITIES=-all,+sys_nice
    fi
}

# as_user USER COMMAND...: runs the command as USER with that user's home and runtime directory
# and nothing else of root's environment. For `exec as_user`, see exec_as_user.
as_user() { (exec_as_user "$@"); }

# Becomes the command, so that the terminal's Ctrl-C reaches it directly.
exec_as_user() {
    local user=$1 runtime name environment=()
    shift
    runtime=$(XDG_RUNTIME_DIR='' runtime_dir_of "$user")
    for name in $(compgen -e); do
        case $name in
        PUNKTFUNK_* | CARGO_TARGET_DIR | RUST_* | LANG | LC_* | TERM | TZ | *_proxy | *_PROXY)
            environment+=("$name=${!name}")
            ;;
        esac
    done
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups \
        --inh-caps="$CAPABILITIES" --ambient-caps="$CAPABILITIES" -- \
        env -i "${environment[@]}" HOME="$(home_of "$user")" USER="$user" LOGNAME="$user" \
        PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games SHELL=/bin/sh \
        XDG_RUNTIME_DIR="$runtime" "$@"
}

# True if USER could build in this checkout.
can_build() {
    as_user "$1" test -w "$ROOT" -a \( ! -e "$ROOT/target" -o -w "$ROOT/target" \)
}

# set_up SCRIPT ARGS...: everything above, for the script that calls it with its own name and
# arguments. Under sudo, in a checkout of the user's own, the script starts again as that user.
# Afterwards: not root, or root because the checkout is root's.
set_up() {
    ensure_packages
    raise_limits
    local user
    user=$(invoker)
    if ((EUID == 0)) && [[ $user != root ]] && can_build "$user"; then
        exec_as_user "$user" "$@"
    fi
    ensure_rust
}

# ---- controllers ------------------------------------------------------------------------------

# Lets ordinary users make virtual controllers. Only for `--udev`, and only as root: a rule of the
# system's is the operator's to want.
install_udev_rule() {
    local rules=${PUNKTFUNK_UDEV_DIR:-/etc/udev/rules.d}
    [[ -d $rules && -w $rules ]] ||
        die "$rules cannot be written: run sudo scripts/setup.sh --udev, on a machine with udev"
    install -m 0644 "$ROOT/scripts/udev/60-punktfunk.rules" "$rules/"
    echo uinput >"${PUNKTFUNK_MODULES_DIR:-/etc/modules-load.d}/punktfunk.conf"
    # A container has neither; the rule then counts from the next start.
    modprobe uinput 2>/dev/null || say "the module uinput is not there yet"
    udevadm control --reload 2>/dev/null && udevadm trigger --sysname-match=uinput 2>/dev/null ||
        say "udev does not run here: the rule counts from the next start"
    say "$rules/60-punktfunk.rules is installed; log in again"
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    if [[ ${1:-} == --udev ]]; then
        install_udev_rule
        exit
    fi
    set_up "$0" "$@"
    [[ ${1:-} != moonlight ]] || ensure_moonlight "${CARGO_TARGET_DIR:-$ROOT/target}/moonlight"
    say "this machine can build and run punktfunk"
fi
