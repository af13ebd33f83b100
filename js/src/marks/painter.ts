import { binsOf, coverage } from '../field/coverage';
import type { Cell, Seen } from '../field/lookup';
import type { Box } from '../field/products';
import { Region, rectanglesOf, regionOfMask } from '../field/region';
import { BLUE, OKABE_ITO, ORANGE, packColor, parseColor, VERMILLION, YELLOW } from '../palette';
import { Frame, Rectangle, rectangleOf, visible } from './frame';

/** Up to here rectangles are faster than going over every pixel. */
const MAX_RECTANGLES = 2000;

const VEIL: [number, number, number, number] = [0, 0, 0, 150];
const LIT: [number, number, number, number] = [...parseColor(YELLOW)!, 60];
const MASK_ALPHA = 130;

/** For each coverage 0..255 a pixel between `none` and `all`; what is partly covered looks like neither. */
function ramp(none: number[], all: number[]): Uint32Array {
  return Uint32Array.from({ length: 256 }, (_, share) => {
    const t = share === 0 ? 0 : share === 255 ? 1 : 0.3 + (0.4 * share) / 255;
    const [red, green, blue, alpha] = none.map((from, i) => Math.round(from + t * (all[i] - from)));
    return packColor([red, green, blue], alpha);
  });
}

const FIELD_RAMP = ramp(VEIL, LIT);
const css = ([red, green, blue, alpha]: number[]) => `rgba(${red},${green},${blue},${alpha / 255})`;

/** Draws on one canvas; coordinates are cells, sizes of lines are screen pixels. */
export class Painter {
  private readonly context: CanvasRenderingContext2D;
  private scratch: ImageData | null = null;
  private shares = new Uint8Array(0);

  constructor(
    readonly canvas: HTMLCanvasElement,
    /** Canvas pixels for each CSS pixel. */
    public density = 1,
  ) {
    this.context = canvas.getContext('2d')!;
  }

