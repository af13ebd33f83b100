import { Mark, MarkModel } from 'bqplot';

import { arraySerializer, NDArray } from '../arrays';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';

export class RasterModel extends MarkModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'RasterModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'Raster',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      image: null,
      selected: [],
      scales_metadata: {
        x: { orientation: 'horizontal', dimension: 'x' },
        y: { orientation: 'vertical', dimension: 'y' },
        color: { dimension: 'color' },
      },
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.on('change:image', () => {
      this.update_domains();
      this.trigger('data_updated');
    });
    this.update_domains();
  }

  override update_domains(): void {
    const image: NDArray | null = this.get('image');
    const { x, y } = this.getScales();
    if (image) {
      x?.computeAndSetDomain([0, image.shape[1]], `${this.model_id}_x`);
      y?.computeAndSetDomain([0, image.shape[0]], `${this.model_id}_y`);
    }
  }

  static override serializers = { ...MarkModel.serializers, image: arraySerializer, selected: {} };
}

export class Raster extends Mark {
  private canvas!: HTMLCanvasElement;
  private holder!: SVGForeignObjectElement;

  override async render(): Promise<void> {
    await super.render();
    this.event_listeners = {};
    this.holder = document.createElementNS('http://www.w3.org/2000/svg', 'foreignObject');
    this.canvas = document.createElement('canvas');
    this.canvas.style.imageRendering = 'pixelated';
    this.canvas.style.width = '100%';
    this.canvas.style.height = '100%';
    this.canvas.style.display = 'block';
    this.holder.appendChild(this.canvas);
    this.d3el.node().appendChild(this.holder);
    this.create_listeners();
    this.listenTo(this.model, 'data_updated', this.draw);
    this.draw();
  }

  override set_positional_scales(): void {
    for (const scale of [this.scales.x, this.scales.y]) {
      this.listenTo(scale, 'domain_changed', () => this.draw());
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

  override draw(): void {
    const image: NDArray | null = this.model.get('image');
    if (!this.holder || !image) {
      return;
    }
    this.set_ranges();
    const [rows, columns] = image.shape;
    const { x, y } = this.scales;
    const [left, right] = [x.scale(0), x.scale(columns)];
    const [top, bottom] = [y.scale(0), y.scale(rows)];
    this.holder.setAttribute('x', String(Math.min(left, right)));
    this.holder.setAttribute('y', String(Math.min(top, bottom)));
    this.holder.setAttribute('width', String(Math.abs(right - left)));
    this.holder.setAttribute('height', String(Math.abs(bottom - top)));
    this.canvas.width = columns;
    this.canvas.height = rows;
    const context = this.canvas.getContext('2d')!;
    const pixels = context.createImageData(columns, rows);
    const channels = image.shape[2] ?? 1;
    const gain = image.dtype === 'uint8' ? 1 : 255;
    for (let i = 0; i < rows * columns; i++) {
      for (let k = 0; k < 3; k++) {
        pixels.data[4 * i + k] = gain * image.data[channels * i + (channels === 3 ? k : 0)];
      }
      pixels.data[4 * i + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
  }

  override clear_style(): void {}
  override set_default_style(): void {}
  override set_style_on_elements(): void {}
  override compute_view_padding(): void {}
}
