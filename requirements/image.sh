#!/bin/sh
# The steps of the Dockerfile. Each is one RUN there, as root, in the folder that holds the checkout.
#
#   requirements/image.sh packages   /opt/ncs4cvr: an environment from image.txt, made with compilers
#   requirements/image.sh wheel      /mnt/wheel: the project's own wheel
#   requirements/image.sh system     what the final stage needs of Debian, and its user
#   requirements/image.sh install    the wheel into /opt/ncs4cvr
set -eu

environment=/opt/ncs4cvr
python=$environment/bin/python
wheels=/mnt/wheel

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -o=Dpkg::Use-Pty=0 "$@"
}

debian() { # packages...; leaves no lists or caches behind
  apt_get update
  apt_get install --no-install-recommends "$@" >/dev/null
  apt_get clean
  rm -rf /var/lib/apt/lists/* /var/cache/ldconfig/aux-cache /var/log/apt /var/log/dpkg.log
}

packages() {
  debian ca-certificates g++ python3 python3-dev python3-venv
  # Not the script itself, but its uv: pinned and hashed.
  uv=$(bash requirements/setup.sh --uv)
  "$uv" venv --quiet --python /usr/bin/python3 "$environment"
  # The lock is its own build constraint: what compiles here compiles with pinned, hashed tools.
  VIRTUAL_ENV=$environment UV_NO_PROGRESS=1 "$uv" pip sync --no-cache --compile-bytecode \
    --require-hashes --build-constraints requirements/image.txt requirements/image.txt
  # uv's lock file, which anybody may write to; headers for compilers, a tenth of the whole.
  rm -rf "$environment/.lock" "$environment"/lib/python3*/site-packages/tensorflow/include
}

wheel() {
  "$python" -m pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$wheels" .
}

system() {
  debian ca-certificates python3
  # A number that Kubernetes can tell from root (runAsNonRoot), and a home that may be written to;
  # a container of another user starts in it as well.
  groupadd --gid 10001 ncs4cvr
  useradd --uid 10001 --gid 10001 --create-home --key HOME_MODE=0755 --skel /nowhere ncs4cvr
  # A new volume takes the owner of the folder that it is mounted over; without one it is root's.
  mkdir /home/ncs4cvr/runs
  chown 10001:10001 /home/ncs4cvr/runs
}

install() {
  "$python" -m pip install --quiet --root-user-action ignore --no-cache-dir --no-deps --no-index \
    "$wheels"/*.whl
}

case ${1:-} in
  packages | wheel | system | install) "$1" ;;
  *) sed -n '2,/^set/{/^#/p}' "$0" >&2; exit 2 ;;
esac
