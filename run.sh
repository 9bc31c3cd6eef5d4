#!/usr/bin/env bash
# bash run.sh          install, train vMF softmax on real digits, extract, score, draw: under five minutes, no download but packages
# bash run.sh tests    the whole test suite
# bash run.sh suite    the runs of 2021: five methods on MNIST, one on CIFAR10, one epoch each (DATA=folder says where the data lies)
set -euo pipefail
cd "$(dirname "$0")"
RUNS=${VMF_RUNS:-vmf_embeddings/runs} # where the commands write, too

environment() { # environment FILE...: installs what the files list into .venv
  local python=${PYTHON:-python3} wanted lists=()
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "error: Python 3.11 or newer is needed, but $python says: $("$python" --version 2>&1 | head -1); say which with PYTHON=/path/to/python" >&2
    exit 2
  }
  for list in "$@"; do lists+=(-r "$list"); done
  wanted=$(cksum "$@")
  if [ ! -x .venv/bin/python ] || [ "$(cat ".venv/installed-$#" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing into .venv (once) ..."
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "${lists[@]}"
    echo "$wanted" > ".venv/installed-$#"
  fi
  PATH="$PWD/.venv/bin:$PATH"
}

demo() {
  python -m vmf_embeddings.main experiment=demo
  python -m vmf_embeddings.main mode=get_embeddings "run=$RUNS/digits/vmf_softmax/3dim/demo"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics \
    "$RUNS/digits/vmf_softmax/3dim/demo"
  python -m vmf_embeddings.evaluate "$RUNS/digits/vmf_softmax/3dim/demo"
}

tests() {
  # worksteal: tests of a file mostly stay in one process, which makes their fixtures once;
  # bytecode is kept, or each command that a test runs would compile the package
  PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 \
    python -m pytest -n logical --maxprocesses 8 --dist worksteal "$@"
}

suite() {
  local folder=${DATA:-data} data="dataset.params.dataset_path=${DATA:-data}"
  echo "Looking for MNIST in $folder/MNIST/raw and for CIFAR10 in $folder/cifar-10-batches-py; what is missing is downloaded."

  python -m vmf_embeddings.main experiment=mnist_unnormalized_sce mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=n_digit_mnist arch.params.embedding_dim=3 arch.params.n_classes=10 \
    arch.params.use_vmf=False arch.params.learn_temp=False method=unnormalized_sce dataset=mnist \
    name=mnist_standard_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_deterministic_performance_metrics \
    "$RUNS/mnist/unnormalized_sce/3dim/mnist_standard_softmax" none

  python -m vmf_embeddings.main experiment=mnist_hyperbolic_sce mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=n_digit_mnist arch.params.embedding_dim=3 arch.params.n_classes=10 \
    arch.params.use_vmf=False arch.params.learn_temp=False method=hyperbolic_sce dataset=mnist \
    name=mnist_hyperbolic_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_deterministic_performance_metrics \
    "$RUNS/mnist/hyperbolic_sce/3dim/mnist_hyperbolic_softmax" hyperbolic

  python -m vmf_embeddings.main experiment=mnist_normalized_sce mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=n_digit_mnist arch.params.embedding_dim=3 arch.params.n_classes=10 \
    arch.params.use_vmf=False arch.params.learn_temp=True method=normalized_sce dataset=mnist \
    name=mnist_cosine_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_deterministic_performance_metrics \
    "$RUNS/mnist/normalized_sce/3dim/mnist_cosine_softmax" l2

  python -m vmf_embeddings.main experiment=mnist_arcface mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=n_digit_mnist arch.params.embedding_dim=3 arch.params.n_classes=10 \
    arch.params.use_vmf=False arch.params.learn_temp=True method=arcface dataset=mnist \
    name=mnist_arcface_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_deterministic_performance_metrics \
    "$RUNS/mnist/arcface/3dim/mnist_arcface_softmax" l2

  python -m vmf_embeddings.main experiment=mnist_vmf_softmax mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=n_digit_mnist arch.params.embedding_dim=3 arch.params.n_classes=10 \
    arch.params.use_vmf=True arch.params.learn_temp=True method=vmf_softmax dataset=mnist \
    name=mnist_vmf_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics \
    "$RUNS/mnist/vmf_softmax/3dim/mnist_vmf_softmax"

  python -m vmf_embeddings.main experiment=cifar10_vmf_softmax mode.epochs=1 "$data"
  python -m vmf_embeddings.main arch=resnet50 arch.params.embedding_dim=128 arch.params.n_classes=10 \
    arch.params.use_vmf=True arch.params.learn_temp=True method=vmf_softmax dataset=cifar10 \
    name=cifar10_vmf_softmax mode=get_embeddings "$data"
  python -m vmf_embeddings.third_party.pytorch_metric_learning.compute_vmf_performance_metrics \
    "$RUNS/cifar10/vmf_softmax/128dim/cifar10_vmf_softmax"
}

task=${1:-demo}
case "$task" in
  demo | tests | suite) ;;
  *)
    echo "usage: bash run.sh [demo | tests | suite], got: $task" >&2
    exit 2
    ;;
esac
case "$task" in
  tests) environment requirements.txt requirements-tests.txt ;;
  *) environment requirements.txt ;;
esac
"$task" "${@:2}"
