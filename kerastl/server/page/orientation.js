// The EXIF orientation of a WebP file. Browsers turn JPEG and PNG files upright; of WebP files, Chromium ignores it.
const WEBP = 0x57454250, VP8X = 0x56503858, EXIF = 0x45584946, NAME = 0x45786966; // as big-endian numbers

// An image, a Blob -> { blob, orientation }: the image without what was read, so that no browser applies it too.
export async function takenOut(blob) {
  const head = new DataView(await blob.slice(0, 32).arrayBuffer());
  const announced = head.byteLength === 32 && head.getUint32(8) === WEBP && head.getUint32(12) === VP8X && head.getUint8(20) & 8;
  if (!announced) { return { blob, orientation: 1 }; }
  const bytes = await blob.arrayBuffer(), view = new DataView(bytes);
  for (let place = 12; place + 8 <= view.byteLength;) {
    const length = view.getUint32(place + 4, true);
    if (view.getUint32(place) === EXIF) {
      const named = length >= 4 && place + 12 <= view.byteLength && view.getUint32(place + 8) === NAME; // as in a JPEG
      const orientation = ofBlock(view, place + 8 + (named ? 6 : 0), Math.min(place + 8 + length, view.byteLength));
      view.setUint8(20, view.getUint8(20) & ~8);
      view.setUint32(place, 0x58585858); // a chunk that no decoder knows
      return { blob: new Blob([bytes], { type: "image/webp" }), orientation };
    }
    place += 8 + length + length % 2;
  }
  return { blob, orientation: 1 };
}

function ofBlock(view, start, end) {
  const little = start < end && view.getUint8(start) === 0x49; // the "I" of "II"
  const number = (place, get, size) => start + place + size <= end ? get.call(view, start + place, little) : 0;
  const short = (place) => number(place, view.getUint16, 2), directory = number(4, view.getUint32, 4);
  for (let entry = 0; entry < Math.min(short(directory), 512); entry++) {
    const place = directory + 2 + 12 * entry;
    if (short(place) === 0x0112) { return short(place + 8) >= 1 && short(place + 8) <= 8 ? short(place + 8) : 1; }
  }
  return 1;
}

// { rgba, width, height } turned as an orientation asks: 2 and 4 are mirrored, 3 is upside down, 5 to 8 are on a side.
export function upright({ rgba, width, height }, orientation) {
  if (orientation === 1) { return { rgba, width, height }; }
  const onSide = orientation >= 5, [wide, high] = onSide ? [height, width] : [width, height];
  const from = new Uint32Array(rgba.buffer, rgba.byteOffset, width * height), to = new Uint32Array(from.length);
  const mirrored = [2, 3, 6, 7].includes(orientation), upsideDown = [3, 4, 7, 8].includes(orientation);
  for (let y = 0, place = 0; y < high; y++) {
    for (let x = 0; x < wide; x++, place++) {
      const column = mirrored ? wide - 1 - x : x, row = upsideDown ? high - 1 - y : y;
      to[place] = from[onSide ? column * width + row : row * width + column];
    }
  }
  return { rgba: new Uint8Array(to.buffer), width: wide, height: high };
}
