import type { WidgetModel, WidgetView } from '@jupyter-widgets/base';
import { VBoxModel, VBoxView } from '@jupyter-widgets/controls';

import { hiddenText } from '../accessibility';
import { mismatch } from '../protocol';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import { applyLabels, Labels, nameTheRest } from './labels';
import { hideTooltips, hideTooltipsOfChanged } from './tooltips';
import { handOut } from './updates';

export class ExhibitModel extends VBoxModel {
  override initialize(...args: Parameters<VBoxModel['initialize']>): void {
    super.initialize(...args);
    this.on('msg:custom', (content: unknown, buffers: DataView[]) => {
      handOut(this.widget_manager, content, buffers);
      hideTooltipsOfChanged(this.widget_manager, content);
    });
  }

  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'ExhibitModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'ExhibitView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      _error: '',
      _progress: null,
      _busy: false,
      _description: '',
      _labels: {},
    };
  }
}

interface Kernel {
  statusChanged: {
    connect(slot: (sender: unknown, status: string) => void, context: object): void;
    disconnect(slot: (sender: unknown, status: string) => void, context: object): void;
  };
}

const LOST = 'The kernel has restarted or stopped, so this display no longer answers: run the cell again.';
const GONE = ['restarting', 'autorestarting', 'dead'];

/** The box around one exhibit: says what goes wrong, how far work is, and names what is inside. */
export class ExhibitView extends VBoxView {
  private alerts!: { [name: string]: HTMLElement };
  private progress!: HTMLElement;
  private description!: HTMLElement;
  private observer!: MutationObserver;
  private kernel!: Kernel | undefined;
  private dismissed!: string;

  override render(): void {
    super.render();
    this.dismissed = '';
    this.el.classList.add('dlw-exhibit');
    this.el.classList.toggle('dlw-without-kernel', !this.model.comm_live);
    this.el.setAttribute('role', 'group');
    this.build();
    this.listenTo(this.model, 'change:_error', () => {
      this.dismissed = '';
      this.showError();
    });
    this.listenTo(this.model, 'change:_progress change:_busy comm_live_update', this.showProgress);
    this.listenTo(this.model, 'change:_description', this.showDescription);
    this.listenTo(this.model, 'change:_labels', this.label);
    this.showError();
    this.showProgress();
    this.showDescription();
    this.watchKernel();
    this.observer = new MutationObserver((records) => {
      const isNew = ({ target, addedNodes }: MutationRecord) =>
        !(target instanceof SVGElement) && [...addedNodes].some((node) => node instanceof Element);
      if (records.some(isNew)) {
        this.label();
      }
    });
    this.observer.observe(this.el, { childList: true, subtree: true });
    this.el.addEventListener('pointerleave', this.onLeave, true); // captured: it does not bubble
    this.label();
  }

  private build(): void {
    const alert = (name: string) => {
      const element = document.createElement('div');
      element.className = `dlw-alert dlw-${name}`;
      element.setAttribute('role', 'alert');
      element.hidden = true;
      return element;
    };
    this.alerts = { mismatch: alert('mismatch'), disconnected: alert('disconnected'), error: alert('error') };
    this.progress = document.createElement('div');
    this.progress.className = 'dlw-progress';
    const bar = document.createElement('progress');
    bar.max = 1;
    const text = document.createElement('span');
    const stop = document.createElement('button');
    stop.type = 'button';
    stop.className = 'jupyter-button widget-button dlw-stop';
    stop.textContent = 'Stop';
    stop.addEventListener('click', () => this.send({ type: 'stop' }));
    this.progress.append(bar, text, stop);
    this.description = hiddenText('dlw-description');
    this.description.id = `dlw-description-${this.cid}`;
    this.el.setAttribute('aria-describedby', this.description.id);
    // Behind the children, whose layout counts nodes when it inserts one; the style sheet shows them above.
    this.el.append(...Object.values(this.alerts), this.progress, this.description);
    show(this.alerts.mismatch, mismatch(this.model.get('_protocol'), PROTOCOL) ?? '');
  }

  private showError(): void {
    const message: string = this.model.get('_error');
    show(this.alerts.error, message === this.dismissed ? '' : message, () => {
      this.dismissed = message;
      this.showError();
    });
  }

  private showProgress(): void {
    const { fraction, text }: { fraction?: number; text?: string } = this.model.get('_progress') ?? {};
    const busy: boolean = this.model.get('_busy') && this.model.comm_live;
    this.el.setAttribute('aria-busy', String(busy));
    this.progress.hidden = !busy || fraction === undefined;
    const [bar, line] = this.progress.children as unknown as [HTMLProgressElement, HTMLElement];
    bar.value = fraction ?? 0;
    bar.setAttribute('aria-label', text || 'Progress');
    line.textContent = text ?? '';
  }

  private showDescription(): void {
    this.description.textContent = this.model.get('_description');
  }

  /** A page without a kernel never had one to lose, and says nothing. */
  private watchKernel(): void {
    let live = this.model.comm_live;
    this.listenTo(this.model, 'comm_live_update', () => {
      if (live && !this.model.comm_live) {
        show(this.alerts.disconnected, LOST);
      }
      live = this.model.comm_live;
    });
    this.kernel = (this.model.widget_manager as unknown as { kernel?: Kernel }).kernel;
    this.kernel?.statusChanged.connect(this.onKernelStatus, this);
  }

  private onKernelStatus(_: unknown, status: string): void {
    if (GONE.includes(status)) {
      show(this.alerts.disconnected, LOST);
    }
  }

  private label(): void {
    const labels: Labels = this.model.get('_labels');
    const find = (id: string) => this.viewsOf(id);
    void applyLabels(labels, find).then(() => nameTheRest(this.el));
  }

  private onLeave = async ({ target }: PointerEvent): Promise<void> => {
    if (!(target as Element).matches('.bqplot')) {
      return;
    }
    for (const id of Object.keys(this.model.get('_labels') as Labels)) {
      for (const view of await this.viewsOf(id)) {
        if (view.el === target) {
          await hideTooltips(view);
        }
      }
    }
  };

  /** The views of a model that lie in this view. */
  private async viewsOf(id: string): Promise<WidgetView[]> {
    const manager = this.model.widget_manager;
    if (!manager.has_model(id)) {
      return [];
    }
    const model: WidgetModel = await manager.get_model(id);
    const views = await Promise.all(Object.values(model.views ?? {}));
    return views.filter((view) => this.el.contains(view.el));
  }

  override remove(): void {
    this.observer?.disconnect();
    this.kernel?.statusChanged.disconnect(this.onKernelStatus, this);
    super.remove();
  }
}

/** Shows a message as text, never as HTML; hides the element if there is none. */
function show(element: HTMLElement, message: string, dismiss?: () => void): void {
  element.hidden = message === '';
  const text = document.createElement('span');
  text.textContent = message;
  element.replaceChildren(text);
  if (dismiss && message) {
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'dlw-dismiss';
    button.textContent = '×';
    button.setAttribute('aria-label', 'Dismiss this message');
    button.addEventListener('click', dismiss);
    element.append(button);
  }
}
