# The wsrunner server. The base image needs python3 (3.11 or later) with venv, and a shell: an official
# one, or the local one that `wsrunner images services --local` makes from Debian packages.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
LABEL wsrunner.stage=build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv /pip && python3 -m venv --without-pip /opt/wsrunner
# The brackets make it optional: `make wheels` fills build/wheels for builds that reach no index. Wheels
# from there must have the hashes of the lock file, too.
COPY requirements.lock build/wheel[s] /wheels/
RUN cd /wheels; if ls *.whl >/dev/null 2>&1; then index="--no-index --find-links=."; fi; \
    /pip/bin/pip download --quiet --require-hashes --only-binary=:all: ${index:-} \
      --requirement requirements.lock --dest /packages
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY static static
COPY wsrunner wsrunner
# Build backend included, everything comes from the checked packages; the backend does not stay.
RUN /pip/bin/pip --python /opt/wsrunner/bin/python install --quiet --no-index \
      --find-links=/packages .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="wsrunner" org.opencontainers.image.licenses="MIT"
RUN echo 'wsrunner:x:10001:' >>/etc/group && \
    echo 'wsrunner:x:10001:10001::/nonexistent:/usr/sbin/nologin' >>/etc/passwd
COPY --from=build /opt/wsrunner /opt/wsrunner
ENV PATH=/opt/wsrunner/bin:$PATH PYTHONUNBUFFERED=1 WSRUNNER_HOST=0.0.0.0
USER 10001:10001
WORKDIR /
EXPOSE 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-c", "\
import http.client, os, sys\n\
site = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('WSRUNNER_PORT') or 8001), timeout=4)\n\
site.request('GET', '/healthz')\n\
sys.exit(site.getresponse().status != 200)\n"]
ENTRYPOINT ["wsrunner"]
CMD ["serve"]
