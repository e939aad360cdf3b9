// An image as the pixels that a TFLite file takes, equal to those of the graph in the SavedModel.
// `classify_image.py` beside the file is the same in NumPy.
import { takenOut, upright } from "./orientation.js";

const f32 = Math.fround; // TensorFlow computes in float32, and rounds each product and each sum

// The bytes of an image, a Blob -> Uint8Array [size, size, 3].
export async function read(blob, size) {
  const { rgba, width, height } = await decode(blob);
  return resize(onWhite(rgba), height, width, size);
}

// The bytes of an image, a Blob -> { rgba, width, height }: upright, in the colours of the file. A canvas stores colours
// multiplied by alpha and gives them back divided by it. That loses digits, but none that remain on white.
async function decode(blob) {
  const { blob: file, orientation } = await takenOut(blob);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none",
    colorSpaceConversion: "none" });
  try {
    const { width, height } = bitmap, canvas = new OffscreenCanvas(width, height);
    const paint = canvas.getContext("2d", { willReadFrequently: true });
    paint.drawImage(bitmap, 0, 0);
    return upright({ rgba: paint.getImageData(0, 0, width, height).data, width, height }, orientation);
  } finally {
    bitmap.close();
  }
}

// [height, width, 4] -> [height, width, 3]: composited on white.
export function onWhite(rgba) {
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    const alpha = rgba[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      rgb[to + channel] = Math.floor((rgba[from + channel] * alpha + 255 * (255 - alpha) + 127) / 255);
    }
  }
  return rgb;
}

// [height, width, 3] uint8 -> [size, size, 3] uint8, ignoring the aspect ratio: the mean over areas along a side that
// shrinks, bilinear along one that grows.
export function resize(pixels, height, width, size) {
  if (height === size && width === size) { return pixels; }
  const across = areas(width, size), down = areas(height, size);
  const sums = sumRows(sumColumns(pixels, height, width, across), across.count, down);
  const scale = f32(1 / f32(down.step * across.step)), smaller = sums.map((sum) => f32(sum * scale));
  const square = across.count < size || down.count < size ? grown(smaller, down.count, across.count, size) : smaller;
  return Uint8Array.from(square, rounded);
}

// The areas along a side of n pixels: `count` of them, `step` wide; of each, the first pixel and its share of each pixel.
function areas(n, size) {
  const count = Math.min(n, size), step = f32(n / count), first = [], shares = [];
  for (let place = 0; place < count; place++) {
    const start = f32(place * step), end = f32((place + 1) * step), of = [];
    for (let pixel = Math.floor(start); pixel < Math.ceil(end); pixel++) {
      of.push(f32(Math.min(pixel + 1, end) - Math.max(pixel, start)));
    }
    first.push(Math.floor(start));
    shares.push(of);
  }
  return { n, count, step, first, shares };
}

function sumColumns(pixels, height, width, { n, count, first, shares }) {
  const sums = new Float32Array(height * count * 3);
  for (let row = 0, to = 0; row < height; row++) {
    for (let place = 0; place < count; place++, to += 3) {
      let red = 0, green = 0, blue = 0;
      const of = shares[place];
      for (let i = 0; i < of.length; i++) {
        const from = 3 * (row * width + Math.min(first[place] + i, n - 1)), part = of[i];
        red = f32(red + f32(pixels[from] * part));
        green = f32(green + f32(pixels[from + 1] * part));
        blue = f32(blue + f32(pixels[from + 2] * part));
      }
      sums[to] = red; sums[to + 1] = green; sums[to + 2] = blue;
    }
  }
  return sums;
}

function sumRows(values, width, { n, count, first, shares }) {
  const length = 3 * width, sums = new Float32Array(count * length);
  for (let place = 0; place < count; place++) {
    shares[place].forEach((part, i) => {
      const from = Math.min(first[place] + i, n - 1) * length, to = place * length;
      for (let column = 0; column < length; column++) {
        sums[to + column] += f32(values[from + column] * part);
      }
    });
  }
  return sums;
}

function grown(values, height, width, size) {
  const across = steps(width, size), down = steps(height, size), wide = new Float32Array(height * size * 3);
  for (let row = 0, to = 0; row < height; row++) {
    for (let place = 0; place < size; place++) {
      for (let channel = 0; channel < 3; channel++, to++) {
        wide[to] = between(values[3 * (row * width + across.low[place]) + channel],
          values[3 * (row * width + across.high[place]) + channel], across.weight[place]);
      }
    }
  }
  const square = new Float32Array(size * size * 3), length = 3 * size;
  for (let place = 0, to = 0; place < size; place++) {
    for (let column = 0; column < length; column++, to++) {
      square[to] = between(wide[down.low[place] * length + column], wide[down.high[place] * length + column],
        down.weight[place]);
    }
  }
  return square;
}

// Where the pixels of a side that grows lie between the centres of its n pixels.
function steps(n, size) {
  const scale = f32(n / size), low = [], high = [], weight = [];
  for (let place = 0; place < size; place++) {
    const at = f32(f32((place + 0.5) * scale) - 0.5), below = Math.floor(at);
    low.push(Math.max(below, 0));
    high.push(Math.min(Math.max(Math.ceil(at), 0), n - 1));
    weight.push(f32(at - below));
  }
  return { low, high, weight };
}

const between = (low, high, weight) => f32(low + f32(f32(high - low) * weight));

function rounded(value) { // half to even, as TensorFlow and NumPy round
  const below = Math.floor(value), rest = value - below;
  const level = rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
  return Math.min(Math.max(level, 0), 255);
}
