import { describeFigure, makeFocusable } from '../accessibility';
import { parseColor } from '../palette';
import { colorTable, Cloud } from '../points/cloud';
import { listen } from '../points/gestures';
import { acquire, release } from '../points/gl';
import { pointsInPolygon } from '../points/lasso';
import { cross, outline, Pixel, ring } from '../points/overlay';
import { axisOf, Placement, toPixel, toValue } from '../points/placement';
import { probeMoved } from '../points/probe';
import { CpuRasteriser } from '../points/raster';
import { describeCloud } from '../points/words';
import { CanvasMark } from './canvas_mark';
import type { PointCloudModel } from './point_cloud_model';

/** What a view tells the page, bubbling from its element: the pointer or the keyboard moved the probe, or a click. */
export const POINTER_EVENT = 'dlwidgets:pointer';
export const CLICK_EVENT = 'dlwidgets:click';

export interface PointerDetail {
  model: PointCloudModel;
  /** In data coordinates. */
  x: number;
  y: number;
  /** The index of the point there, -1 if there is none. */
  index: number;
  source: 'pointer' | 'keyboard';
  /** False once the pointer has left: x and y are where it was last. */
  inside: boolean;
}

/** The name of the performance measures around every redraw, and how many are kept. */
const MEASURE = 'dlwidgets:points';
const MAX_MEASURES = 1000;

/** Up to so many selected points get a ring; any number stands out because the others fade. */
const MAX_RINGS = 50;
const FADED = 0.2;

/** Points on two canvases: below the points, above what follows the pointer. */
export class PointCloud extends CanvasMark {
  declare model: PointCloudModel;
  private below!: CanvasRenderingContext2D;
  private above!: CanvasRenderingContext2D;
  private rasteriser!: CpuRasteriser;
  private image!: ImageData | null;
  private place!: Placement | null;
  private drawn!: Cloud | null;
  /** Whether the figure's description is behind its content. */
  private unsaid!: boolean;
  /** The index of the point under the pointer or probe in this view, and whether the pointer is here. */
  private hovered!: number;
  private inside!: boolean;
  private outline!: Pixel[] | null;
  private measures!: number;
  private stopListeningToPointer!: () => void;

  override async render(): Promise<void> {
    await super.render();
    this.rasteriser = new CpuRasteriser();
    this.image = this.place = this.drawn = this.outline = null;
    this.measures = 0;
    this.hovered = -1;
    this.inside = false;
    this.unsaid = true;
    this.build();
    this.create_listeners();
    this.draw();
  }

  private build(): void {
    const canvases = this.putCanvases('dlw-points', ['dlw-points-picture', 'dlw-points-hover']);
    [this.below, this.above] = canvases.map((canvas) => canvas.getContext('2d')!);
    const svg = this.parent.svg.node();
    makeFocusable(svg);
    svg.addEventListener('keydown', this.onKey);
    this.stopListeningToPointer = listen(svg, {
      drag: () => this.model.get('drag'),
      pixelOf: (event) => this.pixelOf(event),
      moved: (pixel) => this.probe(this.dataAt(pixel), 'pointer', true),
      left: () => this.leave(),
      clicked: (pixel) => this.click(this.dataAt(pixel)),
      outlined: (corners) => {
        this.outline = corners;
        this.drawAbove();
      },
      enclosed: (corners) => this.enclose(corners),
    });
  }

  override create_listeners(): void {
    super.create_listeners();
    const { model } = this;
    this.listenTo(model, 'change:palette change:size change:opacity change:renderer', this.draw);
    this.listenTo(model, 'change:x change:y change:color change:hidden change:selected change:alt', () => {
      this.unsaid = true;
      this.draw();
    });
    this.listenTo(model, 'change:pointer', () => this.inside || this.drawAbove());
    this.listenTo(model, 'change:drag', this.styleTouch);
    this.styleTouch();
  }

  /** Fingers draw where dragging selects; elsewhere they go on scrolling the page. */
  private styleTouch(): void {
    this.parent.svg.node().style.touchAction = this.model.get('drag') === 'pan' ? '' : 'none';
  }

