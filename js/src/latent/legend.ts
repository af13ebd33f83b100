import { DOMWidgetModel, DOMWidgetView, unpack_models } from '@jupyter-widgets/base';

import type { PointCloudModel } from '../marks/point_cloud_model';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';

export class PointLegendModel extends DOMWidgetModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'PointLegendModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'PointLegendView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      cloud: null,
      classes: [],
    };
  }

  static override serializers = { ...DOMWidgetModel.serializers, cloud: { deserialize: unpack_models } };
}

/** So many classes get a button; the rest are counted. */
const MAX_BUTTONS = 30;

/** The classes of a cloud in their colours; a button hides and shows one, without the kernel. */
export class PointLegendView extends DOMWidgetView {
  override render(): void {
    super.render();
    this.el.classList.add('dlw-legend');
    this.el.setAttribute('role', 'group');
    this.el.setAttribute('aria-label', 'Classes');
    this.listenTo(this.cloud, 'change:hidden change:palette', this.show);
    this.listenTo(this.model, 'change:classes', this.build);
    this.build();
  }

  private get cloud(): PointCloudModel {
    return this.model.get('cloud');
  }

  private build(): void {
    const classes: string[] = this.model.get('classes');
    const buttons = classes.slice(0, MAX_BUTTONS).map((name, index) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'dlw-legend-entry';
      const dot = document.createElement('span');
      dot.className = 'dlw-legend-dot';
      const text = document.createElement('span');
      text.textContent = name;
      button.append(dot, text);
      button.title = `Show or hide ${name}; with Alt, show only ${name}`;
      button.addEventListener('click', (event) => this.toggle(index, event.altKey));
      return button;
    });
    this.el.replaceChildren(...buttons);
    if (classes.length > MAX_BUTTONS) {
      this.el.append(`and ${(classes.length - MAX_BUTTONS).toLocaleString('en')} more`);
    }
    this.show();
  }

  private toggle(index: number, alone: boolean): void {
    const { cloud } = this;
    const hidden = new Set<number>(cloud.get('hidden'));
    if (alone) {
      const others = (this.model.get('classes') as string[]).map((_, i) => i).filter((i) => i !== index);
      const isAlone = !hidden.has(index) && hidden.size === others.length;
      cloud.set('hidden', isAlone ? [] : others);
    } else {
      hidden.has(index) ? hidden.delete(index) : hidden.add(index);
      cloud.set('hidden', [...hidden].sort((a, b) => a - b));
    }
    cloud.save_changes();
  }

  private show(): void {
    const hidden = new Set<number>(this.cloud.get('hidden'));
    const palette: string[] = this.cloud.get('palette');
    this.el.querySelectorAll<HTMLElement>('.dlw-legend-entry').forEach((button, index) => {
      button.setAttribute('aria-pressed', String(!hidden.has(index)));
      (button.firstChild as HTMLElement).style.background = palette[index % palette.length];
    });
  }
}
