"""Makes the folder `tokenizers` beside this file: tiny vocabularies, and the ids that the original tokenizers give.

    python tests/golden/make_tokenizers.py

It needs transformers, tokenizers and sentencepiece, none of which kerastl's tokenizers use. What is committed was made
by Python 3.11 with transformers 5.24.0, tokenizers 0.23.3 and sentencepiece 0.2.3. Training is not quite the same every
time, so all of it changes together.

- strings.json: awkward texts; one that is not UTF-8 is written in hexadecimal, in a list of its own.
- ids.json: the ids of each text without special ones, from transformers' tokenizer, or from SentencePiece itself where
  a folder holds its model. They are of the *cleaned* texts (see `cleaned`), and with `split_special_tokens`: a special
  token that is written out is text. transformers' own unigram tokenizer differs from SentencePiece on 12 of the texts,
  which are printed: it knows no control pieces, leaves out the space before "▁", and normalises by grapheme.
- pairs.json: pairs of texts as transformers packs and truncates them.
- folders: what a model's folder holds of its tokenizer, the classic files, or (`-json`) tokenizer.json alone, as
  transformers 5 saves it but without its line breaks.
"""

import json
import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
from transformers import BertTokenizer, RobertaTokenizer, XLMRobertaTokenizer

HERE = Path(__file__).parent / "tokenizers"

CORPUS = """
The quick brown fox jumps over the lazy dog, and the dog doesn't mind; it's used to that.
I'm sure you've heard that they're late again, but we'll wait and he'd rather not say why he can't come.
Transfer learning takes a network that was trained on much data and fits a small head to what it has learned.
The weather in October 2024 was colder than in 1999, by 3.5 degrees on average (or so they say).
She said: "Whatever happens, keep on reading!" Then she closed the book and left the room without another word.
This film is wonderful, funny and moving; that one was dull, far too long and badly acted. Not recommended at all.
Please return the item within 30 days, unopened, to the address below; shipping costs $4.99 or 5% of the price.
An e-mail to info@example.org or a look at https://www.example.org/help?page=2&lang=en should answer it all.
def mean(values): return sum(values) / len(values)  # the average, as floats
Die Straßenbahn fährt über die Brücke, während die Kinder draußen Fußball spielen und Äpfel essen.
Wer hätte gedacht, dass schöne Grüße aus München so viel Freude machen würden? Natürlich niemand!
Übung macht den Meister, größere Aufgaben brauchen größere Geduld, und süße Früchte hängen hoch.
Où est passée la bibliothèque ? Les élèves étaient déjà là, près de la fenêtre, à côté du café.
El niño comió una manzana; mañana volverá a la escuela, ¿verdad? ¡Claro que sí, señor!
Dnes je krásný den, příští týden bude pršet. Żółta łódka płynie powoli. Crăciun fericit tuturor.
Το γρήγορο καφέ αλεπού πηδά πάνω από το τεμπέλικο σκυλί. Η ΟΔΟΣ είναι μεγάλη.
Быстрая коричневая лиса прыгает через ленивую собаку. Ёлка стоит в углу, а мы ещё ждём.
الثعلب البني السريع يقفز فوق الكلب الكسول. هذا كتاب جديد عن التعلم.
השועל החום המהיר קופץ מעל הכלב העצלן. זה ספר חדש.
तेज़ भूरी लोमड़ी आलसी कुत्ते के ऊपर कूदती है। यह एक नई किताब है।
สวัสดีครับ วันนี้อากาศดีมาก เราไปเดินเล่นกันเถอะ
敏捷的棕色狐狸跳过了懒狗。今天天气很好，我们去公园散步吧。机器学习很有意思。
今日はとても良い天気ですね。東京タワーへ行きましょう。カタカナとひらがなと漢字。
오늘은 날씨가 아주 좋습니다. 한국어 문장도 조금 있습니다.
Tiếng Việt có nhiều dấu: đường phố, người bạn, buổi sáng. Türkçe: İstanbul'da ılık bir gün, ığdır.
Great job 👍🏽!! So happy 😀😂🎉 with my family 👨‍👩‍👧‍👦 ❤️ #blessed @friend
½ cup of sugar, 10 m² of floor, H₂O, 5 × 3 = 15, ≥ 20 °C, № 7, “quoted” – and — dashes… €20 £15 ¥100
""".strip().split("\n")

