import { unpack_models } from '@jupyter-widgets/base';
import { MarkModel } from 'bqplot';

import { arraySerializer, NDArray } from '../arrays';
import type { Cell } from '../field/lookup';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import type { FieldMapModel } from './field_map';
import { finiteRange } from './pixels';

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
      mask: null,
      boxes: null,
      outside: [0, 0, 0, 0],
      square: true,
      hovered: [],
      selected: [],
      report_hover: true,
      linked: null,
      role: 'unit',
      alt: '',
      scales_metadata: {
        x: { orientation: 'horizontal', dimension: 'x' },
        y: { orientation: 'vertical', dimension: 'y' },
        color: { dimension: 'color' },
      },
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.on('change:image change:outside change:preserve_domain', this.update_domains, this);
    this.on('change:linked', () => {
      (this.previous('linked') as FieldMapModel | null)?.detach(this);
      this.linked?.attach(this);
    });
    this.on('change:selected', () => this.linked?.trigger('selection'));
    this.once('destroy', () => this.linked?.detach(this));
    this.linked?.attach(this);
    this.update_domains();
  }

  get image(): NDArray | null {
    return this.get('image');
  }

  get linked(): FieldMapModel | null {
    return this.get('linked');
  }

  get rows(): number {
    return this.image?.shape[0] ?? 0;
  }

  get columns(): number {
    return this.image?.shape[1] ?? 0;
  }

  /** The pinned cell, if there is one that lies in the picture. */
  get selected(): Cell | null {
    const cell: Cell = this.get('selected') ?? [];
    return cell.length === 2 && cell[0] < this.rows && cell[1] < this.columns ? cell : null;
  }

  override update_domains(): void {
    const { image } = this;
    if (!image) {
      return;
    }
    const [top, left, bottom, right]: number[] = this.get('outside');
    const { x, y, color } = this.getScales();
    const preserved: { [scale: string]: boolean } = this.get('preserve_domain');
    const domains: [string, typeof x, number[] | null][] = [
      ['x', x, [-left, this.columns + right]],
      ['y', y, [-top, this.rows + bottom]],
      ['color', color, image.dtype === 'uint8' ? null : finiteRange(image.data)],
    ];
    for (const [name, scale, domain] of domains) {
      const id = `${this.model_id}_${name}`;
      if (domain === null || preserved[name]) {
        scale?.delDomain([], id);
      } else {
        scale?.computeAndSetDomain(domain, id);
      }
    }
  }

  static override serializers = {
    ...MarkModel.serializers,
    selected: {}, // a cell here, not bqplot's array of indices
    image: arraySerializer,
    mask: arraySerializer,
    boxes: arraySerializer,
    linked: { deserialize: unpack_models },
  };
}
