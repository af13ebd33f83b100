import type { IWidgetManager } from '@jupyter-widgets/base';

interface Update {
  model_id: string;
  state: object;
  buffer_paths: (string | number)[][];
}

/** The updates of many models in one message: each takes its own as if it had come alone. */
export function handOut(manager: IWidgetManager, content: unknown, buffers: DataView[]): void {
  const { type, updates } = content as { type: string; updates: Update[] };
  if (type !== 'updates') {
    return;
  }
  let start = 0;
  for (const { model_id, state, buffer_paths } of updates) {
    const own = buffers.slice(start, (start += buffer_paths.length));
    if (manager.has_model(model_id)) {
      const message = { content: { data: { method: 'update', state, buffer_paths } }, buffers: own };
      void manager.get_model(model_id).then((model) => model._handle_comm_msg(message as never));
    }
  }
}
