"""Packaging: ranges for libraries; the versions last tested are in requirements.lock."""

from setuptools import find_packages, setup

setup(
    name="vmf_embeddings",
    version="1.0.0",
    description="Embeddings on spheres, planes and hyperbolic space, measured honestly",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["vmf_embeddings", "vmf_embeddings.*"]),
    # its path is not the working directory's: a received folder's modules stay unread
    entry_points={"console_scripts": ["vmf-embeddings = vmf_embeddings.main:main"]},
    package_data={"vmf_embeddings": ["conf/**/*.yaml"]},
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
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
        "tensorboard>=2.16",
    ],
    extras_require={
        "cpu": ["faiss-cpu>=1.9"],
        "gpu": ["faiss-gpu>=1.12"],
        "native": ["numba>=0.61"],
        "sam": ["pytorch-optimizer>=4.1,<5"],
        "pml": ["pytorch-metric-learning>=2.8,<3"],
        "timm": ["timm>=1.0.8,<2"],
        "wandb": ["wandb"],
        "mlflow": ["mlflow"],
        "cub": ["gdown"],
        "joblib": ["hydra-joblib-launcher>=1.2"],
        "slurm": ["hydra-submitit-launcher>=1.2"],
        "optuna": ["hydra-optuna-sweeper>=1.3", "sqlalchemy<2"],
        "tests": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "mpmath>=1.3"],
    },
)
