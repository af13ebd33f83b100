import { Mark } from 'bqplot';

import { mismatch } from '../protocol';
import { PROTOCOL } from '../version';
import { keepCanvasesInClones } from './snapshot';

const SVG = 'http://www.w3.org/2000/svg';

/** A mark that draws on canvases over the plot area, with the screen's resolution. */
export abstract class CanvasMark extends Mark {
  protected holder!: SVGForeignObjectElement;
  protected canvases!: HTMLCanvasElement[];
  /** Canvas pixels for each CSS pixel. */
  protected density!: number;
  private due!: boolean;
  private gone!: boolean;

  override async render(): Promise<void> {
    await super.render();
    this.event_listeners = {};
    this.due = this.gone = false;
    this.density = 1;
  }

  /** Puts a box with canvases of these classes, one over the other, into the mark's group. */
  protected putCanvases(boxClass: string, classes: string[]): HTMLCanvasElement[] {
    const box = document.createElement('div');
    box.className = `dlw-raster ${boxClass}`.trim();
    box.title = ''; // keeps the browser from showing the figure's title under a resting pointer
    this.canvases = classes.map((name) => {
      const canvas = document.createElement('canvas');
      canvas.className = name;
      box.appendChild(canvas);
      return canvas;
    });
    this.holder = document.createElementNS(SVG, 'foreignObject');
    this.holder.appendChild(box);
    this.d3el.node().appendChild(this.holder);
    const notice = mismatch(this.model.get('_protocol'), PROTOCOL);
    if (notice !== null) {
      box.classList.add('dlw-notice');
      box.textContent = notice;
    }
    keepCanvasesInClones(this.parent.svg.node());
    return this.canvases;
  }

  override set_positional_scales(): void {
    for (const scale of [this.scales.x, this.scales.y]) {
      this.listenTo(scale, 'domain_changed', this.draw);
    }
  }

  override set_ranges(): void {
    const { x, y } = this.scales;
    x.setRange(this.parent.padded_range('x', x.model));
    y.setRange(this.parent.padded_range('y', y.model));
  }

  override relayout(): void {
    this.draw();
  }

  /** Draws everything once, soon, however many changes ask for it. */
  override draw(): void {
    if (this.holder && !this.due) {
      this.due = true;
      this.soon(() => {
        this.due = false;
        if (!this.gone && this.parent?.plotareaWidth >= 1 && this.parent.plotareaHeight >= 1) {
          this.drawNow();
        }
      });
    }
  }

  /** When to draw: in the next frame. */
  protected soon(draw: () => void): void {
    requestAnimationFrame(draw);
  }

  protected abstract drawNow(): void;

  /** Fits the canvases to the plot area; their size in their own pixels. */
  protected fitCanvases(): [width: number, height: number] {
    const { plotareaWidth, plotareaHeight } = this.parent;
    this.density = window.devicePixelRatio || 1;
    const [width, height] = [plotareaWidth, plotareaHeight].map((size) => Math.max(1, Math.round(size * this.density)));
    this.holder.setAttribute('width', String(plotareaWidth));
    this.holder.setAttribute('height', String(plotareaHeight));
    for (const canvas of this.canvases) {
      if (canvas.width !== width || canvas.height !== height) {
        [canvas.width, canvas.height] = [width, height];
      }
    }
    return [width, height];
  }

  override remove(): void {
    this.gone = true;
    super.remove();
  }

  override compute_view_padding(): void {}
  override clear_style(): void {}
  override set_default_style(): void {}
  override set_style_on_elements(): void {}
}
