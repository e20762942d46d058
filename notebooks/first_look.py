# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A lost prediction, rebuilt
#
# A prediction service answers two queries with its deployed model. One answer never arrives. A parity model has seen
# the *sum* of the two queries; from its output and the answer that did arrive, the lost one is rebuilt.

# %%
# %matplotlib inline
from pathlib import Path

import torch
from IPython.display import display

import parmtrain
from parmtrain.config.assemble import build, deployed_model
from parmtrain.report import pictures
from parmtrain.training.groups import GroupBatch

# %% [markdown]
# ## Train a bundle
#
# Real handwritten digits, 8×8 pixels, inside scikit-learn: no download. `python -m parmtrain` does the same from the
# command line. A bundle that is there already is used as it is. Any task would do: with `task=spoken_words` queries are
# spectrograms, with `task=garment_boxes` predictions are boxes.

# %%
folder = Path("runs/first_look")
cfg = parmtrain.compose("task=digits", "code=sum", "k=2", "trainer.max_epochs=20")
if not (folder / "metrics.json").exists():
    parmtrain.run(cfg, folder)

# %% [markdown]
# ## Encode two queries
#
# A bundle is one object with `encode`, `predict` and `decode`. The first dimension counts coding groups, the second the
# queries in each.

# %%
bundle = parmtrain.load(folder)
task = build(cfg.task)
splits = task.splits()
stored, labels = splits.test[torch.tensor([0, 5])]
queries = task.input(stored)[None]  # one group of two queries
parity_queries = bundle.encode(queries)
queries.shape, parity_queries.shape

# %% [markdown]
# ## Lose one, decode
#
# The deployed model answers both queries; then the answer to the first is taken away. What did not arrive may be
# anything: the decoder never reads it.

# %%
deployed = deployed_model(cfg, task, splits)
predictions = deployed(queries[0])[None]

outputs = torch.cat([predictions, bundle.predict(parity_queries)], dim=1)
arrived = torch.tensor([[False, True, True]])
decoded = bundle.decode(outputs.masked_fill(~arrived[..., None], torch.nan), arrived)
decoded, labels

# %% [markdown]
# ## See it
#
# One row for each coding group; each row loses another of its predictions.

# %%
batch = GroupBatch(queries, labels[None], predictions)
display(pictures.coding_groups(pictures.decoded_groups(bundle, batch), task))
