"""What the libraries make of golden models whose configuration is changed a little: see README.md.

Run after both makers, in either environment: it writes test/golden/variants/pylate.json with PyLate at hand,
else test/golden/variants/sentence-transformers.json. `patch`: keys of a JSON file set, or, where null, deleted.
"""
import json
import os
import shutil

import sentence_transformers

from common import GOLDEN, WORK, rows

FIRST_ONLY = {
    "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]}
NO_MASK = {"tokenizer_config.json": {"mask_token": None, "eos_token": "[SEP]"}}
LONG = "business class is booked only for flights longer than seven hours " * 3
SHORT = ["Who approves it?", "A stolen laptop must be reported!"]

PYLATE = [
    {"name": "white space around texts, bytes", "base": "pylate-bytes",
     "queries": ["  meals", "meals \n"], "documents": ["\n\nA stolen laptop  ", "\u00a0Meals above 40\u3000"]},
    {"name": "a byte order mark is no white space", "base": "pylate-bytes",
     "queries": ["\ufeffmeals"], "documents": ["\ufeffA stolen laptop\ufeff"]},
    {"name": "white space to Python alone", "base": "pylate-bytes",
     "queries": ["\u0085meals\u001c"], "documents": ["\u001fA stolen laptop\u0085"]},
    {"name": "white space around texts, Unigram", "base": "xlmr",
     "queries": ["  meals", "meals \n"], "documents": ["\n\nA stolen laptop  "]},
    {"name": "no last token", "base": "pylate-bytes", "first_only": True, "queries": SHORT, "documents": SHORT + [LONG]},
    {"name": "no mask token", "base": "pylate-attend", "patch": NO_MASK, "queries": SHORT, "documents": SHORT},
    {"name": "no markers", "base": "pylate-bert",
     "patch": {"config_sentence_transformers.json": {"query_prefix": "", "document_prefix": ""}},
     "queries": SHORT, "documents": SHORT + [LONG]},
]

SENTENCE_TRANSFORMERS = [
    {"name": "no document length", "base": "st-fixed",
     "patch": {"sentence_bert_config.json": {"document_length": None}, "tokenizer_config.json": {"model_max_length": 24}},
     "queries": SHORT, "documents": SHORT + [LONG]},
    {"name": "a prompt for passages", "base": "st-fixed",
     "patch": {"config_sentence_transformers.json": {"prompts": {"query": "question: ", "passage": "read: "}}},
     "queries": SHORT, "documents": SHORT},
    {"name": "a reserved piece as text", "base": "st-fixed",
     "patch": {"config_sentence_transformers.json": {"prompts": {"query": "[unused0] ", "document": "[unused1] "}}},
     "queries": SHORT, "documents": SHORT},
    {"name": "an empty list of tokens to keep", "base": "st-fixed",
     "patch": {"2_MultiVectorMask/config.json": {"keep_only_token_ids": []}}, "queries": SHORT, "documents": SHORT},
    {"name": "tokens to keep", "base": "st-fixed",
     "patch": {"2_MultiVectorMask/config.json": {"keep_only_token_ids": [4, 5, 7, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50]}},
     "queries": SHORT, "documents": SHORT},
    {"name": "a skiplist word that is no token", "base": "st-fixed",
     "patch": {"2_MultiVectorMask/config.json": {"skiplist_words": [".", "nosuchword"]}},
     "queries": SHORT, "documents": ["\U0001f600 meals. \u4eca"]},
    {"name": "no mask token", "base": "st-fixed", "patch": NO_MASK, "queries": SHORT, "documents": SHORT},
    {"name": "lower case around special tokens", "base": "st-min", "patch": {"sentence_bert_config.json": {"do_lower_case": True}},
     "queries": ["What is [MASK] HERE?"], "documents": ["REPORT a [MASK] Laptop [SEP] Now"]},
    {"name": "pooled means as they are", "base": "st-min", "pooled": True,
     "patch": {"4_HierarchicalTokenPooling/config.json": {"normalize_embeddings": None, "pool_factor": 1.5}},
     "queries": SHORT, "documents": SHORT + [LONG]},
    {"name": "PyLate's folder, a prompt after the marker", "base": "pylate-bert",
     "patch": {"config_sentence_transformers.json": {"prompts": {"query": "search: ", "document": "passage: "}}},
     "queries": SHORT, "documents": SHORT},
    {"name": "PyLate's folder, a prompt with the marker", "base": "pylate-bert",
     "patch": {"config_sentence_transformers.json": {"prompts": {"query": "[unused0]search: ", "document": "[unused1]passage: "}}},
     "queries": SHORT, "documents": SHORT},
]


def patched(variant):
    base = variant["base"]
    patch = variant.setdefault("patch", {})
    if variant.pop("first_only", False):
        with open(os.path.join(GOLDEN, base, "tokenizer.json"), encoding="utf8") as f:
            first = next(t["id"] for t in json.load(f)["added_tokens"] if t["content"] == "[CLS]")
        patch["tokenizer.json"] = {"post_processor": {
            **FIRST_ONLY, "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [first], "tokens": ["[CLS]"]}}}}
    tokenizers = [os.path.join(WORK, base + "-saved", "tokenizer.json"), os.path.join(GOLDEN, base, "tokenizer.json")]
    contents = [open(file, encoding="utf8").read() for file in tokenizers]
    assert contents[0] == contents[1], f"{WORK} holds another {base} than test/golden: run the makers again"
    path = os.path.join(WORK, "variant")
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(os.path.join(WORK, base + "-saved"), path)
    for file, changes in patch.items():
        with open(os.path.join(path, file), encoding="utf8") as f:
            config = json.load(f)
        for key, value in changes.items():
            if value is None:
                config.pop(key, None)
            else:
                config[key] = value
        with open(os.path.join(path, file), "w", encoding="utf8") as f:
            json.dump(config, f)
    return path


def with_pylate(path, variant):
    from pylate import models

    model = models.ColBERT(path, device="cpu")
    encode = lambda text, is_query: {
        "text": text, "ids": model.tokenize([text], is_query=is_query)["input_ids"][0].tolist(),
        "vectors": rows(model.encode([text], is_query=is_query, batch_size=1, show_progress_bar=False)[0])}
    return [encode(t, True) for t in variant["queries"]], [encode(t, False) for t in variant["documents"]]


def with_sentence_transformers(path, variant):
    model = sentence_transformers.MultiVectorEncoder(path, device="cpu")
    encode = lambda text, method: {
        "text": text, "vectors": rows(getattr(model, method)([text], batch_size=1, show_progress_bar=False)[0])}
    return [encode(t, "encode_query") for t in variant["queries"]], [encode(t, "encode_document") for t in variant["documents"]]


def main():
    with_v6 = hasattr(sentence_transformers, "MultiVectorEncoder")
    made = []
    for variant in SENTENCE_TRANSFORMERS if with_v6 else PYLATE:
        path = patched(variant)
        queries, documents = (with_sentence_transformers if with_v6 else with_pylate)(path, variant)
        made.append({**variant, "queries": queries, "documents": documents})
    folder = os.path.join(GOLDEN, "..", "variants")
    os.makedirs(folder, exist_ok=True)
    name = "sentence-transformers.json" if with_v6 else "pylate.json"
    with open(os.path.join(folder, name), "w", encoding="utf8") as f:
        json.dump(made, f, separators=(",", ":"))


if __name__ == "__main__":
    main()
