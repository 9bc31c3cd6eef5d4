"""Packaging: ranges for libraries; the versions last tested are in requirements.lock."""

from setuptools import find_packages, setup

setup(
    name="vmf_embeddings",
    version="1.0.0",
    description="Train embeddings with PyTorch, save them, evaluate retrieval and calibration",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["vmf_embeddings", "vmf_embeddings.*"]),
    # a console script does not put the working directory on the import path: modules that lie in a
    # received folder are not imported
    entry_points={"console_scripts": ["vmf-embeddings = vmf_embeddings.__main__:main"]},
    package_data={"vmf_embeddings": ["conf/**/*.yaml", "py.typed", "report/page/*"]},
    install_requires=[
        "torch>=2.11,<2.15",
        "torchvision>=0.26,<0.30",
        "accelerate>=1.15,<2",
        "hydra-core>=1.3.8,<1.4",
        "omegaconf>=2.3,<2.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "pandas>=2.1",
        "scikit-learn>=1.4",
        "pillow>=10",
        "matplotlib>=3.8",
        "rich>=13.7",
        "numba>=0.61",
        "tensorboard>=2.16",
        "pyarrow>=16",
        "safetensors>=0.4",
    ],
    extras_require={
        "cpu": ["faiss-cpu>=1.9"],
        "gpu": ["faiss-gpu>=1.12"],
        "native": [],  # Numba is a normal dependency now; older commands ask for this extra
        "sam": ["pytorch-optimizer>=4.1,<5"],
        "pml": ["pytorch-metric-learning>=2.8,<3"],
        "timm": ["timm>=1.0.8,<2"],
        "lora": ["peft>=0.15", "timm>=1.0.8,<2"],
        "report": ["plotly>=7.1,<8", "jinja2>=3.1"],
        "onnx": ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.3"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow"],
        "cub": ["gdown"],
        "joblib": ["hydra-joblib-launcher>=1.2"],
        "slurm": ["hydra-submitit-launcher>=1.2"],
        "ray": ["hydra-ray-launcher>=1.2"],  # needs cloudpickle<3, which joblib>=1.6 refuses
        "optuna": ["hydra-optuna-sweeper>=1.3", "optuna>=5,<6"],  # of which 6 lacks what it calls
        "remote": ["fsspec>=2024.6", "s3fs>=2024.6", "aiohttp>=3.9", "requests>=2.32"],
        "docs": [
            "mkdocs-material>=9.5,<10",
            "mkdocstrings[python]>=0.26",
            "mkdocs-jupyter>=0.25",
            "jupytext>=1.16",
            "nbclient>=0.10",
            "ipykernel>=6.29",
        ],
        "tests": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "hypothesis>=6.100",
            "mpmath>=1.3",
            "mypy>=1.11",
        ],
    },
)
