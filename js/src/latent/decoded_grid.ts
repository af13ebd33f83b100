import { WidgetModel } from '@jupyter-widgets/base';

import { arraySerializer, NDArray } from '../arrays';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { blend, cornersAt, PictureGrid } from './interpolation';
import { Picture, pictureOf } from './picture';

export interface Decoded {
  /** Good until the next one is asked for; null: the decoder gave none here. */
  picture: Picture | null;
  inside: boolean;
}

/** The decoder's pictures over a plane, from which the browser interpolates without asking the kernel. */
export class DecodedGridModel extends WidgetModel {
  private gridNow!: PictureGrid | null | undefined;
  private sum!: Float32Array<ArrayBuffer>;
  private mixed!: Uint8ClampedArray<ArrayBuffer>;

  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'DecodedGridModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: null,
      _protocol: PROTOCOL,
      pictures: null,
      valid: null,
      box: [0, 1, 0, 1],
      curve: false,
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.on('change', () => (this.gridNow = undefined));
  }

  get grid(): PictureGrid | null {
    if (this.gridNow === undefined) {
      this.gridNow = this.read();
      const size = this.gridNow?.size ?? 0;
      [this.sum, this.mixed] = [new Float32Array(size), new Uint8ClampedArray(size)];
    }
    return this.gridNow;
  }

  private read(): PictureGrid | null {
    const pictures: NDArray | null = this.get('pictures');
    if (!pictures) {
      return null;
    }
    const [rows, columns, ...shape] = pictures.shape;
    return {
      bytes: pictures.data as Uint8Array,
      rows,
      columns,
      size: shape.reduce((product, length) => product * length, 1),
      box: this.get('box'),
      valid: ((this.get('valid') as NDArray | null)?.data ?? null) as Uint8Array | null,
    };
  }

  /** The picture at a place of the plane; null while there is no grid. */
  decode(x: number, y: number): Decoded | null {
    const { grid } = this;
    if (!grid) {
      return null;
    }
    const { corners, inside } = cornersAt(grid, x, y);
    const bytes = blend(grid, corners, this.sum, this.mixed);
    const shape = (this.get('pictures') as NDArray).shape.slice(2);
    return { picture: bytes && pictureOf(bytes, shape), inside };
  }

  static override serializers = { ...WidgetModel.serializers, pictures: arraySerializer, valid: arraySerializer };
}
