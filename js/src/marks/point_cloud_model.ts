import { MarkModel } from 'bqplot';

import { arraySerializer, NDArray } from '../arrays';
import { OKABE_ITO } from '../palette';
import { Cloud, Extent, extentOf, flagsOf, roomy } from '../points/cloud';
import { buildGrid, Grid, nearest } from '../points/grid';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';

export class PointCloudModel extends MarkModel {
  private cloudNow!: Cloud | null;
  private extentNow!: Extent | null;
  private gridNow!: Grid | null;
  private flagsNow!: Uint8Array | null | undefined;

  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'PointCloudModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'PointCloud',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      x: null,
      y: null,
      color: null,
      palette: OKABE_ITO,
      size: 4,
      opacity: 0.8,
      hidden: [],
      selected: null,
      hovered: -1,
      clicked: -1,
      pointer: [],
      drag: 'pan',
      hover_radius: 12,
      report_hover: true,
      renderer: 'auto',
      alt: '',
      scales_metadata: {
        x: { orientation: 'horizontal', dimension: 'x' },
        y: { orientation: 'vertical', dimension: 'y' },
      },
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.on('change', () => {
      const changed = (...names: string[]) => names.some((name) => this.hasChanged(name));
      if (changed('x', 'y', 'color')) {
        this.cloudNow = this.extentNow = this.gridNow = null;
        this.flagsNow = undefined;
      }
      if (changed('selected')) {
        this.flagsNow = undefined;
      }
      if (changed('x', 'y', 'preserve_domain')) {
        this.update_domains();
      }
    });
  }

  get cloud(): Cloud {
    if (!this.cloudNow) {
      const data = (name: string) => (this.get(name) as NDArray | null)?.data;
      const x = (data('x') ?? new Float32Array(0)) as Float32Array;
      const y = (data('y') ?? new Float32Array(0)) as Float32Array;
      const color = (data('color') ?? null) as Uint8Array | Uint16Array | null;
      this.cloudNow = { x, y, color, length: Math.min(x.length, y.length, color?.length ?? Infinity) };
    }
    return this.cloudNow;
  }

  get extent(): Extent {
    return (this.extentNow ??= extentOf(this.cloud));
  }

  get selected(): Int32Array {
    return ((this.get('selected') as NDArray | null)?.data as Int32Array | undefined) ?? new Int32Array(0);
  }

  /** For each point whether it is selected; null if none is. */
  get flags(): Uint8Array | null {
    if (this.flagsNow === undefined) {
      this.flagsNow = flagsOf(this.selected, this.cloud.length);
    }
    return this.flagsNow;
  }

  select(indices: Int32Array<ArrayBuffer>): void {
    this.set('selected', { data: indices, dtype: 'int32', shape: [indices.length] } satisfies NDArray);
  }

  /** Sorts the points into the grid in which they are looked up, unless that is done. */
  prepare(): Grid {
    return (this.gridNow ??= buildGrid(this.cloud, this.extent));
  }

  /** The shown point nearest to (x, y) within an ellipse, -1 if there is none. */
  nearest(at: [number, number], reach: [number, number]): number {
    return this.extent.numFinite > 0 ? nearest(this.prepare(), this.cloud, at, reach, this.isShown()) : -1;
  }

  /** Whether the point with this index has a colour that is not hidden. */
  isShown(): (index: number) => boolean {
    const { color } = this.cloud;
    const hidden = new Set<number>(this.get('hidden'));
    return hidden.size === 0 ? () => true : (index) => !hidden.has(color === null ? 0 : color[index]);
  }

  override update_domains(): void {
    const scales = this.getScales();
    const preserved: { [scale: string]: boolean } = this.get('preserve_domain');
    for (const name of ['x', 'y'] as const) {
      const id = `${this.model_id}_${name}`;
      if (this.extent.numFinite === 0 || preserved[name]) {
        scales[name]?.delDomain([], id);
      } else {
        scales[name]?.computeAndSetDomain(roomy(this.extent[name]), id);
      }
    }
  }

  static override serializers = {
    ...MarkModel.serializers,
    x: arraySerializer,
    y: arraySerializer,
    color: arraySerializer,
    selected: arraySerializer,
  };
}
