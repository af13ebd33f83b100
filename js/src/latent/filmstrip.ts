import { DOMWidgetModel, DOMWidgetView } from '@jupyter-widgets/base';

import { arraySerializer, NDArray } from '../arrays';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { pictureOf, Screen } from './picture';

export class FilmstripModel extends DOMWidgetModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'FilmstripModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'FilmstripView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      pictures: null,
      valid: null,
      captions: [],
      title: '',
      curve: false,
    };
  }

  static override serializers = { ...DOMWidgetModel.serializers, pictures: arraySerializer, valid: arraySerializer };
}

/** A row of small pictures under a title. */
export class FilmstripView extends DOMWidgetView {
  override render(): void {
    super.render();
    this.el.classList.add('dlw-filmstrip');
    this.listenTo(this.model, 'change', this.show);
    void this.displayed.then(() => this.show());
  }

  private show(): void {
    const { model } = this;
    const pictures: NDArray | null = model.get('pictures');
    const valid = (model.get('valid') as NDArray | null)?.data;
    const captions: string[] = model.get('captions');
    const count = pictures?.shape[0] ?? 0;
    this.el.classList.toggle('dlw-hidden', count === 0);
    const heading = document.createElement('div');
    heading.className = 'dlw-filmstrip-title';
    heading.textContent = model.get('title');
    const row = document.createElement('div');
    row.className = 'dlw-filmstrip-row';
    this.el.replaceChildren(heading, row);
    for (let i = 0; i < count; i++) {
      const box = document.createElement('figure');
      box.className = 'dlw-tile';
      const screen = new Screen();
      const { canvas } = screen;
      canvas.setAttribute('role', 'img');
      canvas.setAttribute('aria-label', captions[i] ?? `picture ${i + 1} of ${count}`);
      box.append(canvas);
      if (captions[i]) {
        const caption = document.createElement('figcaption');
        caption.textContent = captions[i];
        box.append(caption);
      }
      row.append(box);
      const shown = !valid || valid[i] !== 0;
      screen.paint(shown ? pictureOf(pictures!.data as Uint8Array, pictures!.shape.slice(1), i) : null, model.get('curve'));
    }
  }
}