  clear(): void {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** The picture itself: crisp cells when they are larger than a pixel, averaged when they are smaller. */
  picture(frame: Frame, picture: HTMLCanvasElement): void {
    const { context } = this;
    context.imageSmoothingEnabled = frame.scaleX < 1 || frame.scaleY < 1;
    context.imageSmoothingQuality = Math.min(frame.scaleX, frame.scaleY) < 0.5 ? 'medium' : 'low';
    const width = frame.scaleX * picture.width;
    const height = frame.scaleY * picture.height;
    context.drawImage(picture, frame.offsetX, frame.offsetY, width, height);
  }

  /** Diagonal lines over some cells. */
  hatch(frame: Frame, [[row0, row1], [column0, column1]]: Box, color: string): void {
    const { context } = this;
    const { x, y, width, height } = visible(frame, rectangleOf(frame, row0, column0, row1, column1));
    if (row1 <= row0 || column1 <= column0 || width === 0 || height === 0) {
      return;
    }
    context.save();
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.strokeStyle = color;
    context.lineWidth = this.density;
    const step = 6 * this.density;
    context.beginPath();
    for (let start = Math.floor((x - y - height) / step) * step; start <= x + width - y; start += step) {
      context.moveTo(start + y, y);
      context.lineTo(start + y + height, y + height);
    }
    context.stroke();
    context.restore();
  }

  /** The cells of a mask in translucent colours: value v > 0 takes the palette's colour v - 1. */
  mask(frame: Frame, mask: Uint8Array, columns: number): void {
    const overlay = document.createElement('canvas');
    [overlay.width, overlay.height] = [this.canvas.width, this.canvas.height];
    const painter = new Painter(overlay);
    for (const value of new Set(mask)) {
      if (value > 0) {
        const color = parseColor(colorOf(value - 1))!;
        const region = regionOfMask(mask, columns, value);
        painter.region(frame, region, whole(region, columns), ramp([...color, 0], [...color, MASK_ALPHA]));
        this.context.drawImage(overlay, 0, 0);
      }
    }
  }

  /** Outlines of row0, column0, row1, column1, colour class: five numbers a box. */
  boxes(frame: Frame, boxes: ArrayLike<number>): void {
    for (let i = 0; i + 4 < boxes.length; i += 5) {
      this.outline(rectangleOf(frame, boxes[i], boxes[i + 1], boxes[i + 2], boxes[i + 3]), colorOf(boxes[i + 4]), 2);
    }
  }

  /** What a unit sees: its cells lit, the rest under a veil, its window in the padding hatched, its box outlined. */
  seen(frame: Frame, seen: Seen, rows: number, columns: number): void {
    const { context } = this;
    if (seen.region !== null) {
      const { x, y, width, height } = visible(frame, rectangleOf(frame, 0, 0, rows, columns));
      context.fillStyle = css(VEIL);
      context.fillRect(x, y, width, height);
      if (seen.box !== null) {
        this.light(frame, seen.region, seen.box);
      }
    }
    if (seen.window !== null && seen.padded) {
      const [[top, bottom], [left, right]] = seen.window;
      this.hatch(frame, [[top, Math.min(0, bottom)], [left, right]], BLUE);
      this.hatch(frame, [[Math.max(rows, top), bottom], [left, right]], BLUE);
      this.hatch(frame, [[Math.max(0, top), Math.min(rows, bottom)], [left, Math.min(0, right)]], BLUE);
      this.hatch(frame, [[Math.max(0, top), Math.min(rows, bottom)], [Math.max(columns, left), right]], BLUE);
      this.outline(rectangleOf(frame, top, left, bottom, right), BLUE, 1, [4, 3]);
    }
    if (seen.box !== null) {
      const [[top, bottom], [left, right]] = seen.box;
      const rectangle = rectangleOf(frame, top, left, bottom, right);
      this.outline(rectangle, ORANGE, 2, seen.status === 'bound' ? [6, 4] : []);
      if (seen.status === 'bound') {
        this.label('bound', rectangle);
      }
    }
  }

  /** Where the pointer is, or what is pinned: visible on any ground. */
  cell(frame: Frame, [row, column]: Cell, pinned: boolean): void {
    const rectangle = rectangleOf(frame, row, column, row + 1, column + 1);
    const least = 6 * this.density;
    const grow = (size: number) => Math.max(0, Math.ceil((least - size) / 2));
    const [growX, growY] = [grow(rectangle.width), grow(rectangle.height)];
    const grown = {
      x: rectangle.x - growX,
      y: rectangle.y - growY,
      width: rectangle.width + 2 * growX,
      height: rectangle.height + 2 * growY,
    };
    this.outline(grown, pinned ? VERMILLION : '#000000', 2);
  }

  private light(frame: Frame, region: Region, box: Box): void {
    const rectangles = frame.scaleX >= 1 && frame.scaleY >= 1 ? rectanglesOf(region, MAX_RECTANGLES) : null;
    if (rectangles === null) {
      this.region(frame, region, box, FIELD_RAMP);
      return;
    }
    const { context } = this;
    context.fillStyle = css(LIT);
    for (let i = 0; i < rectangles.length; i += 4) {
      const [row0, column0, row1, column1] = rectangles.slice(i, i + 4);
      const { x, y, width, height } = rectangleOf(frame, row0, column0, row1, column1);
      context.clearRect(x, y, width, height);
      context.fillRect(x, y, width, height);
    }
  }

  /** Replaces the pixels of a box by the colours of a region's coverage. */
  private region(frame: Frame, region: Region, [[row0, row1], [column0, column1]]: Box, colors: Uint32Array): void {
    const { x, y, width, height } = visible(frame, rectangleOf(frame, row0, column0, row1, column1));
    if (width === 0 || height === 0) {
      return;
    }
    const { context, canvas } = this;
    if (this.scratch?.width !== canvas.width || this.scratch?.height !== canvas.height) {
      this.scratch = context.createImageData(canvas.width, canvas.height);
      this.shares = new Uint8Array(canvas.width * canvas.height);
    }
    const numColumns = region.columns[0]?.length ?? 0;
    const rowBins = binsOf(y, height, frame.scaleY, frame.offsetY, region.rows.length);
    const columnBins = binsOf(x, width, frame.scaleX, frame.offsetX, numColumns);
    coverage(region, rowBins, columnBins, this.shares);
    const pixels = new Uint32Array(this.scratch.data.buffer);
    for (let line = 0; line < height; line++) {
      const into = (y + line) * canvas.width + x;
      const from = line * width;
      for (let i = 0; i < width; i++) {
        pixels[into + i] = colors[this.shares[from + i]];
      }
    }
    context.putImageData(this.scratch, 0, 0, x, y, width, height);
  }

  private outline({ x, y, width, height }: Rectangle, color: string, thickness: number, dash: number[] = []): void {
    const { context, density } = this;
    const line = thickness * density;
    context.setLineDash([]);
    context.lineWidth = line + 2 * density;
    context.strokeStyle = 'rgba(255,255,255,.7)';
    context.strokeRect(x - line / 2, y - line / 2, width + line, height + line);
    context.setLineDash(dash.map((length) => length * density));
    context.lineWidth = line;
    context.strokeStyle = color;
    context.strokeRect(x - line / 2, y - line / 2, width + line, height + line);
  }

  private label(text: string, { x, y, height }: Rectangle): void {
    const { context, density } = this;
    const size = 12 * density;
    context.setLineDash([]);
    context.font = `${size}px sans-serif`;
    const [left, base] = [Math.max(2 * density, x), y > 1.5 * size ? y - 0.4 * size : y + height + 1.2 * size];
    context.lineWidth = 3 * density;
    context.strokeStyle = '#ffffff';
    context.strokeText(text, left, base);
    context.fillStyle = '#000000';
    context.fillText(text, left, base);
  }
}

function colorOf(index: number): string {
  return OKABE_ITO[((index % OKABE_ITO.length) + OKABE_ITO.length) % OKABE_ITO.length];
}

function whole(region: Region, columns: number): Box {
  return [
    [0, region.rows.length],
    [0, columns],
  ];
}
