# One image for ingest, workers and Flower: all of them need the routes, so all of them hold the application, and a second
# image would only differ in its command.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY routemq routemq
COPY ingest ingest
COPY tasks tasks
COPY dev dev
COPY ops ops
RUN pip install --no-cache-dir --prefix /install .

FROM python:3.13-slim
COPY --from=build /install /usr/local
# The application's folder is the working directory, which Celery puts on the import path; RouteMQ itself is installed.
WORKDIR /srv
COPY app app
RUN useradd --system --create-home --home-dir /data routemq && chown routemq /data
USER routemq
# The sample application keeps what it receives there.
ENV APP_DATABASE=/data/sample.sqlite3 PYTHONUNBUFFERED=1
VOLUME /data
CMD ["routemq", "ingest"]
