import type { Source } from './words';

/** Canvas units across; the canvas is stretched over the picture. */
const SIZE = 96;
const WIDTH = 2;

const COLORS: { [source in Source]: [variable: string, otherwise: string] } = {
  exact: ['--jp-success-color1', '#388e3c'],
  estimated: ['--jp-warn-color1', '#ef6c00'],
  interpolated: ['--jp-brand-color1', '#1976d2'],
  beyond: ['--jp-warn-color1', '#ef6c00'],
  failed: ['--jp-error-color1', '#d32f2f'],
  none: ['--jp-border-color1', '#9e9e9e'],
};

/**
 * A frame around the decoded picture whose colour says what it is: exact, estimated, interpolated, beyond the grid, or none. It is
 * a canvas, because a border that changes its colour has the browser paint and layer the page anew under the pointer.
 */
export class SourceFrame {
  readonly canvas = document.createElement('canvas');
  private readonly context: CanvasRenderingContext2D;
  private source: Source = 'none';
  private colors: { [source: string]: string } = {};

  constructor() {
    this.canvas.className = 'dlw-source-frame';
    this.canvas.setAttribute('aria-hidden', 'true'); // the caption says it in words
    [this.canvas.width, this.canvas.height] = [SIZE, SIZE];
    this.context = this.canvas.getContext('2d')!;
  }

  show(source: Source): void {
    if (source !== this.source) {
      this.source = source;
      this.draw();
    }
  }

  /** Takes the theme's colours; reading them is too slow for every move. */
  readColors(): void {
    const style = getComputedStyle(this.canvas);
    const now = Object.fromEntries(
      Object.entries(COLORS).map(([source, [name, otherwise]]) => [source, style.getPropertyValue(name).trim() || otherwise]),
    );
    if (now[this.source] !== this.colors[this.source]) {
      this.colors = now;
      this.draw();
    }
    this.colors = now;
  }

  private draw(): void {
    const { context, source } = this;
    const color = this.colors[source] ?? COLORS[source][1];
    context.clearRect(0, 0, SIZE, SIZE);
    context.strokeStyle = color;
    if (source === 'failed') {
      context.lineWidth = 0.5;
      context.beginPath();
      for (let start = -SIZE; start < SIZE; start += 5) {
        context.moveTo(start, SIZE);
        context.lineTo(start + SIZE, 0);
      }
      context.stroke();
    }
    context.lineWidth = WIDTH;
    context.strokeRect(WIDTH / 2, WIDTH / 2, SIZE - WIDTH, SIZE - WIDTH);
  }
}
