# The web service with the embedded student: docker build -t spacy-uniner . && docker run --rm -p 8000:8000 spacy-uniner
FROM python:3.11-slim AS build

# Say where torch's wheels for the CPU are; those of the usual index bring CUDA along and are ten times as large.
ARG PIP_EXTRA_INDEX_URL=""

RUN python -m venv /opt/uniner
ENV PATH="/opt/uniner/bin:$PATH"
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY configs configs
COPY spacy_uniner spacy_uniner
RUN pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM python:3.11-slim

RUN useradd --system --uid 10001 --no-create-home uniner
COPY --from=build /opt/uniner /opt/uniner
ENV PATH="/opt/uniner/bin:$PATH" PYTHONUNBUFFERED=1
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["uniner", "serve", "--host", "0.0.0.0"]