  private describe(): void {
    const { model } = this;
    this.unsaid = false;
    const svg = this.parent.svg.node();
    const alt: string = model.get('alt');
    // an exhibit that names its figures has the better words
    if (alt || !svg.closest('.dlw-exhibit')) {
      const words = describeCloud(model.cloud, model.extent, model.get('hidden'), model.selected.length, model.get('pointer'));
      describeFigure(svg, this.parent.model.get('title') || 'Points', alt || words);
    }
  }

  protected override drawNow(): void {
    const start = performance.now();
    this.set_ranges();
    this.layOut();
    const { model, below, place, density } = this;
    const { cloud, flags } = model;
    const diameter: number = model.get('size') * density;
    const opacity: number = model.get('opacity');
    const numIndices = cloud.color instanceof Uint16Array ? 65536 : 256;
    const table = colorTable(this.palette(), model.get('hidden'), numIndices);
    const layers: [number, number][] = flags
      ? [
          [0, opacity * FADED],
          [1, opacity],
        ]
      : [[0, opacity]];
    const wanted: string = model.get('renderer');
    const card = wanted === 'cpu' ? null : acquire(this, wanted === 'gl');
    if (this.drawn !== cloud) {
      this.drawn && card?.forget(this.drawn);
      this.drawn = cloud;
    }
    below.clearRect(0, 0, place!.width, place!.height);
    if (card) {
      card.draw(cloud, place!, table, diameter, flags, layers, below);
    } else {
      release(this, this.drawn);
      this.rasterise(cloud, table, diameter, flags, layers);
    }
    this.holder.dataset.renderer = card ? 'gl' : 'cpu';
    this.drawAbove();
    if (this.unsaid) {
      this.describe();
      globalThis.requestIdleCallback?.(() => model.prepare());
    }
    if (++this.measures % MAX_MEASURES === 0) {
      performance.clearMeasures(MEASURE);
    }
    performance.measure(MEASURE, { start });
  }

  private rasterise(
    cloud: Cloud,
    table: Uint32Array,
    diameter: number,
    flags: Uint8Array | null,
    layers: [number, number][],
  ): void {
    const { rasteriser, below } = this;
    const place = this.place!;
    if (this.image?.width !== place.width || this.image.height !== place.height) {
      this.image = below.createImageData(place.width, place.height);
    }
    rasteriser.clear(place, diameter);
    for (const [wanted, opacity] of [...layers].reverse()) {
      rasteriser.draw(cloud, place, table, diameter, opacity, flags, wanted);
    }
    rasteriser.finish(place, new Uint32Array(this.image.data.buffer));
    below.putImageData(this.image, 0, 0);
  }

  /** Fits the canvases to the plot area and works out where data lie on them. */
  private layOut(): void {
    const [width, height] = this.fitCanvases();
    const { density } = this;
    const { x, y } = this.scales;
    this.place = {
      width,
      height,
      x: axisOf((value) => x.scale(value), x.model.domain, density),
      y: axisOf((value) => y.scale(value), y.model.domain, density),
    };
  }

  /** The palette as numbers; the browser knows the names of colours. */
  private palette(): [number, number, number][] {
    const { above } = this;
    return (this.model.get('palette') as string[]).map((color) => {
      above.fillStyle = '#808080'; // what is no colour stays grey
      above.fillStyle = color;
      return parseColor(String(above.fillStyle)) ?? [128, 128, 128];
    });
  }

  /** The rings around points, the probe and the outline being drawn. */
  private drawAbove(): void {
    const { above, place, density, model } = this;
    if (!place) {
      return;
    }
    above.clearRect(0, 0, place.width, place.height);
    const size: number = model.get('size');
    const { x, y, length } = model.cloud;
    const pixel = (i: number): Pixel => [toPixel(place.x, x[i]), toPixel(place.y, y[i])];
    const { selected } = model;
    if (selected.length <= MAX_RINGS) {
      const isShown = model.isShown();
      selected.filter((i) => i < length && isShown(i)).forEach((i) => ring(above, pixel(i), size, density, 1));
    }
    if (this.hovered >= 0 && this.hovered < length) {
      ring(above, pixel(this.hovered), size, density, 2);
    }
    const pointer: number[] = model.get('pointer');
    if (!this.inside && pointer.length === 2) {
      cross(above, [toPixel(place.x, pointer[0]), toPixel(place.y, pointer[1])], density);
    }
    if (this.outline) {
      outline(above, this.outline, density);
    }
  }

