# The gateway. Build: docker build -t registry.example.com/asgard:latest .
# Another base: --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:782412e85d0f0984994c290652577d4018aff08145c85b262bb63dc0c7522254

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
WORKDIR /src
COPY requirements-bootstrap.txt requirements-production.txt ./
# Wheels only, each checked by its hash: nothing is compiled, here or in the last stage.
RUN python -m venv --copies /opt/asgard/venv \
    && python -m pip install --no-deps --require-hashes -r requirements-bootstrap.txt \
    && VIRTUAL_ENV=/opt/asgard/venv uv pip install --no-deps --require-hashes \
       --only-binary :all: -r requirements-production.txt
COPY pyproject.toml README.md ./
COPY app app
RUN python -m hatchling build -t wheel \
    && VIRTUAL_ENV=/opt/asgard/venv uv pip install --no-deps dist/*.whl \
    && /opt/asgard/venv/bin/python -m compileall -q /opt/asgard/venv/lib \
    && /opt/asgard/venv/bin/python -P -m app.warehouse.precompile

FROM ${PYTHON_IMAGE}
# The documented troubleshooting uses these programs in the pod. bash is already there.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl dnsutils tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 asgard \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp asgard
COPY --from=build /opt/asgard/venv /opt/asgard/venv
COPY script/create-schemas.sh /opt/asgard/script/create-schemas.sh
ENV PATH=/opt/asgard/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ASGARD_HOME=/var/lib/asgard
RUN install -d -o 10001 -g 10001 -m 0700 /var/lib/asgard
WORKDIR /var/lib/asgard
USER 10001:10001
EXPOSE 8000
# tini passes signals on, and reaps what workers leave behind.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=3s --start-period=60s \
    CMD ["bash", "-c", "curl -fsS http://127.0.0.1:${PORT:-8000}/health"]
ENTRYPOINT ["tini", "--"]
CMD ["asgard", "serve", "--host", "0.0.0.0"]