WORDS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", " \n ", "a", "A", " a", "a ", "  a", "a  ", "   a   ", "\ta",
    "a\n", "a\n\nb", "a \n b", "a\n b", "a \nb", "a\n\n b", "a\r\nb", "a\tb", "a\t\tb", "a   b", "a  \n  b", "\n a",
    "\n\na", " \u00a0", "a\u00a0b", "a\u00a0\u00a0b", "\u00a0a", "a\u00a0", "a \u00a0b", "a\u00a0 b",
    "line\u2028separator", "para\u2029graph", "ideographic\u3000space", "\u3000\u3000a",
    "en\u2002em\u2003thin\u2009", "narrow\u202fno-break", "ogham\u1680x", "medium\u205fmath", "next\u0085line",
    "vertical\vtab", "form\ffeed", "nul\0inside", "\0", "\0\0", "bell\a", "esc\x1b[0m", "del\x7fete", "c1\x80\x9f",
    "unit\x1fsep", "mark\x01mark", "zero\u200bwidth", "joiner\u200dhere", "soft\u00adhyphen", "\ufeffbom",
    "bom\ufeff inside", "ltr\u200ertl\u200f", "word\u2060joiner", "\u180emongol", "private\ue000use",
    "replacement\ufffdchar", "noncharacter\uffff", "\u202etxet",
]
PUNCTUATION = [
    "Hello, world!", "it's", "It's", "IT'S", "it''s", "'s", " 's", "''", "'sa", "don't", "we'll've", "'tis",
    "I'd've thought they're late, we'll see", "it’s", "o'clock 'quoted'", "...", "....", "…", "?!?!", "a.b.c",
    "e-mail", "snake_case", "CamelCase", "x=y+z*2", "(a)[b]{c}<d>", "a/b\\c|d", "~`^$%&#@", "`code`", "$4.99",
    "100%", "#tag", "@user", "a@b.org", "https://www.example.org/?a=b&c=d", "“quoted” – and — dashes",
    "«guillemets»", "¿qué? ¡sí!", "。，、「」", "؟،؛", "।", "a·b", "€20 £15 ¥100", "± × ÷ ≥ ≠ ∞", "→ ← ⇒", "™ © ®",
    "\u037e greek question", "\u1fefa", "2*3", "<b>bold</b>", "&amp;", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
]
NUMBERS = [
    "0", "42", "1998", "3.14159", "1,000,000", "2024-10-05", "12:30", "1e-4", "0x1F", "٣٤٥", "१२३", "½ ¼ ¾", "m² x³",
    "H₂O", "Ⅷ", "①②③", "１２３", "a1b2c3", "1st 2nd", "1234567890123456789",
]
SPECIAL = [
    "[SEP]", "[CLS] a [SEP]", "[PAD]", "[MASK]", "[UNK]", "</s>", "<s>a</s>", "<pad>", "<mask>", "a <mask> b",
    "<unk>", "a[SEP]b", "a</s></s>b", "[sep]", "##ing", "a ##b", "▁", "▁a", "a▁b", "▁▁", "Ġ", "Ġa", "Ċ", "[unused1]",
    "é Ã©",
]
SCRIPTS = [
    "café", "cafe\u0301", "CAFÉ", "naïve façade", "Ångström \u212b", "ß", "Straße", "STRASSE", "ẞ", "ﬁne ﬂow", "ŉ",
    "ǆ ǅ Ǆ", "İstanbul", "ı i I", "ñandú", "e\u0301\u0302\u0323x", "\u0301", "a \u0301b", "ΟΔΟΣ", "ΟΔΟΣ ΟΔΟΣ.",
    "ὀδός", "ᾳ", "Ёлка ЁЛКА", "Ґанок", "Ӝ", "السلام عليكم", "مُحَمَّد", "لا إله", "ﷺ", "שלום עולם", "שָׁלוֹם",
    "नमस्ते दुनिया", "क्षत्रिय", "বাংলা", "தமிழ்", "สวัสดีครับ", "เดินเล่นกัน", "ຂອບໃຈ", "ខ្មែរ", "မြန်မာ", "བོད",
    "敏捷的棕色狐狸", "今天天气很好。", "中文ABC混排123", "日本語", "カタカナ", "ｶﾀｶﾅ", "ひらがな", "ぱ は\u309a",
    "東京タワーへ行きましょう", "한국어", "\u1112\u1161\u11ab\u1100\u116e\u11a8", "ㄱㄴㄷ", "\U00020000\U0002a6d6",
    "\uf900\ufa30", "\U0002f800", "Ａｂｃ！", "𝐛𝐨𝐥𝐝", "ℌello", "ⓐⓑ", "ᴀʙᴄ", "Tiếng Việt", "đường phố", "Türkçe",
    "Żółta łódka", "Příští týden", "Crăciun", "ሰላም", "გამარჯობა", "Ა", "Հայերեն", "ᏣᎳᎩ", "ꭰ", "𐐀𐐨",
    "english русский 中文 العربية हिन्दी",
]
EMOJI = [
    "😀", "😀😂🎉", "👍🏽", "👨‍👩‍👧‍👦", "❤️", "❤", "🇩🇪🇫🇷", "1️⃣", "a😀b", "so happy 😀!!",
    "🏴\U000e0067\U000e0062\U000e007f", "☺☹", "🤷‍♀️", "🫠🩷", "✨ sparkles ✨",
]
LONG = [
    "x" * 99, "x" * 100, "x" * 101, "é" * 100, "e\u0301" * 101, "the" * 100, "a" * 100 + "." + "b" * 101, "漢" * 60,
    " " * 40, "!" * 120, "a " * 60, "\n" * 30, "ä" * 50 + "ä" * 51, "0123456789" * 11,
]
BYTES = [
    b"caf\xe9", b"\xff", b"\xff\xfe\xfd", b"a\x80b", b"\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x28\xa1",
    b"\xf0\x9f\x98", b"\xf0\x9f\x98a", b"\xed\xa0\xbd\xed\xb8\x80", b"a\xed\xa0\x80", b"\xc0\x80",
    b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"ok \xf0\x28\x8c\x28 ok", b"\x00\xff\x00", b"gr\xfc\xdfe",
]

