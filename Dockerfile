# ncs4cvr on TFX 1.21, for Kubeflow's steps, Beam's workers and single machines: docs/production.md.
#
#   docker build --tag ncs4cvr:1 .

# Debian 13: TFX 1.21 needs glibc >= 2.39. By digest: --build-arg BASE=debian@sha256:...
ARG BASE=debian:trixie-slim

FROM ${BASE} AS build
WORKDIR /checkout
COPY requirements requirements
RUN requirements/image.sh packages
COPY . .
RUN requirements/image.sh wheel

FROM ${BASE}
RUN --mount=type=bind,source=requirements,target=/mnt/requirements \
    /mnt/requirements/image.sh system
# What starts a worker of Beam and takes what a job brings along: for Beam and Python as locked.
COPY --from=apache/beam_python3.13_sdk:2.69.0 \
    /opt/apache/beam/boot /opt/apache/beam/LICENSE /opt/apache/beam/NOTICE /opt/apache/beam/
COPY --from=build /opt/ncs4cvr /opt/ncs4cvr
# The layer that a change of code makes anew, so it comes last and is small.
RUN --mount=type=bind,source=requirements,target=/mnt/requirements \
    --mount=type=bind,from=build,source=/mnt/wheel,target=/mnt/wheel \
    /mnt/requirements/image.sh install

# `python` is the environment's, for Kubeflow's commands and Beam's boot, which would otherwise make
# an environment of its own without our packages. A worker may import TensorFlow before ncs4cvr,
# which says the same about Keras when it comes first.
ENV PATH=/opt/ncs4cvr/bin:$PATH \
    HOME=/home/ncs4cvr \
    PYTHONUNBUFFERED=1 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1 \
    TF_USE_LEGACY_KERAS=1
USER 10001:10001
WORKDIR /home/ncs4cvr
# Runners of Beam start a container with options alone; Kubeflow names a command of its own.
ENTRYPOINT ["/opt/apache/beam/boot"]
