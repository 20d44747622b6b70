"""Token ids of texts at the edges, for the tokenizer of every golden model, to test/golden/edge-texts.json.

Only the `tokenizers` library takes part, so either environment of README.md will do. `as_written` is what
PyLate and sentence-transformers hand to their models. `plain` is what the same library makes of a tokenizer
that knows neither special tokens nor markers: the text "[MASK]" is six characters like any others.
"""
import hashlib
import json
import os
import re

from tokenizers import AddedToken, Tokenizer

from common import GOLDEN, ROOT

TEXTS = {
    "empty": "",
    "blank": " \t\n\r\u00a0\u2003 ",
    "only emoji": "\U0001f600\U0001f389\U0001f680\u2764\ufe0f",
    "joined emoji": "a \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family, \U0001f469\U0001f3fd\u200d\U0001f4bb, \U0001f1ec\U0001f1e7",
    "lone high surrogate": "half \ud83d of a pair",
    "lone low surrogates": "\udc00\udc00 meals",
    "pair the wrong way round": "x\udc4d\ud83dy",
    "nul": "stolen\u0000laptop \u0000 report",
    "control characters": "a\u0001b\u0007c\u001bd\u007fe\u0085f",
    "replacement character": "\ufffd and \ufffd",
    "right to left": "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645, \u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "marks of direction": "\u202emeals\u202c \u200fabove\u200e 40",
    "letters without a space": "abcdefghij" * 1000,
    "one letter": "a" * 10000,
    "composed": "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m",
    "decomposed": "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "many marks": "z" + "\u0301\u0316\u0334" * 40 + "algo",
    "han": "\u4eca\u65e5\u306f\u826f\u3044\u5929\u6c17\u3067\u3059\u3002\u5f88\u597d",
    "thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01",
    "hangul": "\uc548\ub155 \ud558\uc138\uc694 \u1112\u1161\u11ab",
    "compatible forms": "\ufb01le \u2460 \uff21\uff22 \u33a5 \u00bd",
    "case": "\u0130stanbul STRASSE \u1e9e \u039f\u03a3 \u01c5",
    "wordpiece specials": "the [MASK] of [CLS] and [SEP] or [PAD] [UNK]",
    "reserved pieces": "[unused0] [unused1] report[unused0]laptop",
    "unigram specials": "the <mask> of <s> and </s> or <pad> <unk>",
    "markers": "[Q] who [D] what [QueryMarker] [DocumentMarker] then",
    "specials without spaces": "a[MASK]b<mask>c[Q] d[QueryMarker]e",
    "nearly specials": "[mask] [ MASK ] [MASK < s> [[MASK]]",
    "runs of spaces": "a  b   c    d     e\n\n\tf",
    "metaspace itself": "\u2581laptop \u2581\u2581 \u0120word ##ing",
}
RESERVED = re.compile(r"^\[unused\d+\]$")


def config(folder, file):
    path = os.path.join(folder, file)
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf8") as f:
        return json.load(f)


def markers(folder):
    said = {**config(folder, "onnx_config.json"), **config(folder, "config_sentence_transformers.json")}
    stanford = config(folder, "artifact.metadata")
    names = [said.get("query_prefix"), said.get("document_prefix"), stanford.get("query_token_id"), stanford.get("doc_token_id")]
    # sentence-transformers: a prompt's first word, where that is a token.
    names += [prompt.split(" ")[0] for prompt in (said.get("prompts") or {}).values() if RESERVED.match(prompt.split(" ")[0])]
    return [name for name in names if name]


def plain(definition, hidden):
    model = definition["model"]
    hidden = {*hidden, *(t["content"] for t in definition["added_tokens"] if t["special"] or RESERVED.match(t["content"]))}
    # A private character, which no text here has, for a piece that no text may name.
    name = lambda piece, i: f"\uf8ff{i}" if piece in hidden and piece != model.get("unk_token") else piece
    vocab = model["vocab"]
    if isinstance(vocab, list):
        vocab = [[name(piece, i), score] for i, (piece, score) in enumerate(vocab)]
    else:
        vocab = {name(piece, i): i for piece, i in vocab.items()}
    added = [t for t in definition["added_tokens"] if t["content"] not in hidden]
    return Tokenizer.from_str(json.dumps(
        {**definition, "added_tokens": added, "model": {**model, "vocab": vocab}, "post_processor": None,
         "truncation": None, "padding": None}))


def encode(tokenizer, text, lower):
    # Python's tokenizers take no lone surrogates: U+FFFD stands for each, as in JavaScript's toWellFormed().
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    ids = tokenizer.encode(text.lower() if lower else text, add_special_tokens=False).ids
    if len(ids) <= 200:
        return ids
    return {"count": len(ids), "first": ids[:5], "sha256": hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()}


def main():
    made = {}
    for name in sorted(os.listdir(GOLDEN)):
        folder = os.path.join(GOLDEN, name)
        definition = config(folder, "tokenizer.json")
        own = markers(folder)
        lower = bool(config(folder, "sentence_bert_config.json").get("do_lower_case"))
        written = Tokenizer.from_str(json.dumps({**definition, "truncation": None, "padding": None}))
        known = {t["content"] for t in definition["added_tokens"]}
        written.add_tokens([AddedToken(m, normalized=True) for m in own if m not in known])
        without = plain(definition, own)
        made[name] = {
            "lower_case": lower,
            "markers": [written.token_to_id(m) for m in own],
            "as_written": {text: encode(written, TEXTS[text], lower) for text in TEXTS},
            "plain": {text: encode(without, TEXTS[text], lower) for text in TEXTS}}
    with open(os.path.join(ROOT, "test", "golden", "edge-texts.json"), "w", encoding="utf8") as f:
        json.dump({"texts": TEXTS, "models": made}, f, separators=(",", ":"))


if __name__ == "__main__":
    main()
