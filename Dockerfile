# The commands of the README in a container, for CPUs or for NVIDIA GPUs:
#   docker build -t vmf_embeddings .
#   docker build -t vmf_embeddings:cuda --build-arg DEVICE=cuda .
# CPU wheels of torch and faiss come from PyTorch's CPU index and PyPI; with DEVICE=cuda, torch brings the CUDA libraries along.
ARG PYTHON=3.12
FROM python:${PYTHON}-slim-bookworm

ARG DEVICE=cpu
ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# requirements first: they change less often than the code, and their layer is kept
WORKDIR /opt/vmf_embeddings
COPY requirements.txt ./
RUN case "${DEVICE}" in \
      cpu) INDEX=https://download.pytorch.org/whl/cpu ;; \
      cuda) INDEX=https://pypi.org/simple ;; \
      *) echo "DEVICE is cpu or cuda, got ${DEVICE}" >&2; exit 2 ;; \
    esac \
    && grep -E '^torch(vision)?==' requirements.txt > torch.txt \
    && pip install --index-url "${INDEX}" -r torch.txt \
    && pip install -r requirements.txt \
    && rm torch.txt

COPY setup.py README.md LICENSE ./
COPY vmf_embeddings ./vmf_embeddings
RUN pip install --no-deps .

# data and runs of the host are mounted at /data; its user may be any
RUN useradd --create-home --uid 1000 user && mkdir /data && chown 1000 /data
USER 1000
WORKDIR /data
ENV VMF_RUNS=/data/runs

ENTRYPOINT ["vmf-embeddings"]
CMD ["--help"]
