# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Tour
#
# Train on the 1,797 handwritten digits that scikit-learn ships, embed the test images, evaluate them, and use one of the objectives in a training loop of your own. Every output below is real: `make tour` runs the notebook again.

# %%
import os
import tempfile
import warnings

os.environ["VMF_EMBEDDINGS_NATIVE"] = "0"  # no compilation for a run of seconds
os.environ |= {"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "100"}  # plain tables
warnings.filterwarnings("ignore", message="IProgress not found")
os.chdir(tempfile.mkdtemp(prefix="tour"))

import vmf_embeddings as vmf

# %% [markdown]
# ## Train
#
# The same as `vmf-embeddings train experiment=demo mode.epochs=3` in a terminal.

# %%
run = vmf.train(["experiment=demo", "mode.epochs=3"])
run

# %% [markdown]
# ## Embed and predict
#
# A trained run embeds images: arrays, PIL images, tensors, paths or folders. The embeddings of this objective are parameters of von Mises-Fisher distributions: the direction is the mean direction, the norm is the concentration
# kappa, which is a measure of confidence.

# %%
from sklearn.datasets import load_digits

digits = load_digits()
images = (digits.images[-300:] * 255 / 16).astype("uint8")  # [300, 8, 8]
labels = digits.target[-300:]

embeddings = run.embed(images)  # float32 [300, 3]
probabilities = run.predict(images)  # [300, 10]
print(
    embeddings.shape,
    f"{(probabilities.argmax(1) == labels).mean():.3f} of these predicted correctly",
)
print(run.confidence_name, run.confidence(embeddings)[:5].round(1))

# %% [markdown]
# Some of these 300 images were in the training split, so this accuracy is no result. The next section scores the test split.
#
# ## Evaluate
#
# Extraction writes an embedding file for the test split, and evaluation needs nothing but this file.

# %%
# !python -m vmf_embeddings train mode=get_embeddings run=runs/digits/vmf_softmax/3dim/demo
# !python -m vmf_embeddings evaluate runs/digits/vmf_softmax/3dim/demo

# %%
from PIL import Image

figure = Image.open("runs/digits/vmf_softmax/3dim/demo/embedding_map.png")
figure.convert("RGB").reduce(2).quantize(64)

# %% [markdown]
# Scores of any embeddings, as a function:

# %%
scores = vmf.evaluate(embeddings, labels, metrics=["recall", "map"], geometry="cosine")
scores

# %% [markdown]
# ## An objective in your own loop
#
# `vmf.objective` builds any objective as an `nn.Module` on embeddings, with the same defaults as the command line. Here two-dimensional embeddings of the digits are trained with ArcFace.

# %%
import torch

torch.manual_seed(0)
x = torch.tensor(digits.data / 16, dtype=torch.float32)
y = torch.tensor(digits.target)
net = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2))
loss_fn = vmf.objective("arcface", embedding_dim=2, n_classes=10, m=0.1)
optimizer = torch.optim.Adam(
    [{"params": net.parameters()}, *loss_fn.param_groups(lr=0.01)], lr=0.01
)
for _ in range(300):
    rows = torch.randint(1400, (260,))  # the first 1,400 images are for training
    loss = loss_fn(net(x[rows]), y[rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    z = net(x[1400:])
    accuracy = (loss_fn.predict(z).argmax(1) == y[1400:]).float().mean()
print(
    f"loss {loss.item():.3f} nats, accuracy on the other 397 images {accuracy:.3f}, {loss_fn.geometry}"
)

# %%
import matplotlib.pyplot as plt

directions = torch.nn.functional.normalize(z).numpy()
weights = torch.nn.functional.normalize(loss_fn.class_weights.detach()).numpy()
figure, axes = plt.subplots(figsize=(4.2, 4.2), dpi=80)
axes.scatter(*directions.T, c=y[1400:], cmap="tab10", s=14, alpha=0.6)
axes.scatter(*weights.T, c=range(10), cmap="tab10", s=80, marker="D", edgecolors="black")
for digit, (horizontal, vertical) in enumerate(weights):
    axes.annotate(str(digit), (1.12 * horizontal, 1.12 * vertical), ha="center", va="center")
axes.set(aspect="equal", xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
axes.set_title("directions of embeddings (points), class weights (diamonds)", fontsize=8)
plt.show()

# %% [markdown]
# ## Next
#
# - [Python library](library.md): every function used here, and the others
# - [Command line](command-line.md): commands, options, exit codes
# - [Add a data set](add-a-dataset.md): your own images
# - [Methods](methods.md): all objectives
