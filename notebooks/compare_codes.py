# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compare codes on your own model
#
# A code says what the extra workers of a coding group run, and how a lost prediction is rebuilt from their outputs.
# Which one is best depends on the deployed model and on what the extra workers may cost. So we compare several of them
# on one deployed model: on the same groups of queries, with the same predictions lost, in one table.
#
# The deployed model here is an ordinary PyTorch module, trained in a few lines. Put your own in its place.
#
# *[A first look](first_look.ipynb) explains what a coding group is, and
# [the third notebook](kill_an_instance.ipynb) serves one and breaks it.*

# %%
# This notebook needs no extras: pip install parmtrain
# %matplotlib inline
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

from parmtrain.compare import compare

# %% [markdown]
# ## Your data and your model
#
# scikit-learn's handwritten digits, as three data sets of PyTorch: for training, validation and test.

# %%
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16  # [1797, 1, 8, 8]
labels = torch.tensor(digits.target)
order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
train, val, test = (TensorDataset(images[some], labels[some]) for some in order.split([1100, 297, 400]))

# %% [markdown]
# A small convolutional network, trained on the first of them in a few seconds. From now on parmtrain calls it F, and no
# weight of it changes any more.

# %%
torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(10):
    for batch in torch.randperm(len(train)).split(32):
        queries, wanted = train[batch]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(queries), wanted).backward()
        optimizer.step()
model.eval()
with torch.no_grad():
    right = (model(test.tensors[0]).argmax(-1) == test.tensors[1]).float().mean()
print(f"accuracy of F on the test split: {right:.4f}")

# %% [markdown]
# ## Compare
#
# `compare` takes the options of the command line; a list of values, as after `code=`, means one run for each.
# `deployed` is the model and `data` the data, in place of files. The folder `comparison` keeps every finished run: call
# it again with one more code, and only that one is trained.
#
# The first four are baselines that train nothing. The fifth is a rival that no comparison should leave out:
#
# | code | what the extra workers run for a group of two queries |
# |---|---|
# | `default` | nothing; a lost prediction is answered with a fixed class |
# | `replication` | F on each query again, so twice the instances |
# | `mean_parity` | F on the mean of the two images |
# | `berrut_a` | F on points of a curve through the queries; all three workers run such points |
# | `backup` | a small model, on each query: twice the bytes, and no more arithmetic than one run of F |
# | `sum` | a parity model on the sum of the images, as in the paper (ParM) |
# | `sum_corrected` | the same, with a small network in the decoder |
# | `concat_heads` | a parity model on both images, downsampled into one, with one output for each |
# | `lowres`, `lowres_perceptron` | a small model, on each image at half of its pixels |

# %%
# %%capture
codes = "default,replication,mean_parity,berrut_a,backup,sum,sum_corrected,concat_heads,lowres,lowres_perceptron"
rows = compare(
    ["task=module", "task.query_shape=[1,8,8]", "task.outputs=10", f"code={codes}", "k=2", "trainer.max_epochs=20"],
    "comparison",
    deployed=model,
    data=(train, val, test),
)

# %% [markdown]
# ## The table
#
# Each row is a dictionary, and `comparison/table.csv` has all of their figures. The most important ones:
#
# - *A_d*, degraded accuracy: how often a **reconstructed** prediction is right, over both positions that can be lost,
#   with its 95 % interval;
# - *agreement*: how often it is what F would have said;
# - *nobody late*: the accuracy when nothing is lost. Codes that leave F's own answers alone have F's accuracy here;
# - what a group costs beyond F's two runs: *dispatches* to extra workers, *bytes* sent to them (÷ those of a query) and
#   *arithmetic* (÷ one run of F).


# %%
def line(row):
    score = f"{row['degraded']:.3f} ({row['degraded_low']:.3f} to {row['degraded_high']:.3f})"
    shares = (f"{row[name]:.3f}" for name in ("agreement", "nobody_late"))
    costs = (f"{row[name]:.2f}" for name in ("parity_bytes", "parity_flops"))
    code, dispatches = f"`{row['code']}`", str(row["r"])
    return f"| {' | '.join([code, score, *shares, dispatches, *costs])} |"


compared = [row for row in rows if row["late"] == 1 and row["code"] in codes.split(",")]
compared.sort(key=lambda row: -row["degraded"])
columns = ["code", "A_d (95 % interval)", "agreement", "nobody late", "dispatches", "bytes", "arithmetic"]
head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
Markdown("\n".join(head + [line(row) for row in compared]))

# %% [markdown]
# ## The plot
#
# The same accuracies with their intervals, without `default`, and F's own as a line. Orange codes cost more than the
# others: more than one dispatch, more bytes than a query has, or more arithmetic than one run of F.

# %%
figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for row in reversed([row for row in compared if row["code"] != "default"]):
    cheap = row["r"] <= 1 and row["parity_bytes"] <= 1.05 and row["parity_flops"] <= 1.05
    score, low, high = row["degraded"], row["degraded_low"], row["degraded_high"]
    axes.errorbar(score, row["code"], xerr=[[score - low], [high - score]], fmt="o", color="C0" if cheap else "C1")
axes.axvline(compared[0]["available"], color="black", linestyle=":")
axes.text(compared[0]["available"], 1.02, "F itself", ha="center", transform=axes.get_xaxis_transform())
axes.set(xlabel="accuracy of reconstructions, A_d")
axes.grid(alpha=0.25)
plt.show()

# %% [markdown]
# ## Which one to take
#
# Whoever picks the best row of a table of the test split fools himself a little: with ten codes, one of them is lucky.
# So `comparison/table.md` names the best one by its accuracy on the *validation* split, within a budget for each group,
# which is one dispatch, the bytes of one query and the arithmetic of one run of F, unless `budget.bytes=2` or the like
# is among the options.

# %%
report = Path("comparison/table.md").read_text(encoding="utf-8")
Markdown(report[report.index("Best within") :])

# %% [markdown]
# ## What to conclude
#
# - **For this model, `lowres`**: its reconstructions are about as accurate as F itself, at the price of one query. The
#   intervals of the next codes overlap its own, though: 400 test queries cannot tell them apart. More of them can, or
#   several seeds (`seed=0,1,2` among the options).
# - **If twice the bytes are no problem, `backup` is at least as good**, and nothing about it is a code: it is a small
#   model that runs on each query. An accuracy above F's is no error, since the small model also learns from the labels;
#   and again, the intervals overlap. `replication` says exactly what F says, at twice the price.
# - **The paper's `sum` is no better here than `berrut_a`, which trains nothing.** But with `berrut_a` every answer is
#   an approximation, also when nothing is late: that is why its accuracy with nobody late is below the others'.
# - **`concat_heads` suffers from small pictures**: of 8×8 pixels few are left when two pictures share the space of
#   one. On Fashion-MNIST, with 28×28, it is far better than the paper's recipe: 0.880 against 0.722.
# - **All of this is about one small model and easy data.** The order of the codes differs from model to model, so
#   compare them on yours. And an accuracy says nothing about latency, as
#   [the next notebook](kill_an_instance.ipynb) does.
