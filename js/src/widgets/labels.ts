import type { WidgetView } from '@jupyter-widgets/base';

import { describeFigure, makeFocusable, nameControl } from '../accessibility';

/** For the id of a model: its name and, for a figure, its present content in words. */
export interface Labels {
  [modelId: string]: [string, string];
}

const FIGURE = '.bqplot > svg.svg-figure';

/** Gives names to the controls and figures that Python named. */
export async function applyLabels(labels: Labels, viewsOf: (id: string) => Promise<WidgetView[]>): Promise<void> {
  for (const [id, [name, content]] of Object.entries(labels)) {
    for (const view of await viewsOf(id)) {
      const svg = view.el.querySelector(':scope > svg.svg-figure') as SVGSVGElement | null;
      if (svg) {
        describeFigure(svg, name, content);
      } else {
        nameControl(view.el, name);
      }
    }
  }
}

/** Gives names to slider handles and figures that have none yet, from the text that stands beside them. */
export function nameTheRest(root: Element): void {
  root.querySelectorAll('.noUi-handle:not([aria-label])').forEach((handle) => {
    const control = handle.closest('.widget-inline-hbox, .widget-inline-vbox, .jupyter-widgets');
    nameControl(handle.closest('.noUi-target')!, control?.querySelector('.widget-label')?.textContent || 'Slider');
  });
  root.querySelectorAll<SVGSVGElement>(FIGURE).forEach((svg) => {
    if (!svg.hasAttribute('role')) {
      describeFigure(svg, svg.querySelector('.mainheading')?.textContent || 'Figure', '');
    }
    makeFocusable(svg);
  });
  root.querySelectorAll('.bqplot > svg.svg-background').forEach((svg) => svg.setAttribute('aria-hidden', 'true'));
}
