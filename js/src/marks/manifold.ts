import { unpack_models } from '@jupyter-widgets/base';
import { MarkModel } from 'bqplot';

import type { DecodedGridModel } from '../latent/decoded_grid';
import { Screen } from '../latent/picture';
import { tilesOf, within } from '../latent/tiles';
import { axisOf, toPixel } from '../points/placement';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { CanvasMark } from './canvas_mark';

/** How wide and high a picture is at least, in CSS pixels. */
const TILE = 26;

/** What stays free between two pictures, in CSS pixels. */
const GAP = 2;

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
export class Manifold extends CanvasMark {
  declare model: ManifoldModel;
  private tile!: Screen;

  override async render(): Promise<void> {
    await super.render();
    this.tile = new Screen();
    this.putCanvases('dlw-manifold', ['dlw-manifold-picture']);
    this.holder.style.pointerEvents = 'none';
    this.create_listeners();
    this.draw();
  }

  override create_listeners(): void {
    super.create_listeners();
    this.listenTo(this.model, 'change:opacity', this.draw);
    this.listenTo(this.model.get('grid'), 'change', this.draw);
  }

  protected override drawNow(): void {
    const { model } = this;
    this.set_ranges();
    const [width, height] = this.fitCanvases();
    const context = this.canvases[0].getContext('2d')!;
    context.clearRect(0, 0, width, height);
    const decoder: DecodedGridModel = model.get('grid');
    const grid = decoder?.grid;
    const opacity: number = model.get('opacity');
    if (!grid || opacity <= 0 || decoder.get('curve')) {
      return;
    }
    const { x, y } = this.scales;
    const [axisX, axisY] = [x, y].map((scale) => axisOf((value) => scale.scale(value), scale.model.domain, this.density));
    const size = TILE * this.density;
    const gap = Math.max(1, Math.round(GAP * this.density));
    const tiles = tilesOf(grid.box, ends(x.model.domain), ends(y.model.domain), axisX.scale, axisY.scale, size);
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = false;
    for (let row = 0; row < tiles.rows; row++) {
      for (let column = 0; column < tiles.columns; column++) {
        const [atX, atY] = [tiles.x + column * tiles.stepX, tiles.y - row * tiles.stepY];
        const picture = decoder.decode(atX, atY)?.picture;
        if (picture) {
          const [left, wide] = within(
            toPixel(axisX, atX - tiles.stepX / 2),
            toPixel(axisX, atX + tiles.stepX / 2),
            gap,
          );
          const [top, high] = within(toPixel(axisY, atY + tiles.stepY / 2), toPixel(axisY, atY - tiles.stepY / 2), gap);
          this.tile.paint(picture, false);
          context.drawImage(this.tile.canvas, left, top, wide, high);
        }
      }
    }
  }
}

function ends(domain: number[]): [number, number] {
  return [domain[0], domain[domain.length - 1]];
}
