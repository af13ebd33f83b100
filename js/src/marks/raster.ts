import { describeFigure, makeFocusable } from '../accessibility';
import type { NDArray } from '../arrays';
import type { Cell, Role } from '../field/lookup';
import { PURPLE } from '../palette';
import { CanvasMark } from './canvas_mark';
import { announceHover, FieldMapModel, HOVER_EVENT, HoverDetail, hoverRoot } from './field_map';
import { cellAt, Frame, squarePadding } from './frame';
import { moved } from './keys';
import { Painter } from './painter';
import { ColorTable, tableOf, writePixels } from './pixels';
import type { RasterModel } from './raster_model';

/** The name of the performance measures around every hover handler, and how many are kept. */
const MEASURE = 'dlwidgets:hover';
const MAX_MEASURES = 1000;

/**
 * A picture on two canvases: below the picture with its static overlays, above it what follows the pointer.
 * Both have the screen's resolution, so that overlays are drawn in screen pixels.
 */
export class Raster extends CanvasMark {
  declare model: RasterModel;
  private below!: Painter;
  private above!: Painter;
  private picture!: HTMLCanvasElement;
  private frame!: Frame;
  private colors!: ColorTable | null;
  private stale!: boolean;
  private flagged!: number;
  /** What the pointer is on, here or on a linked picture under the same root. */
  private hover!: { role: Role; cell: Cell } | null;
  private reporting!: boolean;
  private measures!: number;
  private stopListeningToRoot!: () => void;

  override async render(): Promise<void> {
    await super.render();
    this.hover = null;
    this.colors = null;
    this.reporting = false;
    this.measures = this.flagged = 0;
    this.stale = true;
    this.stopListeningToRoot = () => undefined;
    this.build();
    this.create_listeners();
    this.draw();
  }

  private build(): void {
    const canvases = this.putCanvases('', ['dlw-raster-picture', 'dlw-raster-hover']);
    [this.below, this.above] = canvases.map((canvas) => new Painter(canvas));
    this.picture = document.createElement('canvas');
    const svg = this.parent.svg.node();
    makeFocusable(svg);
    svg.addEventListener('keydown', this.onKey);
  }

  override create_listeners(): void {
    super.create_listeners();
    this.listenTo(this.model, 'change:image', () => {
      this.stale = true;
      this.draw();
    });
    this.listenTo(this.model, 'change:mask change:boxes change:outside change:square', this.draw);
    this.listenTo(this.model, 'change:selected change:role', this.drawHover);
    this.listenTo(this.model, 'change:alt', this.describe);
    this.listenTo(this.model, 'change:linked', this.followLink);
    this.followLink();
    this.describe();
    this.holder.addEventListener('pointermove', this.onMove);
    this.holder.addEventListener('pointerleave', this.onLeave);
    this.holder.addEventListener('click', this.onClick);
    void this.displayed.then(() => {
      const root = hoverRoot(this.el);
      const listener = (event: Event) => this.onHover((event as CustomEvent<HoverDetail>).detail);
      root.addEventListener(HOVER_EVENT, listener);
      this.stopListeningToRoot = () => root.removeEventListener(HOVER_EVENT, listener);
    });
  }

  private followLink(): void {
    const before = this.model.previous('linked') as FieldMapModel | null | undefined;
    if (before && before !== this.model.linked) {
      this.stopListening(before);
    }
    if (this.model.linked) {
      this.listenTo(this.model.linked, 'change selection answer', this.drawHover);
    }
    this.drawHover();
  }

  private describe(): void {
    const alt: string = this.model.get('alt');
    if (alt) {
      describeFigure(this.parent.svg.node(), this.parent.model.get('title') || 'Picture', alt);
    }
  }

  override initialize_additional_scales(): void {
    const redraw = () => {
      this.stale = true;
      this.draw();
    };
    if (this.scales.color) {
      this.listenTo(this.scales.color, 'domain_changed', redraw);
      this.listenTo(this.scales.color, 'color_scale_range_changed', () => {
        this.colors = null;
        redraw();
      });
    }
    this.colors = null;
    this.stale = true;
  }

  /** Keeps cells square by leaving room at both ends of one axis, which bqplot's axes then follow. */
  override compute_view_padding(): void {
    const { x, y } = this.scales;
    const { plotareaWidth, plotareaHeight, figure_padding_x, figure_padding_y } = this.parent;
    const span = (domain: number[]) => Math.abs(domain[1] - domain[0]);
    const [padX, padY] = this.model.get('square')
      ? squarePadding(
          plotareaWidth * (1 - 2 * figure_padding_x),
          plotareaHeight * (1 - 2 * figure_padding_y),
          span(x.model.domain),
          span(y.model.domain),
        )
      : [0, 0];
    if (padX !== this.xPadding || padY !== this.yPadding) {
      [this.xPadding, this.yPadding] = [padX, padY];
      this.trigger('mark_padding_updated');
    }
  }

  /** Before the next frame: a frame that is due shows it already. */
  protected override soon(draw: () => void): void {
    queueMicrotask(draw);
  }

  protected override drawNow(): void {
    const { image, rows, columns } = this.model;
    this.compute_view_padding();
    this.set_ranges();
    this.layOut();
    this.below.clear();
    if (image !== null) {
      if (this.stale) {
        this.paintPicture(image);
      }
      const { frame, below } = this;
      const [top, left, bottom, right]: number[] = this.model.get('outside');
      const ink = this.ink();
      below.hatch(frame, [[-top, 0], [-left, columns + right]], ink);
      below.hatch(frame, [[rows, rows + bottom], [-left, columns + right]], ink);
      below.hatch(frame, [[0, rows], [-left, 0]], ink);
      below.hatch(frame, [[0, rows], [columns, columns + right]], ink);
      if (this.flagged > 0) {
        below.hatch(frame, [[0, rows], [0, columns]], PURPLE); // on the figure's own ground, light or dark
      }
      below.picture(frame, this.picture);
      const mask: NDArray | null = this.model.get('mask');
      if (mask !== null && mask.data.length === rows * columns) {
        below.mask(frame, mask.data as Uint8Array, columns);
      }
      below.boxes(frame, (this.model.get('boxes') as NDArray | null)?.data ?? []);
    }
    this.drawHover();
  }

