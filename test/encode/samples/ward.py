"""Writes ward.json beside itself: clusters as PyLate 1.6.0's pool_embeddings_hierarchical makes them.

The lines between "clustering" and "means" are PyLate's, with numpy in torch's place.
Needs numpy and scipy.
"""

import json
import pathlib

import numpy as np
from scipy.cluster import hierarchy

rng = np.random.default_rng(7)


def pool(vectors, pool_factor, protected_tokens=1):
    protected, to_pool = vectors[:protected_tokens], vectors[protected_tokens:]
    num_embeddings = len(to_pool)
    num_clusters = max(num_embeddings // pool_factor, 1)
    if num_clusters >= num_embeddings:
        return vectors
    # clustering
    dist_full = 1 - to_pool @ to_pool.T
    condensed = dist_full[np.triu_indices(num_embeddings, k=1)]
    linkage_matrix = hierarchy.linkage(condensed, method="ward")
    labels = hierarchy.fcluster(linkage_matrix, t=num_clusters, criterion="maxclust")
    # means
    means = [to_pool[labels == label].mean(axis=0) for label in np.unique(labels)]
    return np.concatenate([protected, np.array(means)])


def case(name, vectors, pool_factor, protected_tokens=1):
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    pooled = pool(vectors, pool_factor, protected_tokens)
    return {
        "name": name,
        "dim": vectors.shape[1],
        "poolFactor": pool_factor,
        "poolProtected": protected_tokens,
        "vectors": [float(f"{x:.9g}") for x in vectors.ravel()],
        "pooled": [round(float(x), 6) for x in pooled.ravel()],
    }


def topics(count, dim, spread):
    centres = rng.normal(size=(4, dim))
    return centres[rng.integers(0, 4, count)] + spread * rng.normal(size=(count, dim))


repeated = rng.normal(size=(6, 8))[[0, 1, 2, 1, 2, 3, 4, 1, 5, 5, 2]]
cases = [
    case("random, factor 2", rng.normal(size=(60, 8)), 2),
    case("random, factor 3", rng.normal(size=(41, 8)), 3),
    case("topics, factor 4", topics(50, 8, 0.4), 4),
    case("topics, factor 2, three protected", topics(33, 8, 0.2), 2, 3),
    case("none protected", topics(20, 8, 0.3), 2, 0),
    case("tokens that repeat", repeated, 2),
    case("factor above the count", rng.normal(size=(5, 8)), 9),
    case("two tokens", rng.normal(size=(2, 8)), 2),
    case("one token", rng.normal(size=(1, 8)), 2),
]
target = pathlib.Path(__file__).with_name("ward.json")
target.write_text("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")
