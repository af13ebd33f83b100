import { DOMWidgetModel, DOMWidgetView, unpack_models } from '@jupyter-widgets/base';

import { hiddenText } from '../accessibility';
import { arraySerializer, NDArray } from '../arrays';
import type { Cell } from '../field/lookup';
import type { RasterModel } from '../marks/raster_model';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { describeCell } from './cell_words';

export class CellReadoutModel extends DOMWidgetModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'CellReadoutModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'CellReadoutView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      raster: null,
      rows: [],
      columns: [],
      quantity: '',
      logarithmic: false,
      missing: null,
      reasons: [],
      text: '',
    };
  }

  static override serializers = {
    ...DOMWidgetModel.serializers,
    raster: { deserialize: unpack_models },
    missing: arraySerializer,
  };
}

/** One line that says what the hovered or else the pinned cell of a raster holds. */
export class CellReadoutView extends DOMWidgetView {
  private line!: HTMLElement;
  private spoken!: HTMLElement;

  override render(): void {
    super.render();
    this.el.classList.add('dlw-readout');
    this.line = document.createElement('span');
    this.spoken = hiddenText('dlw-announcement');
    this.spoken.setAttribute('aria-live', 'polite');
    this.el.append(this.line, this.spoken);
    this.listenTo(this.model, 'change', this.show);
    if (this.raster) {
      this.listenTo(this.raster, 'change:hovered change:selected change:image', this.show);
    }
    this.show();
  }

  private get raster(): RasterModel | null {
    return this.model.get('raster');
  }

  private show(): void {
    const pinned = this.words(this.raster?.get('selected'));
    const hovered = this.words(this.raster?.get('hovered'));
    this.write(this.line, hovered ?? pinned ?? this.model.get('text'));
    this.write(this.spoken, pinned ?? '');
  }

  private words(cell: Cell | [] | undefined): string | null {
    const image = this.raster?.image;
    if (!image || cell?.length !== 2) {
      return null;
    }
    const [row, column] = cell;
    const [rows, columns] = image.shape;
    if (row >= rows || column >= columns) {
      return null;
    }
    const name = (names: string, index: number) => this.model.get(names)[index] ?? '';
    const stored = image.data[row * columns + column];
    const { quantity, logarithmic } = this.model.attributes;
    return describeCell(
      name('rows', row),
      name('columns', column),
      quantity,
      stored,
      logarithmic,
      this.reason(row, column, columns),
    );
  }

  /** Why a cell holds no number, if that is known. */
  private reason(row: number, column: number, columns: number): string | undefined {
    const missing: NDArray | null = this.model.get('missing');
    const known = missing !== null && missing.shape[1] === columns;
    return known ? this.model.get('reasons')[missing.data[row * columns + column]] : undefined;
  }

  private write(element: HTMLElement, text: string): void {
    if (element.textContent !== text) {
      element.textContent = text;
    }
  }
}
