# The gateway as a container image: `docker build -t session-gateway .`; docs/container.md says how to run it.
#
# Any image that has Python 3.11 or newer with its C headers as `python3` on the PATH will do as a base.
ARG BASE=python:3.13-slim

# --- build: everything that needs a compiler, pip or the network; nothing of it but /opt/gateway is kept --------
FROM ${BASE} AS build

ENV PIP_CACHE_DIR=/var/cache/pip PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends gcc libc6-dev >/dev/null \
    && rm -rf /var/lib/apt/lists/*

# /opt/gateway has no pip of its own: what is never there need not be removed.
RUN python3 -m venv --without-pip /opt/gateway && python3 -m venv /opt/tools

# Dependencies first, so that a change of our own code leaves them be. Versions come from the lock. Where packages come
# from is told by a pip.conf, given as a secret of the build; without one pip's own default holds.
WORKDIR /build
COPY requirements.lock pyproject.toml ./
RUN --mount=type=cache,target=/var/cache/pip --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > needed.txt \
    && /opt/tools/bin/pip --python /opt/gateway/bin/python3 install --quiet --only-binary :all: \
        --constraint requirements.lock --requirement needed.txt \
    && /opt/tools/bin/pip install --quiet --only-binary :all: \
        --constraint requirements.lock --requirement needed.txt hatchling mypy setuptools types-pyyaml

# The package itself; then the way of a request once more, compiled to C, over the files it was made from: Python takes
# an extension module before a source file of the same name.
COPY README.md ./
COPY tools tools
COPY gateway gateway
RUN /opt/tools/bin/pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir wheels . \
    && /opt/tools/bin/pip --python /opt/gateway/bin/python3 install --quiet --no-deps --no-index wheels/*.whl \
    && /opt/tools/bin/python tools/compile_hot_path.py \
    && site=$(/opt/gateway/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("platlib"))') \
    && cp -r build/compiled/. "$site" \
    && /opt/gateway/bin/python3 -m compileall -q "$site"

# --- result -----------------------------------------------------------------------------------------------------
FROM ${BASE}

ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="session-gateway" \
      org.opencontainers.image.description="A reverse proxy that logs people in and tells the apps behind it who they are." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/gateway /opt/gateway
# A new volume takes over the owner and the mode of the folder it covers.
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/gateway

# The root file system may be read-only: only the state folder is written, and /tmp for sockets between processes (a
# tmpfs there is best; without one the state folder is used, for it is the working directory).
ENV PATH=/opt/gateway/bin:${PATH} \
    GATEWAY_CONFIG=/etc/gateway/gateway.yaml \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /var/lib/gateway
VOLUME /var/lib/gateway
USER 10001:10001
EXPOSE 8080

# Asks the admin listener of the configuration, from within.
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["gateway", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["gateway"]
CMD ["run"]
