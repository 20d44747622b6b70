"""Golden models in PyLate's, Stanford's and next-plaid's layouts: see README.md for how to run it."""
import json
import os
import shutil
import sys

import torch
from safetensors.torch import load_file, save_file

import pylate
import sentence_transformers
import transformers
from pylate import models
from sentence_transformers.models import Transformer

from common import (DOCUMENTS, GOLDEN, QUERIES, TOKENIZER_FILES, WORK, body, bytelevel, export, modern_body, seed_all,
                    take, unigram, wordpiece, write_expected)

VERSIONS = {"pylate": pylate.__version__, "sentence_transformers": sentence_transformers.__version__,
            "transformers": transformers.__version__, "torch": torch.__version__}
PYLATE_FILES = TOKENIZER_FILES + ["config_sentence_transformers.json", "modules.json", "sentence_bert_config.json"]


def encode(model, texts, is_query, **kwargs):
    """One text at a time, with the ids that went in."""
    made = []
    for text in texts:
        ids = model.tokenize([text], is_query=is_query)["input_ids"][0].tolist()
        vectors = model.encode([text], is_query=is_query, batch_size=1, show_progress_bar=False, **kwargs)[0]
        made.append((text, ids, vectors))
    return made


def expected(name, model, options=None, extra=None):
    # As the library reads literal markers; documents without any token of their own keep what is left.
    write_expected(name, VERSIONS, {"specialTokens": "as-written", **(options or {})},
                   encode(model, QUERIES, True), encode(model, DOCUMENTS, False), extra)


def without(path, file, *keys):
    full = os.path.join(path, file)
    with open(full, encoding="utf8") as f:
        config = json.load(f)
    for key in keys:
        config.pop(key, None)
    with open(full, "w", encoding="utf8") as f:
        json.dump(config, f, indent=2)


