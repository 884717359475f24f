# The web service. Build where the package index can be reached, then:
#   docker run --rm -p 8000:8000 spacy-uniner
FROM python:3.11-slim

# CPU wheels of torch are a fifth as large; clear this to get those of the package index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
