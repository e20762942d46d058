# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first look at parmtrain
#
# A prediction service receives two queries and runs its deployed model on each of them. One of the two predictions is
# slow, or is lost altogether. With parmtrain the service can answer anyway: a *parity model* has been run on the sum of
# the two queries, and its output, together with the prediction that did arrive, is enough to reconstruct the missing
# one.
#
# This notebook trains a parity model, loses a prediction on purpose, and gets it back.
#
# *Two more notebooks follow: [compare codes on your own model](compare_codes.ipynb), and
# [kill an instance while you watch the latency](kill_an_instance.ipynb).*

# %%
# This notebook needs no extras: pip install parmtrain
# %matplotlib inline
import torch

import parmtrain

# %% [markdown]
# ## Train a parity model
#
# The queries are the handwritten digits that come with scikit-learn, images of 8×8 pixels, so there is nothing to
# download. `compose` builds a configuration from the same options that `parmtrain` takes on the command line.
# `run` then trains a deployed model (or takes it from the cache, if it has been trained before), trains the parity
# model, evaluates it, and exports the result. That takes a few seconds on a CPU. `overwrite=true` lets you run the
# notebook again, and `%%capture` hides the progress bars.
#
# Other tasks work the same way: with `task=spoken_words` the queries are spectrograms, and with `task=garment_boxes`
# the predictions are bounding boxes.

# %%
# %%capture
cfg = parmtrain.compose(
    "task=digits", "code=sum", "k=2", "trainer.max_epochs=20", "trainer.accelerator=cpu", "overwrite=true"
)
result = parmtrain.run(cfg, "runs/first_look")

# %% [markdown]
# `result.metrics` holds the same figures as `runs/first_look/metrics.json`. Three of them matter most, all measured on
# the test split: the accuracy of the deployed model's own predictions, the accuracy of reconstructed ones, and that of
# a default answer, which is what a service without a parity model could give in place of a lost prediction.

# %%
{name: round(result.metrics[name]["accuracy"], 3) for name in ("available", "degraded", "default")}

# %% [markdown]
# ## Load what was exported
#
# A run exports a *bundle*, which is all that a service needs: an encoder, the parity model, a decoder, and the deployed
# model. (Without a training, `parmtrain.load("example:digits")` gives one that comes with parmtrain, of another code.)

# %%
bundle = parmtrain.load(result.folder)
deployed = bundle.deployed

# %% [markdown]
# ## Encode two queries
#
# Queries that are encoded together form a *coding group*. The first dimension of every tensor counts the groups, the
# second counts what is in a group. Here we have one group of two test queries, and the encoder turns them into one
# parity query of the same size.

# %%
stored, labels = result.splits.test[torch.tensor([0, 5])]
queries = result.task.input(stored).unsqueeze(0)
parity_queries = bundle.encode(queries)
queries.shape, parity_queries.shape

# %% [markdown]
# ## Lose a prediction and decode
#
# Three workers serve this group: the first two run the deployed model on one query each, and the third runs the parity
# model on the parity query. Their outputs go into one tensor, and a mask says which of them have arrived. Suppose that
# the first worker is late. The decoder never reads an output that has not arrived, so we can put NaN in its place.

# %%
predictions = deployed(queries[0]).unsqueeze(0)
outputs = torch.cat([predictions, bundle.predict(parity_queries)], dim=1)

arrived = torch.tensor([[False, True, True]])
outputs[~arrived] = torch.nan
decoded = bundle.decode(outputs, arrived)

# %% [markdown]
# The decoder returns a prediction for both queries. The second is the deployed model's own. The first is a
# reconstruction: its scores resemble those that were lost, and the highest of them belongs to the same digit.

# %%
for name, scores in (("lost", predictions[0, 0]), ("reconstructed", decoded[0, 0])):
    print(f"{name:>13}: digit {scores.argmax()}, scores", *(f"{score:6.1f}" for score in scores))
print(f"{'true':>13}: digit {labels[0]}")

# %% [markdown]
# `reconstruct` takes all of these steps at once; `lost` is the number of the worker whose output is missing.

# %%
torch.allclose(bundle.reconstruct(queries, lost=0), decoded)

# %% [markdown]
# ## See it
#
# Each row below shows one coding group from the validation split: its two queries, their parity query, and the
# prediction that was lost. Grey bars are the scores that the deployed model gave the ten digits, orange bars those that
# were reconstructed, and the true digit is printed in blue. The service would answer with the digit whose orange bar is
# the highest.

# %%
result.picture()

# %% [markdown]
# ## Further
#
# `code=sum` is the code of the paper (ParM). Others reconstruct more accurately, or cost less:
# [the next notebook](compare_codes.ipynb) puts several of them in one table, for a model of your own. The
# [tutorial](../docs/tutorial.md) does the same as this notebook on the command line.