  private pixelOf(event: MouseEvent): Pixel | null {
    const { canvas } = this.above;
    const at = canvas.getBoundingClientRect();
    const x = ((event.clientX - at.left) * canvas.width) / at.width;
    const y = ((event.clientY - at.top) * canvas.height) / at.height;
    return this.place && x >= 0 && x < canvas.width && y >= 0 && y < canvas.height ? [x, y] : null;
  }

  private dataAt([x, y]: Pixel): [number, number] {
    return [toValue(this.place!.x, x), toValue(this.place!.y, y)];
  }

  private indexAt(at: [number, number]): number {
    const { model, density } = this;
    const reach = density * Math.max(model.get('hover_radius'), model.get('size') / 2);
    const { x, y } = this.place!;
    return model.nearest(at, [Math.abs(reach / x.scale), Math.abs(reach / y.scale)]);
  }

  /** The probe is at a place now, moved there by the pointer or the keyboard. */
  private probe(at: [number, number], source: PointerDetail['source'], inside: boolean): void {
    const { model } = this;
    const index = this.indexAt(at);
    const same = index === this.hovered && inside && this.inside;
    this.hovered = index;
    this.inside = inside;
    model.set('pointer', at);
    this.tell(POINTER_EVENT, at, index, source, true);
    if (!same) {
      this.drawAbove();
    }
    this.report();
  }

  private leave(): void {
    if (this.inside) {
      this.inside = false;
      this.hovered = -1;
      this.tell(POINTER_EVENT, this.model.get('pointer'), -1, 'pointer', false);
      this.drawAbove();
      this.report();
    }
  }

  private click(at: [number, number], source: PointerDetail['source'] = 'pointer'): void {
    const index = this.indexAt(at);
    const [x, y] = at;
    this.model.set({ clicked: index, pointer: at });
    this.tell(CLICK_EVENT, at, index, source, true);
    const event = index < 0 ? 'background_click' : 'element_click';
    this.send({ event, data: { index, x, y } });
    this.report();
  }

  private enclose(corners: Pixel[]): void {
    const { model } = this;
    const polygon = corners.flatMap((corner) => this.dataAt(corner));
    model.select(pointsInPolygon(model.cloud, polygon, model.isShown()));
    this.touch();
  }

  private tell(name: string, [x, y]: number[], index: number, source: PointerDetail['source'], inside: boolean): void {
    const detail: PointerDetail = { model: this.model, x, y, index, source, inside };
    this.el.dispatchEvent(new CustomEvent(name, { bubbles: true, detail }));
  }

  /** Tells the kernel at once; ipywidgets keeps one message under way and merges what happens meanwhile. */
  private report(): void {
    const { model } = this;
    if (model.get('report_hover') && model.get('hovered') !== this.hovered) {
      model.set('hovered', this.hovered);
    }
    this.touch();
  }

  private onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.place) {
      return;
    }
    const { model } = this;
    const pointer: number[] = model.get('pointer');
    const { x, y } = this.scales;
    const moved = probeMoved(event.key, pointer, x.model.domain, y.model.domain);
    if (moved !== null) {
      this.probe(moved, 'keyboard', false);
      this.describe();
    } else if (event.key === 'Enter' && pointer.length === 2) {
      this.click(pointer as [number, number], 'keyboard');
    } else if (event.key === 'Escape' && model.selected.length > 0) {
      model.select(new Int32Array(0));
      this.touch();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };

  override remove(): void {
    this.stopListeningToPointer?.();
    this.parent?.svg?.node()?.removeEventListener('keydown', this.onKey);
    release(this, this.drawn);
    super.remove();
  }
}
