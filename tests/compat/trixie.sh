# Sourced by the scripts beside it: what a Debian 13 (trixie) on another machine needs.
# They set `name`, which starts every line they say, and may set `mirror`, a Debian mirror.

say() { printf '%s: %s\n' "$name" "$*"; }
skip() { say "skipped: $*"; exit 0; }

needs() { # commands, which apt packages of the same name bring
  local each
  for each in "$@"; do
    type -P "$each" >/dev/null || skip "needs $each (apt-get install $each)"
  done
}

can_make_trixie() {
  [ "$(id -u)" = 0 ] || skip "needs root, for chroot and mount"
  [ "$(uname -m)" = x86_64 ] || skip "needs x86_64, for which TFX has wheels"
  needs debootstrap wget
  unshare --mount --pid --fork true 2>/dev/null || skip "may not mount here"
}

one_at_a_time() { # folder, GB that must be free in it; holds its lock until the process ends
  local free
  free=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1048576) }')
  [ "$free" -ge "$2" ] || skip "needs $2 GB free in $1, which has $free"
  exec 8>"$1/lock"
  flock -n 8 || { say "another run is at work in $1"; exit 1; }
}

apt_uris() { # of one-line and deb822 sources
  cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | sed -nE \
    -e 's/^deb +(\[[^]]*\] +)?(https?:[^ ]+).*/\2/p' -e 's/^URIs: *//p' \
    | tr -s ' ' '\n' | sed 's,/*$,,' | awk '!seen[$0]++'
}

# What apt on this machine was told about reaching its mirrors holds there as well.
apt_settings() {
  { apt-config dump 2>/dev/null || true; } \
    | grep -E '^Acquire::(https?::|Check-|Retries)' | grep -v '""' || true
}

find_mirror() {
  local uri proxy
  proxy=$(apt_settings | sed -nE 's/^Acquire::http::Proxy "(http.*)";/\1/p' | head -n 1)
  [ -z "$proxy" ] || export http_proxy=${http_proxy:-$proxy}
  for uri in ${mirror:-$(apt_uris)}; do
    if wget -q --timeout=20 --tries=2 -O /dev/null "$uri/dists/trixie/Release" 2>/dev/null; then
      mirror=$uri
      return
    fi
  done
  [ -z "$mirror" ] || { say "$mirror has no trixie, or cannot be reached"; exit 1; }
  skip "no reachable Debian mirror in the apt sources has trixie"
}

debian_in() { # root, packages with commas
  debootstrap --variant=minbase --include="$2" trixie "$1" "$mirror"
}

network_in() { # root; that it reaches what this machine reaches, and trusts whom it trusts
  local bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
  cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
  apt_settings >"$1/etc/apt/apt.conf.d/90host"
  echo "deb $mirror trixie main" >"$1/etc/apt/sources.list"
  [ ! -e "$bundle" ] || cp -L "$bundle" "$1/etc/ssl/certs/ca-certificates.crt"
}

network_environment() { # NAME=VALUE lines
  local each bundle=/etc/ssl/certs/ca-certificates.crt
  for each in $(compgen -e); do
    case $each in PIP_* | UV_* | *_proxy | *_PROXY)
      case ${!each} in
        /* | file:*) ;; # a place on this machine, which is not seen from there
        *) printf '%s=%s\n' "$each" "${!each}" ;;
      esac
    esac
  done
  printf '%s\n' "SSL_CERT_FILE=$bundle" "PIP_CERT=$bundle" "REQUESTS_CA_BUNDLE=$bundle"
}
