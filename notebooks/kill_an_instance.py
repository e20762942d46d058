# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Kill an instance while you watch the latency
#
# This notebook starts a real prediction service: server processes that each run one model, and a front before them that
# takes queries over HTTP. It sends queries at a steady rate and measures how long each answer takes. Meanwhile it kills
# one of the processes, and then makes another one stutter. All of this happens twice, on as many processes: once with a
# code, once without.
#
# *[A first look](first_look.ipynb) explains what a coding group is, and [the second notebook](compare_codes.ipynb)
# compares codes on a model of your own.*

# %%
# This notebook needs an extra: pip install 'parmtrain[serve]'. It runs on Linux and macOS.
# %matplotlib inline
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from sklearn.datasets import load_digits

# %% [markdown]
# ## Processes that end
#
# Each server is one command, `parmtrain serve …`, as in the [tutorial](../docs/tutorial.md#serve). `started` runs one
# and, whatever happens in between, kills it in the end. Ports are whichever are free, and a server is there once it
# says that it is ready.


# %%
def free_ports(count):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def started(*arguments):
    command = [sys.executable, "-m", "parmtrain", "serve", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()  # SIGKILL ends one that is stopped, too
        process.wait()


def wait_until_ready(process, port, seconds=120):
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1).close()
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("a server did not start")


# %% [markdown]
# ## Send queries, and do harm
#
# Queries are the handwritten digits of scikit-learn, and arrive at random times, 50 per second on average, whatever
# became of those before. Every answer says its *kind*: `deployed` is the deployed model's own prediction,
# `reconstructed` comes from the parity model.

# %%
RATE, SECONDS = 50, 8
KILL_AT, STUTTER_FROM, STUTTER_UNTIL, PAUSE = 2.5, 4.5, 7.5, 0.25  # seconds

images = (load_digits().images / 16).tolist()
random = np.random.default_rng(0)
arrivals = np.cumsum(random.exponential(1 / RATE, 2 * RATE * SECONDS))
arrivals = arrivals[arrivals < SECONDS]


async def watch(port, killed, stuttering):
    """Return the time, the latency and the kind of every answer, while one server is killed and one stutters."""
    answers = []
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(number, due):
            query = {"query": [images[number]]}
            async with session.post(f"http://127.0.0.1:{port}/", json=query) as response:
                kind = (await response.json())["kind"]
            answers.append((due - began, time.monotonic() - due, kind))

        async def harm():
            await asyncio.sleep(began + KILL_AT - time.monotonic())
            killed.kill()  # SIGKILL: the process has no time to say goodbye
            await asyncio.sleep(began + STUTTER_FROM - time.monotonic())
            while time.monotonic() < began + STUTTER_UNTIL:
                os.kill(stuttering.pid, signal.SIGSTOP)
                await asyncio.sleep(PAUSE)
                os.kill(stuttering.pid, signal.SIGCONT)
                await asyncio.sleep(PAUSE)

        began = time.monotonic()
        for number in range(40):  # a server's first answers take longer
            await ask(number, time.monotonic())
        answers.clear()
        began = time.monotonic() + 0.1
        tasks = [asyncio.create_task(harm())]
        for number, at in enumerate(arrivals):
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            tasks.append(asyncio.create_task(ask(number, began + at)))
        await asyncio.gather(*tasks)
    return sorted(answers)


# %% [markdown]
# ## Two services, three instances each
#
# `bundle=example:digits` is a trained bundle that comes with parmtrain: a deployed model for the digits and a parity
# model for groups of k = 2 queries. Both services have three instances:
#
# - *with a code*: two run the deployed model, one the parity model;
# - *without*: all three run the deployed model (`coded=false`).
#
# In each of them the same happens at the same time. At 2.5 seconds, one instance of the deployed model gets a SIGKILL.
# From 4.5 to 7.5 seconds, another one stutters: it is stopped for a quarter of a second, goes on for as long, and so
# on, like a process on a machine that is short of memory or processor time.
#
# All servers start together, and the second service is watched after the first. Everything has ended when the cell has.

# %%
MODELS = ["deployed", "deployed", "parity", "deployed", "deployed"]
SERVICES = {"with a code": [0, 1, 2], "without": [3, 1, 4]}  # killed, stuttering, third

