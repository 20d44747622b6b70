"""Makes small indexes with the packages that people have them from, and what those packages decode them to.

    python make.py <out> <sample>...       samples: see SAMPLES below
    python make.py freeze <from> <to>      copies samples without the files that nobody decodes

Needs, from PyPI: torch and numpy, and colbert-ai with faiss-cpu, pylate, fast-plaid (1.7 or newer for
"fast-plaid", 1.4 for "fast-plaid-1.4"), whichever the samples asked for use. next-plaid is no Python
package: next-plaid/ beside this file makes its samples.

Of each sample: <out>/<sample>/index, the files as the package left them; vectors.npy, f32 [tokens, dim] as
the package itself decodes them; truth.json, {package, ids, doclens} of the documents in the same order.
"""

import json
import os
import random
import shutil
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import numpy as np
import torch

DIM = int(os.environ.get("SAMPLE_DIM", "16"))
DOCUMENTS = int(os.environ.get("SAMPLE_DOCUMENTS", "32"))


def embeddings(count, seed, dim=DIM):
    generator = np.random.default_rng(seed)
    documents = []
    for _ in range(count):
        rows = generator.standard_normal((int(generator.integers(1, 24)), dim)).astype(np.float32)
        documents.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    return documents


def write(folder, package, ids, documents):
    """documents: decoded vectors, one array a document; None for one that is deleted."""
    kept = [(i, d) for i, d in zip(ids, documents) if d is not None]
    np.save(folder / "vectors.npy", np.concatenate([d for _, d in kept]).astype(np.float32))
    truth = {"package": package, "ids": [i for i, _ in kept], "doclens": [len(d) for _, d in kept]}
    (folder / "truth.json").write_text(json.dumps(truth) + "\n")


def version(name):
    from importlib.metadata import version as of

    return f"{name} {of(name)}"


def split(rows, doclens):
    documents, at = [], 0
    for length in doclens:
        documents.append(rows[at : at + length] if length else None)
        at += length
    return documents


def stanford_truth(index, codec_class):
    """What ColBERT's own codec makes of every chunk."""
    codec = codec_class.load(index_path=str(index))
    documents = []
    for chunk in range(json.loads((index / "metadata.json").read_text())["num_chunks"]):
        rows = codec.decompress(codec_class.Embeddings.load(str(index), chunk)).numpy()
        documents += split(rows, json.loads((index / f"doclens.{chunk}.json").read_text()))
    return documents


def colbert(folder, nbits=2):
    """ColBERT's own indexer, with vectors in the place of an encoder."""
    from colbert.data.collection import Collection
    from colbert.indexing.codecs.residual import ResidualCodec
    from colbert.indexing.collection_indexer import CollectionIndexer
    from colbert.indexing.index_saver import IndexSaver
    from colbert.infra import ColBERTConfig, Run, RunConfig

    documents = embeddings(DOCUMENTS, 1)

    class Encoder:
        def encode_passages(self, passages):
            rows = [documents[int(p)] for p in passages]
            return torch.from_numpy(np.concatenate(rows)), [len(r) for r in rows]

    class Chunked(Collection):
        def get_chunksize(self):
            return 1 + DOCUMENTS // 3

    with Run().context(RunConfig(nranks=1, root=".", experiment="sample")):
        config = ColBERTConfig(nbits=nbits, dim=DIM, index_path="index", kmeans_niters=4)
        config.rank, config.nranks = 0, 1
        Path("index").mkdir()
        indexer = CollectionIndexer.__new__(CollectionIndexer)
        indexer.verbose, indexer.config, indexer.rank, indexer.nranks = 0, config, 0, 1
        indexer.use_gpu, indexer.encoder, indexer.saver = False, Encoder(), IndexSaver(config)
        indexer.collection = Chunked(data=[str(i) for i in range(len(documents))])
        indexer.run([[]])
    decoded = stanford_truth(Path("index"), ResidualCodec)
    write(folder, version("colbert-ai"), [str(i) for i in range(len(documents))], decoded)


def pylate_stanford(folder):
    """PyLate's PLAID of the older kind: ColBERT's files and a map of ids; some documents deleted."""
    from pylate import indexes
    from pylate.indexes.stanford_nlp.indexing.codecs.residual import ResidualCodec

    documents = embeddings(DOCUMENTS, 2)
    ids = [f"doc-{i}" for i in range(len(documents))]
    index = indexes.PLAID(
        index_folder=".", index_name="index", override=True, use_fast=False,
        nbits=2, embedding_size=DIM,
    )
    index.add_documents(documents_ids=ids, documents_embeddings=documents)
    index.remove_documents([ids[3], ids[17]])
    decoded = stanford_truth(Path("index"), ResidualCodec)
    write(folder, version("pylate"), ids, decoded)