# A few of the rules that XLM-R's model has (nmt_nfkc): its own, all of them, take 240 kB.
RULES = {"\t": " ", "\n": " ", "\r": " ", "\u00a0": " ", "\u1680": " ", "\u2002": " ", "\u2003": " ", "\u2009": " ",
         "\u2028": " ", "\u2029": " ", "\u202f": " ", "\u205f": " ", "\u3000": " ", "\u200b": " ", "\u200e": " ",
         "\u200f": " ", "\u200d": " ", "\ufeff": " ", "\ufffd": " ", "ﬁ": "fi", "ﬂ": "fl", "…": "...", "½": "1⁄2",
         "²": "2", "³": "3",
         "™": "TM", "\u212b": "Å", "cafe\u0301": "café", "e\u0301": "é", "は\u309a": "ぱ", "\uf900": "豈",
         **{chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)}}

# Words of the first text and of the second, and the length they are cut to together.
PAIRS = [(3, 9, 8), (9, 3, 8), (9, 3, 9), (5, 5, 8), (5, 5, 9), (5, 5, 10), (5, 5, 30), (0, 9, 8), (9, 0, 8), (0, 0, 8),
         (12, 1, 6), (1, 12, 6), (1, 12, 7), (12, 11, 7), (11, 12, 7), (12, 12, 5)]