  /** Fits the canvases to the plot area and works out where cells lie on them. */
  private layOut(): void {
    const [width, height] = this.fitCanvases();
    const { density } = this;
    this.below.density = this.above.density = density;
    const { x, y } = this.scales;
    this.frame = {
      width,
      height,
      scaleX: density * (x.scale(1) - x.scale(0)),
      offsetX: density * (x.scale(0) + x.offset),
      scaleY: density * (y.scale(1) - y.scale(0)),
      offsetY: density * (y.scale(0) + y.offset),
    };
  }

  private paintPicture(image: NDArray): void {
    const { picture } = this;
    const { rows, columns } = this.model;
    [picture.width, picture.height] = [columns, rows];
    if (rows * columns > 0) {
      const context = picture.getContext('2d')!;
      const pixels = context.createImageData(columns, rows);
      this.flagged = writePixels(image, this.colorTable(image), new Uint32Array(pixels.data.buffer));
      context.putImageData(pixels, 0, 0);
    }
    this.stale = false;
  }

  private colorTable(image: NDArray): ColorTable | null {
    const { color } = this.scales;
    if (image.dtype === 'uint8' || !color) {
      return null;
    }
    const { domain } = color.model;
    const [low, high] = [Math.min(...domain), Math.max(...domain)];
    // Without a fixed middle the colours are the same wherever the domain lies.
    const fits = this.colors !== null && color.model.get('mid') === null;
    this.colors = fits ? { ...this.colors!, low, high } : tableOf((value) => color.scale(value), low, high);
    return this.colors;
  }

  private ink(): string {
    return getComputedStyle(this.el).getPropertyValue('--jp-border-color1').trim() || '#9e9e9e';
  }

  private drawHover(): void {
    if (!this.frame) {
      return;
    }
    const { model, above, frame, hover } = this;
    const role: Role = model.get('role');
    const other: Role = role === 'unit' ? 'input' : 'unit';
    above.clear();
    const source = hover?.role === other ? hover.cell : hover === null ? model.linked?.selection(other) : null;
    const seen = source ? model.linked?.seen(other, source) : null;
    if (seen && model.rows > 0) {
      above.seen(frame, seen, model.rows, model.columns);
    }
    if (model.selected) {
      above.cell(frame, model.selected, true);
    }
    if (hover?.role === role) {
      above.cell(frame, hover.cell, false);
    }
  }

  private onMove = (event: PointerEvent): void => {
    const start = performance.now();
    const cell = this.cellOf(event);
    const same = String(cell) === String(this.hover?.role === this.model.get('role') ? this.hover?.cell : null);
    if (!same) {
      this.hoverOver(cell);
      this.measures++;
      if (this.measures % MAX_MEASURES === 0) {
        performance.clearMeasures(MEASURE);
      }
      performance.measure(MEASURE, { start });
    }
  };

  private onLeave = (): void => this.hoverOver(null);

  private onClick = (event: MouseEvent): void => {
    this.parent.svg.node().focus({ preventScroll: true });
    const cell = this.cellOf(event);
    if (cell !== null) {
      this.pin(String(cell) === String(this.model.selected) ? null : cell);
    }
  };

  private onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const { rows, columns, selected } = this.model;
    if (event.key === 'Escape') {
      this.pin(null);
      this.model.linked?.unpin(this.model.get('role') === 'unit' ? 'input' : 'unit');
    } else {
      const cell = rows * columns > 0 ? moved(event.key, selected, rows, columns) : null;
      if (cell === null) {
        return;
      }
      this.pin(cell);
    }
    event.preventDefault();
    event.stopPropagation();
  };

  private cellOf(event: MouseEvent): Cell | null {
    if (!this.frame) {
      return null;
    }
    const { canvas } = this.above;
    const place = canvas.getBoundingClientRect();
    const x = ((event.clientX - place.left) * canvas.width) / place.width;
    const y = ((event.clientY - place.top) * canvas.height) / place.height;
    return cellAt(this.frame, x, y, this.model.rows, this.model.columns);
  }

  private hoverOver(cell: Cell | null): void {
    const { model } = this;
    const role: Role = model.get('role');
    if (model.linked) {
      announceHover(this.el, { map: model.linked, role, cell });
    } else {
      this.hover = cell && { role, cell };
      this.drawHover();
    }
    if (model.get('report_hover')) {
      model.set('hovered', cell ?? []);
      if (model.comm_live) {
        this.reportHover();
      }
    }
  }

  private onHover({ map, role, cell }: HoverDetail): void {
    if (map === this.model.linked) {
      this.hover = cell && { role, cell };
      this.drawHover();
    }
  }

  /** Tells the kernel once a frame at most. */
  private reportHover(): void {
    if (!this.reporting) {
      this.reporting = true;
      requestAnimationFrame(() => {
        this.reporting = false;
        this.touch();
      });
    }
  }

  private pin(cell: Cell | null): void {
    this.model.set('selected', cell ?? []);
    if (cell !== null) {
      this.model.linked?.unpin(this.model.get('role') === 'unit' ? 'input' : 'unit');
    }
    this.touch();
  }

  override remove(): void {
    this.stopListeningToRoot?.();
    this.parent?.svg?.node()?.removeEventListener('keydown', this.onKey);
    super.remove();
  }
}
