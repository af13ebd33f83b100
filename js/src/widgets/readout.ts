import { DOMWidgetModel, DOMWidgetView, unpack_models } from '@jupyter-widgets/base';

import { hiddenText } from '../accessibility';
import type { Cell, Role } from '../field/lookup';
import { describe } from '../field/words';
import { FieldMapModel, HOVER_EVENT, HoverDetail, hoverRoot } from '../marks/field_map';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';

export class ReadoutModel extends DOMWidgetModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'ReadoutModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'ReadoutView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      linked: null,
      text: '',
    };
  }

  static override serializers = { ...DOMWidgetModel.serializers, linked: { deserialize: unpack_models } };
}

/**
 * One line that says what is hovered or else pinned. Only what is pinned is announced to assistive technology: reading
 * out every hover would drown everything else.
 */
export class ReadoutView extends DOMWidgetView {
  private line!: HTMLElement;
  private spoken!: HTMLElement;
  private hover!: { role: Role; cell: Cell } | null;
  private stopListeningToRoot!: () => void;

  override render(): void {
    super.render();
    this.hover = null;
    this.stopListeningToRoot = () => undefined;
    this.el.classList.add('dlw-readout');
    this.line = document.createElement('span');
    this.spoken = hiddenText('dlw-announcement');
    this.spoken.setAttribute('aria-live', 'polite');
    this.el.append(this.line, this.spoken);
    this.listenTo(this.model, 'change:text', this.show);
    this.listenTo(this.model, 'change:linked', this.followLink);
    this.followLink();
    void this.displayed.then(() => {
      const root = hoverRoot(this.el);
      const listener = (event: Event) => this.onHover((event as CustomEvent<HoverDetail>).detail);
      root.addEventListener(HOVER_EVENT, listener);
      this.stopListeningToRoot = () => root.removeEventListener(HOVER_EVENT, listener);
    });
  }

  private get linked(): FieldMapModel | null {
    return this.model.get('linked');
  }

  private followLink(): void {
    const before = this.model.previous('linked') as FieldMapModel | null | undefined;
    if (before && before !== this.linked) {
      this.stopListening(before);
    }
    if (this.linked) {
      this.listenTo(this.linked, 'change selection answer', this.show);
    }
    this.show();
  }

  private onHover({ map, role, cell }: HoverDetail): void {
    if (map === this.linked) {
      this.hover = cell && { role, cell };
      this.show();
    }
  }

  private show(): void {
    const pinned = this.words('unit', this.linked?.selection('unit')) ?? this.words('input', this.linked?.selection('input'));
    const hovered = this.hover && this.words(this.hover.role, this.hover.cell);
    write(this.line, hovered ?? pinned ?? this.model.get('text'));
    write(this.spoken, pinned ?? '');
  }

  private words(role: Role, cell: Cell | null | undefined): string | null {
    const seen = cell ? this.linked?.seen(role, cell) : null;
    return cell && seen ? describe(role, cell, seen, this.linked!.get('label'), this.linked!.get('in_shape')) : null;
  }

  override remove(): void {
    this.stopListeningToRoot?.();
    super.remove();
  }
}

function write(element: HTMLElement, text: string): void {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}
