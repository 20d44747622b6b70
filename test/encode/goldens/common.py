"""What both makers of golden models share: tiny bodies, tokenizers, texts, exports."""
import json
import os
import random
import shutil
import string
import tempfile

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, ModernBertConfig, ModernBertModel, PreTrainedTokenizerFast

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
GOLDEN = os.path.join(ROOT, "test", "golden", "encoders")
WORK = os.environ.get("GOLDENS_WORK", os.path.join(tempfile.gettempdir(), "goldens"))

QUERIES = [
    "How soon must a stolen laptop be reported?",
    "Who approves business class flights, and when?",
    "naïve café RÉSUMÉ",
    "price",
    "[MASK] [unused0] <s> [Q] what?",
    "a much longer question that goes on and on about parental leave, sick leave, unpaid leave, "
    "holidays, remote work from another country, expenses, receipts and the approval of managers",
]
DOCUMENTS = [
    "A stolen laptop must be reported to the security desk within two hours!",
    "Business class is booked only for flights longer than seven hours (see 4.2); otherwise: economy.",
    "Cafe\u0301 \u4eca\u65e5\u306f \u0645\u0631\u062d\u0628\u0627 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \U0001f469\u200d\U0001f4bb\U0001f44d\U0001f3fd ok",
    "!!! ... ???",
    "Meals above 40 euros need an itemised receipt [SEP] [D] and [MASK] the approval </s> of a manager.",
    "word " * 120,
    "supercalifragilistic" * 12,
]


def corpus():
    with open(os.path.join(ROOT, "challenge", "corpus.jsonl"), encoding="utf8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    # Every punctuation mark is a token, as in the vocabularies people use.
    return texts + QUERIES + DOCUMENTS + [" ".join(string.punctuation)] * 20


def settled(tokenizer, path):
    """With the vocabulary of the golden model of this name, if there is one: trainers break ties by chance."""
    file = os.path.join(GOLDEN, os.path.basename(path), "tokenizer.json")
    if not os.path.exists(file):
        return tokenizer
    with open(file, encoding="utf8") as f:
        model = json.load(f)["model"]
    return Tokenizer.from_str(json.dumps({**json.loads(tokenizer.to_str()), "model": model}))


def wordpiece(path, size=900):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=size, special_tokens=special))
    definition = json.loads(tokenizer.to_str())
    # In BERT's own tokenizer.json the reserved pieces are in the vocabulary only.
    definition["added_tokens"] = [t for t in definition["added_tokens"] if "unused" not in t["content"]]
    tokenizer = settled(Tokenizer.from_str(json.dumps(definition)), path)
    tokenizer.decoder = decoders.WordPiece()
    ids = {t: tokenizer.token_to_id(t) for t in special}
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]", unk_token="[UNK]", model_max_length=128)
    fast.save_pretrained(path)
    return fast


def bytelevel(path, size=1100):
    """In ModernBERT's manner: byte-level BPE, runs of spaces as ordinary added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = settled(tokenizer, path)
    tokenizer.add_tokens([AddedToken("    ", normalized=True), AddedToken("  ", normalized=True)])
    tokenizer.add_tokens([AddedToken("[unused0]", normalized=True), AddedToken("[unused1]", normalized=True)])
    ids = {t: tokenizer.token_to_id(t) for t in special}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="[CLS]", sep_token="[SEP]", pad_token="[PAD]",
        mask_token="[MASK]", unk_token="[UNK]", model_max_length=128)
    fast.save_pretrained(path)
    return fast


def unigram(path, size=900):
    """In XLM-RoBERTa's manner: Unigram with <s>, </s>, <mask> among its pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" {2,}", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="\u2581", prepend_scheme="always")
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "[QueryMarker]", "[DocumentMarker]"]
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False))
    tokenizer = settled(tokenizer, path)
    ids = {t: tokenizer.token_to_id(t) for t in special}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        pad_token="<pad>", mask_token="<mask>", unk_token="<unk>", model_max_length=128)
    fast.save_pretrained(path)
    return fast


