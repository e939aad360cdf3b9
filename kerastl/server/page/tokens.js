// A text as the token ids that a TFLite file takes, by WordPiece: `_bert_words` and `_word_pieces` of
// `tokenize_text.py`, which is beside the file.
const MOST_LETTERS = 100; // longer words are unknown
const SPACE = /[ \t\n\v\f\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/u;
const IDEOGRAPH = new RegExp("[\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b81f}" +
  "\\u{2b920}-\\u{2ceaf}\\u{2f800}-\\u{2fa1f}]", "u");
const REMOVED = /[\p{Cf}\p{Co}\ufffd]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}/u;

// vocabulary: the bytes of vocab.txt. rules: about.json. -> a map of pieces to ids.
export function numbers(vocabulary, rules) {
  const lines = new TextDecoder("utf-8", { ignoreBOM: true }).decode(vocabulary).split("\n").slice(0, -1);
  const special = new Set([rules.pad, ...rules.start, ...rules.end, ...rules.between]), map = new Map();
  lines.forEach((line, id) => {
    const piece = line.replace(/\\(.)/g, (_, letter) => ({ n: "\n", r: "\r" })[letter] ?? letter);
    if (piece && !special.has(id)) { map.set(piece, id); }
  });
  return map;
}

// rules: about.json, with `max_length` and `beyond` of the model's input. -> Int32Array [max_length + beyond].
export function tokens(text, map, rules) {
  const ids = words(text, rules).flatMap((word) => pieces(word, map, rules.unknown));
  const room = rules.max_length - rules.start.length - rules.end.length;
  const row = new Int32Array(rules.max_length + rules.beyond).fill(rules.pad);
  row.set([...rules.start, ...ids.slice(0, room), ...rules.end, ...ids.slice(room, room + rules.beyond)]);
  return row;
}

function words(text, rules) {
  let letters = [...text.replace(/\p{Surrogate}/gu, "?").replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/g, " ")]
    .filter((letter) => SPACE.test(letter) || !REMOVED.test(letter)).map((letter) => SPACE.test(letter) ? " " : letter);
  if (rules.ideographs) { letters = letters.map((letter) => IDEOGRAPH.test(letter) ? ` ${letter} ` : letter); }
  if (rules.strip_accents) { letters = [...letters.join("").normalize("NFD")].filter((letter) => !/\p{Mn}/u.test(letter)); }
  // letter by letter: a sigma at the end of a word is not treated specially
  if (rules.lowercase) { letters = [...letters.map((letter) => letter.toLowerCase()).join("")]; }
  return letters.map((letter) => PUNCTUATION.test(letter) ? ` ${letter} ` : letter).join("").split(" ");
}

// The longest piece from the start, repeatedly. A word that cannot be split into pieces is unknown.
function pieces(word, map, unknown) {
  const letters = [...word], ids = [];
  if (letters.length > MOST_LETTERS) { return [unknown]; }
  for (let start = 0; start < letters.length;) {
    let end = letters.length, id;
    for (; end > start; end--) {
      id = map.get((start ? "##" : "") + letters.slice(start, end).join(""));
      if (id !== undefined) { break; }
    }
    if (id === undefined) { return [unknown]; }
    ids.push(id);
    start = end;
  }
  return ids;
}
