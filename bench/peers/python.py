"""A system (bench/system.mjs): the peers that PyPI has, each called once per list of documents.

numpy        (query @ document.T).max(1).sum() per document; warm, one product over a ready batch
numkong      maxsim_pack of query and documents beforehand, maxsim_packed per document; it returns the
             sum of 1 - cos, so the score is the number of query tokens less it
maxsim-cpu   maxsim_scores on a ready 3-D batch, maxsim_scores_variable on a list
torch        einsum and amax on a ready batch; cold, on a gathered one
Peers that are not installed are left out.

usage: python.py <data folder> <store MiB>, with one thread per library set in the environment
"""

import json
import sys
import time
from importlib.metadata import version

import numpy as np

QUERY_TOKENS, WARM, COLD = 32, 100, 1000
folder, store_mib = sys.argv[1], int(sys.argv[2])
with open(f"{folder}/shape.txt") as file:
    count, tokens, dim, _, _ = map(int, file.read().split())
query = np.fromfile(f"{folder}/query.f32", np.float32, QUERY_TOKENS * dim).reshape(-1, dim)
documents = np.fromfile(f"{folder}/tokens.f32", np.float32).reshape(count, tokens, dim)
repeats = -(-(store_mib << 20) // documents.nbytes)
store = np.tile(documents, (repeats, 1, 1))
measurements, calls = [], {}


def add(peer, package, call, cases=("warm", "cold")):
    """call(ids, batch): batch is store[ids] where that is a view, else None."""
    for case in cases:
        docs = WARM if case == "warm" else COLD
        name = f"{peer} {docs} {case}"
        calls[name] = call
        measurements.append(
            dict(name=name, kind="peer", peer=peer, version=version(package), codec="f32", docs=docs,
                 warm=case == "warm", threads=1)
        )


def gathered(ids, batch):
    return store[ids] if batch is None else batch


add("numpy per document", "numpy",
    lambda ids, batch: np.array([(query @ store[i].T).max(1).sum() for i in ids]))
# Cold, gathering the batch alone takes longer than a product per document.
add("numpy one product", "numpy",
    lambda ids, batch: (batch.reshape(-1, dim) @ query.T).reshape(len(ids), tokens, -1).max(1).sum(1),
    cases=("warm",))

try:
    import numkong

    packed_query = numkong.maxsim_pack(query, dtype="f32")
    packed = [numkong.maxsim_pack(document, dtype="f32") for document in store]
    add("numkong f32 from Python", "numkong",
        lambda ids, batch: QUERY_TOKENS
        - np.array([numkong.maxsim_packed(packed_query, packed[i]) for i in ids]))
except ImportError:
    pass

try:
    import maxsim_cpu

    listed = list(store)
    add("maxsim-cpu batch", "maxsim-cpu",
        lambda ids, batch: maxsim_cpu.maxsim_scores(query, gathered(ids, batch)))
    add("maxsim-cpu list", "maxsim-cpu",
        lambda ids, batch: maxsim_cpu.maxsim_scores_variable(query, [listed[i] for i in ids]))
except ImportError:
    pass

try:
    import torch

    torch.set_num_threads(1)
    torch_query, torch_store = torch.from_numpy(query), torch.from_numpy(store)

    def torch_scores(ids, batch):
        chosen = torch_store[: len(ids)] if batch is not None else torch_store[torch.from_numpy(ids)]
        return torch.einsum("qd,ntd->nqt", torch_query, chosen).amax(2).sum(1).numpy()

    add("torch einsum + amax", "torch", torch_scores)
except ImportError:
    pass

random = np.random.default_rng(1)


def run(name, times):
    wall, cpu = [], []
    for _ in range(times):
        if name.endswith("warm"):
            ids, batch = np.arange(WARM), store[:WARM]
            calls[name](ids, batch)
        else:
            calls[name](random.integers(0, len(store), WARM), None)
            ids, batch = random.integers(0, len(store), COLD), None
        cpu_start, start = time.process_time_ns(), time.perf_counter_ns()
        calls[name](ids, batch)
        wall.append((time.perf_counter_ns() - start) / 1000)
        cpu.append((time.process_time_ns() - cpu_start) / 1000)
    return {"wallUs": wall, "cpuUs": cpu}


def scores(name, wanted):
    return {"scores": [float(x) for x in calls[name](np.arange(wanted), store[:wanted])]}


for line in sys.stdin:
    command, times, name = (line.strip().split(" ", 2) + ["0", ""])[:3]
    if command == "list":
        answer = {"measurements": measurements}
    else:
        answer = run(name, int(times)) if command == "run" else scores(name, int(times))
    print(json.dumps(answer), flush=True)
