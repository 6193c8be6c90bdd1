# syntax=docker/dockerfile:1
# Muster's image. Build: docker build --tag muster-operator:0.1.0 .
# With the adapter for EC2: --build-arg EXTRAS='[ec2]'
# For a release, pin the base by digest: --build-arg BASE=python:3.13-slim@sha256:…
ARG BASE=python:3.13-slim

# First stage: the wheel and an environment of its own, so that no build tool reaches the image.
FROM ${BASE} AS build
ARG EXTRAS=
WORKDIR /src
RUN python -m venv /opt/muster
COPY pyproject.toml setup.cfg README.md LICENSE supervisor.py ./
COPY actors ./actors
COPY manifests/crd ./manifests/crd
RUN /opt/muster/bin/pip install --no-cache-dir --no-compile ".${EXTRAS}" \
 && /opt/muster/bin/python -m compileall -q /opt/muster/lib \
 && /opt/muster/bin/pip uninstall --yes pip

# Second stage: the environment and the entry point. No shell is needed to run it; the root file system may be read-only.
FROM ${BASE}
LABEL org.opencontainers.image.title="muster-operator" \
      org.opencontainers.image.description="Takes the roll-call of fleets and repairs them in batches under a rate limit" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/opt/muster/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1
COPY --from=build /opt/muster /opt/muster
WORKDIR /app
# The package comes from the environment: beside this file lies nothing that could be taken for it.
COPY supervisor.py ./
# Numeric, so that a kubelet can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT []
CMD ["python", "supervisor.py", "run"]
