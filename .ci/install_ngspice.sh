#!/bin/sh
# Installs ngspice and libngspice where they are missing: by apt as root or with sudo, otherwise
# says in one line what to type.
set -eu

have_library() {
    ldconfig -p 2>/dev/null | grep -q libngspice.so && return 0
    for folder in /usr/lib /usr/local/lib /opt/homebrew/lib; do
        ls "$folder"/libngspice.* >/dev/null 2>&1 && return 0
    done
    return 1
}

if command -v ngspice >/dev/null 2>&1 && have_library; then
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo"
    elif command -v sudo >/dev/null 2>&1 && [ -t 0 ]; then
        as_root="sudo"
    else
        as_root="none"
    fi
    if [ "$as_root" != none ]; then
        echo "installing ngspice and libngspice0 with apt-get" >&2
        $as_root apt-get update -qq
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq ngspice libngspice0 >/dev/null
        command -v ngspice >/dev/null && exit 0
    fi
fi

# a program without its library sizes as well: only benchmarks need the library
if command -v ngspice >/dev/null 2>&1; then
    echo "note: libngspice is missing (Debian: apt install libngspice0); sizing works without it" >&2
    exit 0
fi
echo "ngspice is missing. Type: 'sudo apt install ngspice libngspice0' (Debian, Ubuntu)," \
     "'sudo dnf install ngspice libngspice' (Fedora), 'brew install ngspice libngspice' (macOS)" >&2
exit 3
