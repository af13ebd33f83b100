/** A small picture as it travels: bytes of grey (height, width) or of colours (height, width, 3). */
export interface Picture {
  bytes: ArrayLike<number>;
  height: number;
  width: number;
  channels: number;
}

/** Picture number `index` of a stack whose last axes are [height, width] or [height, width, 3]. */
export function pictureOf(bytes: Uint8Array | Uint8ClampedArray, shape: number[], index = 0): Picture {
  const [height, width, channels = 1] = shape;
  const size = height * width * channels;
  return { bytes: bytes.subarray(index * size, (index + 1) * size), height, width, channels };
}

/** The four bytes a pixel that ImageData holds. */
export function toPixels({ bytes, height, width, channels }: Picture): Uint8ClampedArray<ArrayBuffer> {
  const pixels = new Uint8ClampedArray(4 * height * width);
  for (let i = 0; i < height * width; i++) {
    for (let part = 0; part < 3; part++) {
      pixels[4 * i + part] = bytes[channels === 3 ? 3 * i + part : i];
    }
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

/** The height of a curve above the bottom of its frame at each of its values, from 0 to 1. */
export function curveOf({ bytes, width }: Picture): number[] {
  return Array.from({ length: width }, (_, i) => bytes[i] / 255);
}

const CURVE_WIDTH = 192;
const CURVE_HEIGHT = 128;

/** Draws a picture on a canvas of its own size, crisp; a signal as a curve; nothing (null) as an empty square. */
export function paint(canvas: HTMLCanvasElement, picture: Picture | null, curve: boolean): void {
  const [width, height] = !picture ? [1, 1] : curve ? [CURVE_WIDTH, CURVE_HEIGHT] : [picture.width, picture.height];
  if (canvas.width !== width || canvas.height !== height) {
    [canvas.width, canvas.height] = [width, height];
  }
  const context = canvas.getContext('2d')!;
  if (picture && !curve) {
    context.putImageData(new ImageData(toPixels(picture), width, height), 0, 0);
    return;
  }
  context.clearRect(0, 0, width, height);
  if (picture) {
    const heights = curveOf(picture);
    const x = (i: number) => (heights.length === 1 ? width / 2 : (i / (heights.length - 1)) * (width - 4) + 2);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    heights.forEach((value, i) => context.lineTo(x(i), (1 - value) * (height - 4) + 2));
    context.stroke();
  }
}
