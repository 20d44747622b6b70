"""Golden models as sentence-transformers 6 saves a MultiVectorEncoder: see README.md for how to run it."""
import os
import shutil

import sentence_transformers
import torch
import transformers
from sentence_transformers import MultiVectorEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

from common import (DOCUMENTS, GOLDEN, QUERIES, TOKENIZER_FILES, WORK, body, bytelevel, export, seed_all, take,
                    wordpiece, write_expected)

VERSIONS = {"sentence_transformers": sentence_transformers.__version__, "transformers": transformers.__version__,
            "torch": torch.__version__}


def encode(model, texts, method):
    made = []
    for text in texts:
        vectors = getattr(model, method)([text], batch_size=1, show_progress_bar=False)[0]
        made.append((text, None, vectors.cpu().numpy() if hasattr(vectors, "cpu") else vectors))
    return made


def finish(name, model):
    path = os.path.join(WORK, name + "-saved")
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path)
    export(model[0].model, os.path.join(path, "onnx", "model.onnx"))
    files = [os.path.relpath(os.path.join(folder, file), path) for folder, _, names in os.walk(path) for file in names]
    keep = [f for f in files if f.endswith(".json") or f.endswith(".onnx") or ("Dense" in f and f.endswith(".safetensors"))]
    take(path, name, keep + TOKENIZER_FILES)
    reloaded = MultiVectorEncoder(path, device="cpu")
    write_expected(name, VERSIONS, {"specialTokens": "as-written"},
                   encode(reloaded, QUERIES, "encode_query"), encode(reloaded, DOCUMENTS, "encode_document"))


def base(name, tokenizer, seed):
    path = os.path.join(WORK, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    body(path, len(tokenizer(path)), seed)
    return path


def fixed():
    path = base("st-fixed", wordpiece, 11)
    seed_all(11)
    transformer = Transformer(path, document_length=40, query_expansion={"strategy": "fixed", "attend": False, "length": 20})
    model = MultiVectorEncoder(modules=[
        transformer,
        Dense(32, 16, bias=True, activation_function=torch.nn.Tanh(), module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=[".", ",", "!", "?"]),
        Normalize(module_input_name="token_embeddings"),
    ], prompts={"query": "question: ", "document": "passage: "}, device="cpu")
    finish("st-fixed", model)


def least():
    path = base("st-min", bytelevel, 12)
    seed_all(12)
    transformer = Transformer(path, query_length=30, document_length=32,
                              query_expansion={"strategy": "min", "attend": True, "length": 12, "token": "[SEP]"})
    model = MultiVectorEncoder(modules=[
        transformer,
        Dense(32, 12, bias=False, activation_function=torch.nn.Identity(), module_input_name="token_embeddings"),
        MultiVectorMask(skiplist_words=["a", "e", "?"], skiplist_tasks=["query", "document"]),
        Normalize(module_input_name="token_embeddings"),
        HierarchicalTokenPooling(2, num_protected_tokens=1),
    ], prompts={"query": "[unused0] ", "document": "[unused1] search: "}, device="cpu")
    finish("st-min", model)


if __name__ == "__main__":
    os.makedirs(GOLDEN, exist_ok=True)
    for make in (fixed, least):
        make()
        print(make.__name__)
