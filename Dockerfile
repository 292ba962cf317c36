# One image for ingest, workers and Flower: all of them need the routes, so all of them hold the application, and a second
# image would only differ in its command. It is made for whatever platform the base image is there for.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /build && python -m venv --without-pip /opt/routemq
WORKDIR /source
# What changes seldom first. Every file that is installed is one that scripts/lock has seen.
COPY requirements.lock requirements-build.lock ./
RUN /build/bin/pip install --require-hashes -r requirements-build.lock \
    && /build/bin/pip --python /opt/routemq install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE docker-compose.yml ./
COPY routemq routemq
COPY ingest ingest
COPY tasks tasks
COPY dev dev
COPY ops ops
RUN /build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /build/bin/pip --python /opt/routemq install --no-deps --no-index /wheels/*.whl

FROM python:3.13-slim
# A number, so that an orchestrator sees that it is not root.
RUN groupadd --gid 10001 routemq && useradd --uid 10001 --gid routemq --home-dir /data --no-create-home routemq \
    && install -d -o routemq -g routemq /data
COPY --from=build /opt/routemq /opt/routemq
# The application's folder is the working directory, which Celery puts on the import path; RouteMQ itself is installed.
WORKDIR /srv
COPY app app
USER 10001:10001
# The sample application keeps what it receives in /data. Nothing else is written but /tmp, so the root may be read-only.
ENV PATH=/opt/routemq/bin:$PATH APP_DATABASE=/data/sample.sqlite3 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
VOLUME /data
# Of the first process whose …_HEALTH_PORT is set. Whether it is alive: that Redis or the MQTT broker is away is no fault of it.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 CMD ["routemq", "health", "--live"]
# SIGTERM, the signal of `docker stop`, ends each of our processes in peace. It goes to the process itself, not to a shell.
CMD ["routemq", "ingest"]
