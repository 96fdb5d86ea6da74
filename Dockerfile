# One image for every role: serve, worker, ticker, and what prepares the database. See compose.yaml.
ARG PYTHON=3.11

FROM node:22-bookworm-slim AS libraries
WORKDIR /app
COPY .npmrc package.json package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev

FROM python:${PYTHON}-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app
RUN python -m venv .venv
COPY requirements.lock ./
# What is left out is not needed to run: pip itself, the packages' own tests, types and headers, and languages that the pages do not speak.
RUN .venv/bin/pip install --no-compile --no-deps --require-hashes --requirement requirements.lock \
    && .venv/bin/pip uninstall --yes --quiet pip setuptools \
    && find .venv -type d \( -name tests -o -path '*/twisted/*test' -o -name include -o -name __pycache__ \) -prune -exec rm -r {} + \
    && find .venv -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.h' -o -name '*.a' -o -name '*.po' \) -delete \
    && find .venv -path '*/locale/*' -mindepth 1 -maxdepth 9 -type d -regex '.*/locale/[A-Za-z_]+' \
        ! -name en ! -name 'zh_Hans' ! -name 'zh_Hant' -prune -exec rm -r {} + \
    && rm -r .venv/lib/python*/site-packages/ninja/static
COPY manage.py pyproject.toml ./
COPY agents agents
COPY chat chat
COPY config config
COPY scripts scripts
COPY templates templates
COPY static static
COPY --from=libraries /app/node_modules node_modules
# The key is needed to read the settings, and for nothing else here.
RUN .venv/bin/python -c "from scripts import bootstrap; bootstrap.copy_browser_libraries()" \
    && rm -r node_modules scripts \
    && SECRET_KEY=building DATA_DIR=/tmp/var STATIC_ROOT=/app/static-collected \
        .venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
    && .venv/bin/python -m compileall -q agents chat config \
    # Of the packages, what the processes import is compiled: by importing it.
    && SECRET_KEY=building DATA_DIR=/tmp/var .venv/bin/python -c "from config import asgi, celery, urls; import chat.tasks, agents; agents.preload()" \
    && chmod -R a+rX . \
    && mkdir --mode 0700 var

FROM python:${PYTHON}-slim-bookworm
RUN useradd --system --uid 10001 --user-group --home-dir /app --no-create-home thinkaloud
WORKDIR /app
COPY --from=build /app /app
# What a process writes: nothing that lasts, where the database is a server and SECRET_KEY is given.
RUN chown 10001:10001 /app/var
USER 10001
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOST=0.0.0.0 PORT=8000 \
    DATA_DIR=/app/var STATIC_ROOT=/app/static-collected
EXPOSE 8000
CMD ["python", "manage.py", "serve"]