def fast_plaid(folder, nbits=4, staged=False):
    """With documents added and deleted after the index was made."""
    from fast_plaid import search

    documents = [torch.from_numpy(d) for d in embeddings(DOCUMENTS, 3)]
    path = "index"
    index = search.FastPlaid(index=path, device="cpu")
    index.create(documents_embeddings=documents[:30], nbits=nbits, batch_size=12, start_from_scratch=0)
    index.update(documents_embeddings=documents[30:], start_from_scratch=0)
    deleted = [14, 25]
    if staged:
        # As a crash within delete leaves it: changed chunks in files of their own, the others merged.
        from fast_plaid import fast_plaid_rust
        from fast_plaid.search import storage

        chunks = json.loads(Path(path, "metadata.json").read_text())["num_chunks"]
        storage.materialize_shards(path, chunks, "codes")
        storage.materialize_shards(path, chunks, "residuals", list(range(1, chunks)))
        fast_plaid_rust.delete(index=path, torch_path=index.torch_path, device="cpu", subset=deleted)
        shutil.copytree(path, "staged")
    else:
        index.delete(deleted)
    index.close() if hasattr(index, "close") else None
    index = search.FastPlaid(index=path, device="cpu")
    count = len(documents) - 2
    decoded = [d.float().numpy() for d in index.get_embeddings(list(range(count)))]
    write(folder, version("fast-plaid"), [str(i) for i in range(count)], decoded)
    if staged:
        shutil.rmtree(path)
        os.rename("staged", path)


def pylate(folder):
    """PyLate's PLAID as it is now: fast-plaid's files and a map of ids."""
    from pylate import indexes

    documents = embeddings(DOCUMENTS, 4)
    ids = [f"doc/{i}" for i in range(len(documents))]
    index = indexes.PLAID(
        index_folder=".", index_name="index", override=True, nbits=4, device="cpu",
        show_progress=False,
    )
    index.add_documents(documents_ids=ids[:30], documents_embeddings=documents[:30])
    index.add_documents(documents_ids=ids[30:], documents_embeddings=documents[30:])
    index.remove_documents([ids[3], ids[-3]])
    inner = index._index
    places = inner._load_plaid_ids_to_documents_ids()
    order = sorted(places)
    decoded = [d.float().numpy() for d in inner.fast_plaid.get_embeddings(order)]
    write(folder, version("pylate"), [places[p] for p in order], decoded)


SAMPLES = {
    "colbert": colbert,
    "colbert-1bit": lambda folder: colbert(folder, nbits=1),
    "pylate-stanford": pylate_stanford,
    "fast-plaid": fast_plaid,
    "fast-plaid-2bit": lambda folder: fast_plaid(folder, nbits=2),
    "fast-plaid-staged": lambda folder: fast_plaid(folder, staged=True),
    "fast-plaid-1.4": fast_plaid,
    "pylate": pylate,
}


# Inverted lists, raw copies of late additions, caches: all but what documents are decoded from.
UNREAD = ("ivf", "inv_norms", "buffer", "embeddings.npy", "plan.json", "cluster_threshold", "avg_residual",
          "bucket_cutoffs", ".lock", "metadata.db")


def freeze(source, target):
    for file in sorted(source.rglob("*")):
        chunked = any(file.parent.glob("*.codes.npy"))
        unread = any(part in file.name for part in UNREAD) or (chunked and file.name.startswith("merged"))
        if file.is_file() and not unread:
            to = target / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, to)


def main():
    if sys.argv[1] == "freeze":
        return freeze(Path(sys.argv[2]), Path(sys.argv[3]))
    out = Path(sys.argv[1]).resolve()
    for name in sys.argv[2:]:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # No path of this machine gets into the files.
        os.chdir(folder)
        SAMPLES[name](folder)
        for file in folder.rglob("metadata.json"):
            for path in (str(folder), str(folder).replace("/", "\\/")):
                file.write_text(file.read_text().replace(path, "."))
        print(f"made {name}", flush=True)


# The packages start processes, which import this file again.
if __name__ == "__main__":
    main()
