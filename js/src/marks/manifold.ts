import { unpack_models } from '@jupyter-widgets/base';
import { Mark, MarkModel } from 'bqplot';

import type { DecodedGridModel } from '../latent/decoded_grid';
import { Screen } from '../latent/picture';
import { tilesOf } from '../latent/tiles';
import { axisOf, toPixel } from '../points/placement';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { keepCanvasesInClones } from './snapshot';

const SVG = 'http://www.w3.org/2000/svg';

/** How wide and high a picture is at least, in CSS pixels. */
const TILE = 26;

export class ManifoldModel extends MarkModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'ManifoldModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'Manifold',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      grid: null,
      opacity: 0,
      scales_metadata: {
        x: { orientation: 'horizontal', dimension: 'x' },
        y: { orientation: 'vertical', dimension: 'y' },
      },
    };
  }

  static override serializers = { ...MarkModel.serializers, grid: { deserialize: unpack_models } };
}

/** The decoded grid as one picture of many small ones, finer as the plane is magnified. */
export class Manifold extends Mark {
  declare model: ManifoldModel;
  private holder!: SVGForeignObjectElement;
  private canvas!: HTMLCanvasElement;
  private tile!: Screen;
  private frame!: number;

  override async render(): Promise<void> {
    await super.render();
    this.event_listeners = {};
    this.frame = 0;
    const box = document.createElement('div');
    box.className = 'dlw-raster dlw-manifold';
    this.canvas = document.createElement('canvas');
    this.tile = new Screen();
    box.appendChild(this.canvas);
    this.holder = document.createElementNS(SVG, 'foreignObject');
    this.holder.style.pointerEvents = 'none';
    this.holder.appendChild(box);
    this.d3el.node().appendChild(this.holder);
    keepCanvasesInClones(this.parent.svg.node());
    this.create_listeners();
    this.draw();
  }

  override create_listeners(): void {
    super.create_listeners();
    this.listenTo(this.model, 'change:opacity', this.draw);
    this.listenTo(this.model.get('grid'), 'change', this.draw);
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

  /** Draws everything once in the next frame, however many changes ask for it. */
  override draw(): void {
    if (this.holder && !this.frame) {
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.drawNow();
      });
    }
  }

  private drawNow(): void {
    const { canvas, model, parent } = this;
    if (!parent || parent.plotareaWidth < 1 || parent.plotareaHeight < 1) {
      return;
    }
    this.set_ranges();
    const density = window.devicePixelRatio || 1;
    this.holder.setAttribute('width', String(parent.plotareaWidth));
    this.holder.setAttribute('height', String(parent.plotareaHeight));
    [canvas.width, canvas.height] = [parent.plotareaWidth, parent.plotareaHeight].map((size) => Math.round(size * density));
    const decoder: DecodedGridModel = model.get('grid');
    const grid = decoder?.grid;
    const opacity: number = model.get('opacity');
    if (!grid || opacity <= 0 || decoder.get('curve') || grid.rows < 2) {
      return;
    }
    const { x, y } = this.scales;
    const [axisX, axisY] = [x, y].map((scale) => axisOf((value) => scale.scale(value), scale.model.domain, density));
    const size = TILE * density;
    const tiles = tilesOf(grid.box, ends(x.model.domain), ends(y.model.domain), axisX.scale, axisY.scale, size);
    const context = canvas.getContext('2d')!;
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    for (let row = 0; row < tiles.rows; row++) {
      for (let column = 0; column < tiles.columns; column++) {
        const [atX, atY] = [tiles.x + column * tiles.stepX, tiles.y - row * tiles.stepY];
        const picture = decoder.decode(atX, atY)?.picture;
        if (picture) {
          const left = Math.round(toPixel(axisX, atX - tiles.stepX / 2));
          const right = Math.round(toPixel(axisX, atX + tiles.stepX / 2));
          const top = Math.round(toPixel(axisY, atY + tiles.stepY / 2));
          const bottom = Math.round(toPixel(axisY, atY - tiles.stepY / 2));
          this.tile.paint(picture, false);
          context.drawImage(this.tile.canvas, left, top, right - left, bottom - top);
        }
      }
    }
  }

  override remove(): void {
    cancelAnimationFrame(this.frame);
    super.remove();
  }

  override compute_view_padding(): void {}
  override clear_style(): void {}
  override set_default_style(): void {}
  override set_style_on_elements(): void {}
}

function ends(domain: number[]): [number, number] {
  return [domain[0], domain[domain.length - 1]];
}
