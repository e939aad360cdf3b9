// Runs the TFLite file of a version in this browser, by LiteRT. Nothing is sent to the server.
import { read } from "./pixels.js";
import { numbers, tokens } from "./tokens.js";

const RUNTIME = "/kerastl/litert/";
let loading = null; // LiteRT can be loaded once a page

function runtime() {
  loading ??= import(`${RUNTIME}litert.js`).then(async (litert) => {
    await litert.loadLiteRt(RUNTIME);
    return litert;
  }).catch((error) => { loading = null; throw error; });
  return loading;
}

async function content(url) {
  const answer = await fetch(url);
  if (!answer.ok) { throw new Error(await answer.text()); }
  return new Uint8Array(await answer.arrayBuffer());
}

// base: the address of the version's files. input: `in_browser.input` of the version, what its file takes.
// -> { answer, close }: answer(a Blob, or a text) -> { probabilities, predicted, unknown, milliseconds }.
export async function open(base, input) {
  const litert = await runtime();
  const map = input.tokenizer ? numbers(await content(`${base}/vocabulary`), input.tokenizer) : null;
  const values = map ? async (text) => tokens(text, map, input.tokenizer) : (blob) => read(blob, input.size);
  const model = await litert.loadAndCompile(await content(`${base}/tflite`), { accelerator: "wasm" });
  const [{ name, shape }] = model.getInputDetails();

  async function answer(item) {
    const started = performance.now(), outputs = await run(litert, model, name, await values(item), shape);
    return { probabilities: [...outputs.probabilities], predicted: outputs.predicted ? [...outputs.predicted] : null,
      unknown: outputs.unknown_score ? outputs.unknown_score[0] : null, milliseconds: performance.now() - started };
  }

  let before = Promise.resolve(); // one at a time, and none after it is closed
  const inTurn = (work) => { const mine = before.then(work); before = mine.catch(() => {}); return mine; };
  return { answer: (item) => inTurn(() => answer(item)), close: () => inTurn(() => model.delete()) };
}

// The outputs by name, as copies. LiteRT's memory is not collected: what it hands out is deleted here.
async function run(litert, model, name, values, shape) {
  const tensor = new litert.Tensor(values, shape);
  try {
    const outputs = Object.entries(await model.run({ [name]: tensor }));
    try {
      return Object.fromEntries(outputs.map(([key, output]) => [key, output.toTypedArray()]));
    } finally {
      outputs.forEach(([, output]) => output.delete());
    }
  } finally {
    tensor.delete();
  }
}
