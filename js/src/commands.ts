import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookActions } from '@jupyterlab/notebook';

import { gallery } from './gallery';
import { MODULE_NAME } from './version';

const CATEGORY = 'Deep learning';

/** One command an exhibit: it puts a runnable cell below the active one of the current notebook. */
export const commands: JupyterFrontEndPlugin<void> = {
  id: `${MODULE_NAME}:commands`,
  description: 'Commands that insert an example of each exhibit into a notebook.',
  autoStart: true,
  optional: [INotebookTracker, ICommandPalette],
  activate: (app: JupyterFrontEnd, tracker: INotebookTracker | null, palette: ICommandPalette | null) => {
    if (tracker === null) {
      return;
    }
    for (const { title, code } of gallery) {
      const command = `${MODULE_NAME}:insert-${title}`;
      const inNotebook = () => tracker.currentWidget !== null && tracker.currentWidget === app.shell.currentWidget;
      app.commands.addCommand(command, {
        label: `Deep learning: insert ${title}`,
        caption: `Insert a cell below that shows ${title}`,
        isEnabled: inNotebook,
        execute: () => {
          const notebook = tracker.currentWidget?.content;
          if (notebook) {
            NotebookActions.insertBelow(notebook);
            notebook.activeCell?.model.sharedModel.setSource(code);
          }
        },
      });
      palette?.addItem({ command, category: CATEGORY });
    }
  },
};