measured = {}
with ExitStack() as stack:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    *instance_ports, port, other_port, metrics_port, other_metrics_port = free_ports(len(MODELS) + 4)
    instances = [
        stack.enter_context(started("--instance", "bundle=example:digits", f"model={model}", f"port={at}"))
        for model, at in zip(MODELS, instance_ports, strict=True)
    ]
    fronts = {}
    for (name, numbers), at, beside in zip(
        SERVICES.items(), [port, other_port], [metrics_port, other_metrics_port], strict=True
    ):
        fleet = {"deployed": [], "parity": []}
        for number in numbers:
            fleet[MODELS[number]].append(f"http://127.0.0.1:{instance_ports[number]}")
        path = folder / f"{at}.yaml"
        path.write_text(json.dumps({pool: servers for pool, servers in fleet.items() if servers}))  # JSON is YAML, too
        coded = f"coded={'true' if name == 'with a code' else 'false'}"
        settings = ["bundle=example:digits", f"fleet={path}", f"port={at}", f"metrics_port={beside}", coded]
        fronts[name] = stack.enter_context(started(*settings)), at, beside
    for process, at in zip(instances, instance_ports, strict=True):
        wait_until_ready(process, at)
    for process, _, beside in fronts.values():
        wait_until_ready(process, beside)
    for name, (_, at, _) in fronts.items():
        killed, stuttering, _ = (instances[number] for number in SERVICES[name])
        measured[name] = await watch(at, killed, stuttering)

# %% [markdown]
# ## Watch it

# %%
figure, both = plt.subplots(2, 1, figsize=(10, 6), sharex=True, sharey=True, layout="constrained")
for axes, (name, answers) in zip(both, measured.items(), strict=True):
    for kind, colour in (("deployed", "grey"), ("reconstructed", "tab:orange")):
        some = [(at, 1000 * seconds) for at, seconds, was in answers if was == kind]
        if some:
            axes.scatter(*zip(*some, strict=True), s=9, color=colour, label=kind)
    axes.axvline(KILL_AT, color="tab:red")
    axes.text(KILL_AT, 1.02, "SIGKILL", color="tab:red", ha="center", transform=axes.get_xaxis_transform())
    axes.axvspan(STUTTER_FROM, STUTTER_UNTIL, color="tab:blue", alpha=0.12, linewidth=0)
    middle = (STUTTER_FROM + STUTTER_UNTIL) / 2
    axes.text(middle, 1.02, "another one stutters", color="tab:blue", ha="center", transform=axes.get_xaxis_transform())
    axes.set(yscale="log", ylabel="latency, ms")
    axes.set_title(name, loc="left")
    axes.legend(loc="upper left")
    axes.grid(alpha=0.25)
both[-1].set_xlabel("time, s")
plt.show()

# %% [markdown]
# ## The same in numbers
#
# All latencies in milliseconds. Your figures will differ: all servers and this notebook share one machine, and a
# latency of some tens of milliseconds may only say that its cores were busy.

# %%
PARTS = {"all well": (0, KILL_AT), "one killed": (KILL_AT, STUTTER_FROM), "one stutters": (STUTTER_FROM, STUTTER_UNTIL)}
columns = ["service", "while", "queries", "median", "99th percentile", "longest", "reconstructed"]
table = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
for name, answers in measured.items():
    for part, (begin, end) in PARTS.items():
        some = [(1000 * seconds, kind) for at, seconds, kind in answers if begin <= at < end]
        latencies = np.array([latency for latency, _ in some])
        figures = " | ".join(f"{value:.0f}" for value in (*np.percentile(latencies, [50, 99]), latencies.max()))
        share = np.mean([kind == "reconstructed" for _, kind in some])
        table.append(f"| {name} | {part} | {len(some)} | {figures} | {share:.0%} |")
Markdown("\n".join(table))

# %% [markdown]
# ## What to conclude
#
# **A process that is killed is the easy case.** Its connections close at once, so the front knows, gives what it ran to
# another instance, and sends it nothing more. In both services every query gets an answer, and the few that the process
# had in its hands come somewhat late. A code is hardly needed for that. (A machine that loses its power or its network
# closes no connections; to the front that looks like the second case.)
#
# **An instance that stutters is the hard case.** It says nothing and closes nothing, so nobody can know that what it
# holds will be late. Without a code, the query that it holds as it stops waits for as long as it is stopped: these are
# the dots at the top. With a code, the query's group is answered from the parity model: the orange dots. A
# reconstruction may have to wait until the group has its second query, which at this rate takes 20 milliseconds on
# average, and more than 100 now and then.
#
# **What it costs.** Some answers are reconstructions even when all is well, since whichever comes first is sent, and
# a reconstruction is a bit less accurate than the deployed model: for this bundle, 96 of 100 agree with it. The service
# with a code also has one instance less of the deployed model, so that while one is dead and the other one is stopped,
# *all* of its answers are reconstructions. [Trust](../docs/trust.md) says how to send only those that are most likely
# right.
#
# **What else helps.** Without a code, a query that is late can be sent to a second instance (*hedging*, the setting
# `copy_percentile=95`). That often shortens the tail as much, as long as there are instances with time to spare; the
# [study of serving](../experiments/serving/README.md) compares both at length, with 18 instances and 100,000 queries.
# Neither helps when all instances are slow at once.