def body(path, vocabulary, seed, hidden=32, types=2, architectures=None):
    """A BERT of two layers whose random weights are large enough to mix tokens."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=2 * hidden, max_position_embeddings=128, type_vocab_size=types,
        initializer_range=0.25, pad_token_id=0)
    if architectures:
        config.architectures = architectures
    model = BertModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(path)
    return model


def modern_body(path, vocabulary, seed, ids):
    """A ModernBERT of four layers, two of which see four tokens to either side only."""
    torch.manual_seed(seed)
    config = ModernBertConfig(
        vocab_size=vocabulary, hidden_size=32, num_hidden_layers=4, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=128, local_attention=8, global_attn_every_n_layers=3, initializer_range=0.25,
        initializer_cutoff_factor=3.0, pad_token_id=ids["[PAD]"], cls_token_id=ids["[CLS]"], bos_token_id=ids["[CLS]"],
        sep_token_id=ids["[SEP]"], eos_token_id=ids["[SEP]"])
    model = ModernBertModel(config).eval()
    model.save_pretrained(path)
    return model


class Export(torch.nn.Module):
    """The body, and what comes after it where the graph is to hold that too."""

    def __init__(self, model, dense=(), normalise=False):
        super().__init__()
        self.model, self.dense, self.normalise = model, torch.nn.ModuleList(dense), normalise

    def forward(self, input_ids, attention_mask, token_type_ids=None):
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        x = self.model(input_ids=input_ids, attention_mask=attention_mask, **types)[0]
        for layer in self.dense:
            x = layer(x)
        return torch.nn.functional.normalize(x, p=2, dim=-1) if self.normalise else x


def export(model, file, output="last_hidden_state", dense=(), normalise=False, types=True):
    os.makedirs(os.path.dirname(file), exist_ok=True)
    ids = torch.ones(2, 7, dtype=torch.long)
    axes = {0: "batch", 1: "tokens"}
    names = ["input_ids", "attention_mask", "token_type_ids"][:3 if types else 2]
    torch.onnx.export(
        Export(model, dense, normalise).eval().cpu(), (ids, ids, torch.zeros_like(ids))[:len(names)], file,
        input_names=names, output_names=[output],
        dynamic_axes={**{n: axes for n in names}, output: axes}, opset_version=17, dynamo=False)


def rows(vectors):
    return [[round(float(x), 6) for x in row] for row in np.asarray(vectors, dtype=np.float32)]


def maxsim(query, document):
    return round(float((np.asarray(query) @ np.asarray(document).T).max(axis=1).sum()), 5)


def write_expected(name, versions, options, queries, documents, extra=None):
    """`queries` and `documents`: (text, ids or None, vectors)."""
    entry = lambda text, ids, vectors: {"text": text, **({"ids": ids} if ids else {}), "vectors": rows(vectors)}
    expected = {
        "made_with": versions, "options": options,
        "queries": [entry(*q) for q in queries], "documents": [entry(*d) for d in documents],
        "scores": [[maxsim(q[2], d[2]) for d in documents] for q in queries], **(extra or {})}
    with open(os.path.join(GOLDEN, name, "expected.json"), "w", encoding="utf8") as file:
        json.dump(expected, file, ensure_ascii=True, separators=(",", ":"))


def take(source, name, files):
    """Copies what a loader reads, and nothing else."""
    target = os.path.join(GOLDEN, name)
    shutil.rmtree(target, ignore_errors=True)
    for file in files:
        if not os.path.exists(os.path.join(source, file)):
            continue
        os.makedirs(os.path.dirname(os.path.join(target, file)), exist_ok=True)
        shutil.copyfile(os.path.join(source, file), os.path.join(target, file))
    return target


TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"]


def seed_all(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
