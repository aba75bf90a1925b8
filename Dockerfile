# docker build -t session-bot .
# The version that the tests run on; --build-arg PYTHON=3.13 chooses another.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m pip install --only-binary :all: --require-hashes -r requirements-build.lock
# Without pip: nothing is installed where the bot runs.
RUN python -m venv --without-pip /opt/session-bot
RUN python -m pip --python /opt/session-bot install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
# Without sandbox/: the demo's databases and Slack stay out of where the bot runs.
COPY bot bot
COPY commands commands
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .
RUN python -m pip --python /opt/session-bot install --no-deps --no-index --find-links /wheels session-bot

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="session-bot" \
      org.opencontainers.image.description="See and close OceanBase sessions from the incident channel in Slack." \
      org.opencontainers.image.version="0.2.0" \
      org.opencontainers.image.licenses="Apache-2.0"
# By number, so that Kubernetes can see that it is not root. Nothing in the image belongs to it but its folder.
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/session-bot --create-home session-bot
COPY --from=build /opt/session-bot /opt/session-bot
# HTTP mode: Slack's requests come in on PORT. Health and metrics have a port that the world need not reach.
ENV PATH=/opt/session-bot/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PORT=3000 HEALTH_PORT=3001
USER 10001:10001
# The only place it writes to, and only where the store is a file; everything else may be read-only.
WORKDIR /var/lib/session-bot
VOLUME /var/lib/session-bot
EXPOSE 3000 3001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, sys, http.client as h; e = os.environ.get; c = h.HTTPConnection(e('HEALTH_BIND_ADDRESS') or e('BIND_ADDRESS') or '127.0.0.1', e('HEALTH_PORT') or e('PORT'), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]
ENTRYPOINT ["session-bot"]
CMD ["run"]