def cleaned(text: bytes) -> str:
    """What kerastl.inputs.tokenizer.clean does, in Python."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", " ", text.decode(errors="replace"))


def unigram(**options: Any) -> bytes:
    """A SentencePiece model trained on the corpus."""
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.tsv"
        rules.write_text("".join(f"{' '.join(f'{ord(c):X}' for c in old)}\t{' '.join(f'{ord(c):X}' for c in new)}\n"
                                 for old, new in RULES.items()))
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(CORPUS * 3), model_prefix=f"{folder}/it", vocab_size=500, hard_vocab_limit=False,
            character_coverage=0.98, normalization_rule_tsv=str(rules), minloglevel=2, **options)
        return Path(folder, "it.model").read_bytes()


def folder(name: str, **files: Any) -> Path:
    """A folder of these files; what is not bytes or text is written as JSON."""
    path = HERE / name
    path.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        file = file.replace("__", ".")
        if isinstance(content, bytes):
            (path / file).write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content, separators=(",", ":"))
            (path / file).write_text(text, encoding="utf-8")
    return path


def saved(tokenizer: Any, name: str, kind: str) -> None:
    """The folder that transformers saves, made compact."""
    with tempfile.TemporaryDirectory() as where:
        tokenizer.save_pretrained(where)
        files = {path.name.replace(".", "__"): json.loads(path.read_text()) for path in Path(where).glob("*.json")}
    folder(name, config__json={"model_type": kind}, **files)


def main() -> None:
    """Writes everything anew."""
    logging.disable()
    shutil.rmtree(HERE, ignore_errors=True)
    texts = [text.encode("utf-8", "surrogatepass") for text in
             WORDS + PUNCTUATION + NUMBERS + SPECIAL + SCRIPTS + EMOJI + LONG + CORPUS[::4]] + BYTES
    clean = [cleaned(text) for text in texts]
    ids: dict[str, list[list[int]]] = {}

    def record(name: str, tokenizer: Any) -> None:
        ids[name] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in clean]

    for name, lower in (("bert-uncased", True), ("bert-cased", False)):
        trained = tokenizers.BertWordPieceTokenizer(lowercase=lower)
        trained.train_from_iterator(CORPUS, vocab_size=600, min_frequency=1, limit_alphabet=200, show_progress=False)
        vocabulary = sorted(trained.get_vocab(), key=trained.get_vocab().__getitem__)
        folder(name, config__json={"model_type": "bert"}, vocab__txt="".join(f"{one}\n" for one in vocabulary),
               tokenizer_config__json={"do_lower_case": lower, "tokenizer_class": "BertTokenizer"})
        record(name, BertTokenizer.from_pretrained(HERE / name, split_special_tokens=True))
    bert = BertTokenizer.from_pretrained(HERE / "bert-uncased")
    saved(bert, "bert-uncased-json", "bert")
    record("bert-accents", BertTokenizer.from_pretrained(HERE / "bert-uncased", split_special_tokens=True,
                                                         strip_accents=False, tokenize_chinese_chars=False))

    bytewise = tokenizers.ByteLevelBPETokenizer()
    bytewise.train_from_iterator(CORPUS, vocab_size=600, min_frequency=1, show_progress=False,
                                 special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    with tempfile.TemporaryDirectory() as where:
        bytewise.save_model(where)
        folder("roberta", config__json={"model_type": "roberta"},
               vocab__json=json.loads(Path(where, "vocab.json").read_text(encoding="utf-8")),
               merges__txt=Path(where, "merges.txt").read_text(encoding="utf-8"))
    roberta = RobertaTokenizer.from_pretrained(HERE / "roberta")
    saved(roberta, "roberta-json", "roberta")
    record("roberta", RobertaTokenizer.from_pretrained(HERE / "roberta", split_special_tokens=True))
    record("roberta-spaced", RobertaTokenizer.from_pretrained(HERE / "roberta", split_special_tokens=True,
                                                              add_prefix_space=True))
    ids["roberta-spaced"] = ids["roberta-spaced"][:len(WORDS)]

    model = unigram(unk_id=0, bos_id=1, eos_id=2, pad_id=-1)
    folder("xlm-roberta", config__json={"model_type": "xlm-roberta"}, sentencepiece__bpe__model=model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids["xlm-roberta"] = [[3 if one == 0 else one + 1 for one in processor.encode(text)] for text in clean]
    xlmr = XLMRobertaTokenizer.from_pretrained(HERE / "xlm-roberta", split_special_tokens=True)
    record("transformers", xlmr)
    differ = [text for text, ours, theirs in zip(clean, ids["xlm-roberta"], ids.pop("transformers"), strict=True)
              if ours != theirs]
    saved(XLMRobertaTokenizer.from_pretrained(HERE / "xlm-roberta"), "xlm-roberta-json", "xlm-roberta")

    model = unigram(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]",
                    unk_piece="[UNK]")
    folder("deberta", config__json={"model_type": "deberta-v2"}, spm__model=model)
    ids["deberta"] = sentencepiece.SentencePieceProcessor(model_proto=model).encode(clean[:len(WORDS)])

    pairs = []
    for name, tokenizer in (("bert-uncased", bert), ("roberta", roberta)):
        for first, second, limit in PAIRS:
            parts = ["a " * first, "the " * second]
            # As lists: an empty second text alone is taken for none
            found = tokenizer(parts[:1], parts[1:], truncation="longest_first", max_length=limit)["input_ids"][0]
            pairs.append({"of": name, "parts": parts, "limit": limit, "ids": found})

    texts_out = [[text.hex()] if text in BYTES else text.decode("utf-8") for text in texts]
    folder(".", strings__json=texts_out, ids__json=ids, pairs__json=pairs)
    print(len(texts), "texts; transformers' own unigram differs from SentencePiece on", differ)


if __name__ == "__main__":
    main()
