import { WidgetModel } from '@jupyter-widgets/base';

import { arraySerializer, NDArray } from '../arrays';
import { answered, Cell, FieldTable, lookUp, Role, Seen } from '../field/lookup';
import { unpackRow } from '../field/packed';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import type { RasterModel } from './raster_model';

/** How many answers of the kernel are remembered. */
const MAX_ANSWERS = 256;

/** What every view of a link hears, up to the root that the views share. */
export const HOVER_EVENT = 'dlw-hover';

export interface HoverDetail {
  map: FieldMapModel;
  role: Role;
  /** null: the pointer left. */
  cell: Cell | null;
}

interface Answer {
  type: string;
  role: Role;
  cell: Cell;
  /** Of the table that the question was about. */
  generation: number;
}

/** The nearest element around a view inside which hovering is shared. */
export function hoverRoot(element: Element): Element {
  return element.closest('.dlw-exhibit') ?? element.closest('.jp-OutputArea-child') ?? document.body;
}

/** Tells every linked view under the same root what the pointer is on. */
export function announceHover(element: Element, detail: HoverDetail): void {
  element.dispatchEvent(new CustomEvent<HoverDetail>(HOVER_EVENT, { bubbles: true, detail }));
}

/** Which input positions each unit of a layer sees; the link between a picture of the units and one of the input. */
export class FieldMapModel extends WidgetModel {
  private rasters!: Set<RasterModel>;
  private table!: FieldTable | null;
  private answers!: Map<string, Uint8Array>;
  private last!: { key: string; seen: Seen | null } | null;
  private asked!: string | null;
  private next!: { role: Role; cell: Cell } | null;

  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'FieldMapModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: null,
      _protocol: PROTOCOL,
      mode: 'products',
      generation: 0,
      bits: null,
      index: null,
      boxes: null,
      windows: null,
      out_shape: [],
      in_shape: [],
      out_at: [],
      in_at: [],
      label: '',
      status: 'exact',
      because: '',
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.rasters = new Set();
    this.forget();
    this.on('change', this.forget, this);
    this.on('msg:custom', this.hear, this);
  }

  attach(raster: RasterModel): void {
    this.rasters.add(raster);
    this.trigger('selection');
  }

  detach(raster: RasterModel): void {
    this.rasters.delete(raster);
    this.trigger('selection');
  }

  /** The cell that is pinned on a picture with this role. */
  selection(role: Role): Cell | null {
    for (const raster of this.rasters) {
      if (raster.get('role') === role && raster.selected !== null) {
        return raster.selected;
      }
    }
    return null;
  }

  /** Only one end of the link is pinned at a time. */
  unpin(role: Role): void {
    for (const raster of this.rasters) {
      if (raster.get('role') === role && raster.selected !== null) {
        raster.set('selected', []);
        raster.save_changes();
      }
    }
  }

  /** What is seen from a cell of the picture with this role, or who sees it; null if the cell stands for nothing. */
  seen(role: Role, cell: Cell): Seen | null {
    const key = keyOf(role, cell);
    if (this.last?.key !== key) {
      this.last = { key, seen: this.find(role, cell) };
    }
    return this.last.seen;
  }

  private find(role: Role, cell: Cell): Seen | null {
    if (this.get('bits') === null && this.get('boxes') === null) {
      return null;
    }
    this.table ??= this.tableNow();
    const seen = lookUp(this.table, role, cell);
    if (seen === null || this.get('mode') !== 'query') {
      return seen;
    }
    const answer = this.answers.get(keyOf(role, cell));
    if (answer === undefined) {
      this.ask(role, cell);
      return seen;
    }
    const [shape, at] = role === 'unit' ? [this.table.inShape, this.table.inAt] : [this.table.outShape, this.table.outAt];
    return answered(seen, answer, shape, at);
  }

  private tableNow(): FieldTable {
    const data = (name: string) => (this.get(name) as NDArray | null)?.data;
    return {
      bits: (data('bits') as Uint8Array | undefined) ?? new Uint8Array(0),
      index: (data('index') as Int32Array | undefined) ?? new Int32Array(0),
      boxes: (data('boxes') as Int32Array | undefined) ?? null,
      windows: (data('windows') as Float64Array | undefined) ?? new Float64Array(0),
      outShape: this.get('out_shape'),
      inShape: this.get('in_shape'),
      outAt: this.get('out_at'),
      inAt: this.get('in_at'),
      status: this.get('status'),
      because: this.get('because'),
    };
  }

  private forget(): void {
    this.table = this.last = null;
    this.answers = new Map();
    this.asked = null;
    this.next = null;
  }

  /** One question is on its way at most; of those that come meanwhile the last one is kept. */
  private ask(role: Role, cell: Cell): void {
    if (!this.comm_live) {
      return;
    }
    if (this.asked !== null) {
      this.next = { role, cell };
      return;
    }
    this.asked = keyOf(role, cell);
    this.send({ type: 'query', role, cell, generation: this.get('generation') }, {});
  }

  private hear(content: Answer, buffers: DataView[]): void {
    const { type, role, cell, generation } = content;
    if (type !== 'field' || generation !== this.get('generation') || keyOf(role, cell) !== this.asked) {
      return;
    }
    this.asked = null;
    if (buffers.length > 0) {
      const { buffer, byteOffset, byteLength } = buffers[0];
      const shape: number[] = this.get(role === 'unit' ? 'in_shape' : 'out_shape');
      const size = shape.reduce((product, length) => product * length, 1);
      const mask = unpackRow(new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength), 0, 0, size);
      if (this.answers.size >= MAX_ANSWERS) {
        this.answers.delete(this.answers.keys().next().value!);
      }
      this.answers.set(keyOf(role, cell), mask);
    }
    const { next } = this;
    this.next = this.last = null;
    if (next !== null && !this.answers.has(keyOf(next.role, next.cell))) {
      this.ask(next.role, next.cell);
    }
    this.trigger('answer');
  }

  static override serializers = {
    ...WidgetModel.serializers,
    bits: arraySerializer,
    index: arraySerializer,
    boxes: arraySerializer,
    windows: arraySerializer,
  };
}

function keyOf(role: Role, cell: Cell): string {
  return `${role}:${cell}`;
}
