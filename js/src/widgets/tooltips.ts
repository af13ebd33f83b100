import type { IWidgetManager, WidgetView } from '@jupyter-widgets/base';

/** What bqplot's figures and marks have of it. */
interface Hovered {
  mark_views?: { views: Promise<WidgetView>[] };
  tooltip_view?: unknown;
  hide_tooltip?(): void;
}

const DATA = ['x', 'y', 'names'];

/** Takes away the tooltip of a mark, or those of all marks of a figure: a dot that goes leaves its own behind. */
export async function hideTooltips(view: WidgetView): Promise<void> {
  const { mark_views } = view as unknown as Hovered;
  for (const mark of [view, ...(await Promise.all(mark_views?.views ?? []))] as unknown as Hovered[]) {
    if (mark.tooltip_view) {
      mark.hide_tooltip!();
    }
  }
}

/** Takes away the tooltips of marks that an exhibit's updates give new data, for they show a number of the old. */
export function hideTooltipsOfChanged(manager: IWidgetManager, content: unknown): void {
  const { type, updates } = content as { type: string; updates: { model_id: string; state: object }[] };
  if (type !== 'updates') {
    return;
  }
  for (const { model_id, state } of updates) {
    if (DATA.some((name) => name in state) && manager.has_model(model_id)) {
      void manager.get_model(model_id).then(async (model) => {
        for (const view of await Promise.all(Object.values(model.views ?? {}))) {
          await hideTooltips(view);
        }
      });
    }
  }
}
