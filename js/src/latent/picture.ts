import { packColor } from '../palette';

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

/** One number a pixel, the four bytes that ImageData holds; written into `pixels`. */
export function toPixels(
  { bytes, height, width, channels }: Picture,
  pixels = new Uint32Array(height * width),
): Uint32Array<ArrayBuffer> {
  const [green, blue] = channels === 3 ? [1, 2] : [0, 0];
  for (let i = 0, at = 0; i < pixels.length; i++, at += channels) {
    pixels[i] = packColor([bytes[at], bytes[at + green], bytes[at + blue]]);
  }
  return pixels;
}

/** The height of a curve above the bottom of its frame at each of its values, from 0 to 1. */
export function curveOf({ bytes, width }: Picture): number[] {
  return Array.from({ length: width }, (_, i) => bytes[i] / 255);
}

const CURVE_WIDTH = 192;
const CURVE_HEIGHT = 128;

/** A canvas of a picture's own size, crisp; a signal is drawn as a curve, nothing (null) as an empty frame. */
export class Screen {
  private readonly context: CanvasRenderingContext2D;
  private image: ImageData | null = null;
  private pixels = new Uint32Array(0);

  constructor(readonly canvas = document.createElement('canvas')) {
    [canvas.width, canvas.height] = [1, 1];
    this.context = canvas.getContext('2d')!;
  }

  paint(picture: Picture | null, curve: boolean): void {
    const { canvas, context } = this;
    if (!picture) {
      context.clearRect(0, 0, canvas.width, canvas.height); // of the size it had: nothing moves on the page
      return;
    }
    const [width, height] = curve ? [CURVE_WIDTH, CURVE_HEIGHT] : [picture.width, picture.height];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
    }
    if (curve) {
      this.draw(curveOf(picture));
    } else {
      if (this.image?.width !== width || this.image.height !== height) {
        this.image = context.createImageData(width, height);
        this.pixels = new Uint32Array(this.image.data.buffer);
      }
      toPixels(picture, this.pixels);
      context.putImageData(this.image, 0, 0);
    }
  }

  private draw(heights: number[]): void {
    const { canvas, context } = this;
    const { width, height } = canvas;
    const x = (i: number) => (heights.length === 1 ? width / 2 : (i / (heights.length - 1)) * (width - 4) + 2);
    context.clearRect(0, 0, width, height);
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 2;
    context.beginPath();
    heights.forEach((value, i) => context.lineTo(x(i), (1 - value) * (height - 4) + 2));
    context.stroke();
  }
}