def base(name, tokenizer, seed, **kwargs):
    path = os.path.join(WORK, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    fast = tokenizer(path)
    return path, body(path, len(fast), seed, **kwargs)


def save(model, name):
    path = os.path.join(WORK, name + "-saved")
    shutil.rmtree(path, ignore_errors=True)
    model.save(path)
    return path


def pylate_bert():
    """BERT era: reserved markers, expansion because nothing says otherwise, Dense outside the graph."""
    path, _ = base("pylate-bert", wordpiece, 1)
    seed_all(1)
    model = models.ColBERT(path, embedding_size=16, query_prefix="[unused0]", document_prefix="[unused1]",
                           query_length=16, document_length=40, device="cpu")
    saved = save(model, "pylate-bert")
    without(saved, "config_sentence_transformers.json", "do_query_expansion", "attend_to_expansion_tokens", "skiplist_words")
    export(model[0].auto_model, os.path.join(saved, "model.onnx"))
    take(saved, "pylate-bert", PYLATE_FILES + ["model.onnx", "1_Dense/config.json", "1_Dense/model.safetensors"])
    reloaded = models.ColBERT(saved, device="cpu")
    assert reloaded.do_query_expansion
    expected("pylate-bert", reloaded)


def pylate_attend():
    """The model looks at its expansion; other lengths; the Dense layers are inside the graph."""
    path, _ = base("pylate-attend", wordpiece, 2)
    seed_all(2)
    model = models.ColBERT(path, embedding_size=16, query_prefix="[unused0]", document_prefix="[unused1]",
                           query_length=24, document_length=24, do_query_expansion=True,
                           attend_to_expansion_tokens=True, skiplist_words=["a", "the", "of"], device="cpu")
    saved = save(model, "pylate-attend")
    export(model[0].auto_model, os.path.join(saved, "onnx", "model.onnx"), dense=[model[1].linear])
    take(saved, "pylate-attend", PYLATE_FILES + ["onnx/model.onnx", "1_Dense/config.json", "1_Dense/model.safetensors"])
    expected("pylate-attend", models.ColBERT(saved, device="cpu"))


def pylate_bytes():
    """ModernBERT's manner: "[Q] " as one token, no expansion, lower-casing said beside the tokenizer, and
    two Dense layers with bias, activation and residuals, of which one has its own projection."""
    path, _ = base("pylate-bytes", bytelevel, 3)
    seed_all(3)
    transformer = Transformer(path, max_seq_length=48, do_lower_case=True)
    dense = [
        models.Dense(32, 48, bias=True, activation_function=torch.nn.GELU(), use_residual=True),
        models.Dense(48, 48, bias=True, activation_function=torch.nn.SiLU(), use_residual=True),
        models.Dense(48, 12, bias=False, activation_function=torch.nn.Tanh(), use_residual=False),
    ]
    for layer in dense:
        torch.nn.init.normal_(layer.linear.weight, std=0.3)
    model = models.ColBERT(modules=[transformer, *dense], query_prefix="[Q] ", document_prefix="[D] ",
                           query_length=20, document_length=48, do_query_expansion=False, device="cpu")
    saved = save(model, "pylate-bytes")
    export(model[0].auto_model, os.path.join(saved, "model.onnx"))
    folders = [f"{i}_Dense/{file}" for i in (1, 2, 3) for file in ("config.json", "model.safetensors")]
    take(saved, "pylate-bytes", PYLATE_FILES + ["model.onnx", *folders])
    reloaded = models.ColBERT(saved, device="cpu")
    pooled = {str(factor): [row for _, _, row in encode(reloaded, DOCUMENTS, False, pool_factor=factor)] for factor in (2, 3)}
    from common import rows
    expected("pylate-bytes", reloaded, extra={"pooled": {k: [rows(v) for v in vs] for k, vs in pooled.items()}})


def stanford():
    """artifact.metadata, and the projection among the weights."""
    path, model = base("stanford", wordpiece, 4, architectures=["HF_ColBERT"])
    seed_all(4)
    linear = torch.nn.Linear(32, 16, bias=False)
    weights = load_file(os.path.join(path, "model.safetensors"))
    weights["linear.weight"] = linear.weight.detach().contiguous()
    save_file(weights, os.path.join(path, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(path, "config.json"), encoding="utf8") as f:
        config = json.load(f)
    config["architectures"] = ["HF_ColBERT"]
    with open(os.path.join(path, "config.json"), "w", encoding="utf8") as f:
        json.dump(config, f)
    with open(os.path.join(path, "artifact.metadata"), "w", encoding="utf8") as f:
        json.dump({"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 18, "doc_maxlen": 36,
                   "attend_to_mask_tokens": False, "mask_punctuation": True, "dim": 16, "similarity": "cosine"}, f)
    reference = models.ColBERT(path, device="cpu")
    assert torch.equal(reference[1].linear.weight, linear.weight)
    export(reference[0].auto_model, os.path.join(path, "model.onnx"))
    target = take(path, "stanford", TOKENIZER_FILES + ["artifact.metadata", "model.onnx"])
    save_file({"linear.weight": weights["linear.weight"]}, os.path.join(target, "model.safetensors"), metadata={"format": "pt"})
    expected("stanford", reference)


def onnx_config():
    """As next-plaid's exporter leaves a model that was trained with expansion: the flag is false, all
    layers are in the graph, nothing else is beside it. The reference has expansion."""
    path, _ = base("onnx-config", wordpiece, 5)
    seed_all(5)
    model = models.ColBERT(path, embedding_size=24, query_prefix="[unused0]", document_prefix="[unused1]",
                           query_length=32, document_length=64, device="cpu")
    saved = save(model, "onnx-config")
    export(model[0].auto_model, os.path.join(saved, "model.onnx"), output="output", dense=[model[1].linear], normalise=True)
    target = take(saved, "onnx-config", TOKENIZER_FILES + ["model.onnx"])
    with open(os.path.join(target, "onnx_config.json"), "w", encoding="utf8") as f:
        json.dump({"model_type": "ColBERT", "model_name": "tiny", "model_class": "BertModel", "uses_token_type_ids": True,
                   "query_prefix": "[unused0]", "document_prefix": "[unused1]", "query_length": 32, "document_length": 64,
                   "do_query_expansion": False, "attend_to_expansion_tokens": False,
                   "skiplist_words": model.skiplist_words, "embedding_dim": 24,
                   "mask_token_id": model.tokenizer.mask_token_id, "pad_token_id": 0,
                   "query_prefix_id": model.query_prefix_id, "document_prefix_id": model.document_prefix_id,
                   "do_lower_case": True}, f, indent=2)
    expected("onnx-config", model)


def xlmr():
    """Unigram vocabulary, markers that were added, vectors that may be cut."""
    path, _ = base("xlmr", unigram, 6)
    seed_all(6)
    model = models.ColBERT(path, embedding_size=16, query_prefix="[QueryMarker]", document_prefix="[DocumentMarker]",
                           query_length=32, document_length=64, device="cpu")
    saved = save(model, "xlmr")
    export(model[0].auto_model, os.path.join(saved, "model.onnx"))
    take(saved, "xlmr", PYLATE_FILES + ["model.onnx", "1_Dense/config.json", "1_Dense/model.safetensors"])
    expected("xlmr", models.ColBERT(saved, device="cpu"))


def pylate_modernbert():
    """ModernBERT itself: no token types, positions by rotation, layers that see their neighbours only."""
    path = os.path.join(WORK, "pylate-modernbert")
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    fast = bytelevel(path)
    modern_body(path, len(fast), 7, fast.get_vocab())
    seed_all(7)
    model = models.ColBERT(path, embedding_size=16, query_prefix="[Q] ", document_prefix="[D] ", query_length=32,
                           document_length=100, do_query_expansion=False, device="cpu",
                           model_kwargs={"attn_implementation": "eager"})
    saved = save(model, "pylate-modernbert")
    export(model[0].auto_model, os.path.join(saved, "model.onnx"), types=False)
    take(saved, "pylate-modernbert", PYLATE_FILES + ["model.onnx", "1_Dense/config.json", "1_Dense/model.safetensors"])
    expected("pylate-modernbert", models.ColBERT(saved, device="cpu", model_kwargs={"attn_implementation": "eager"}))


MAKERS = (pylate_bert, pylate_attend, pylate_bytes, stanford, onnx_config, xlmr, pylate_modernbert)

if __name__ == "__main__":
    os.makedirs(GOLDEN, exist_ok=True)
    for make in MAKERS:
        if sys.argv[1:] and make.__name__ not in sys.argv[1:]:
            continue
        make()
        print(make.__name__)
