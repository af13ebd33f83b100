import { DOMWidgetModel, DOMWidgetView, unpack_models, WidgetModel } from '@jupyter-widgets/base';

import { arraySerializer, NDArray } from '../arrays';
import type { PointCloudModel } from '../marks/point_cloud_model';
import { mismatch } from '../protocol';
import { MODULE_NAME, MODULE_VERSION, PROTOCOL } from '../version';
import type { DecodedGridModel } from './decoded_grid';
import { Picture, pictureOf, Screen } from './picture';
import { SourceFrame } from './source_frame';
import { describePlace, describePoint, isOutOfSight, Source } from './words';

/** The name of the performance measures from a new place to its picture, and how many are kept. */
const MEASURE = 'dlwidgets:decode';
const MAX_MEASURES = 1000;

/** The words change this often at most, in milliseconds. */
const WORDS_INTERVAL = 100;

export class DecodedPictureModel extends DOMWidgetModel {
  override defaults() {
    return {
      ...super.defaults(),
      _model_name: 'DecodedPictureModel',
      _model_module: MODULE_NAME,
      _model_module_version: MODULE_VERSION,
      _view_name: 'DecodedPictureView',
      _view_module: MODULE_NAME,
      _view_module_version: MODULE_VERSION,
      _protocol: PROTOCOL,
      grid: null,
      cloud: null,
      others: [],
      axis_names: ['z1', 'z2'],
      classes: [],
      exact: null,
      exact_at: [],
      estimated: false,
      images: null,
      reconstructions: null,
      looked_at: -1,
      looked_image: null,
      looked_reconstruction: null,
      image_curve: false,
    };
  }

  override initialize(attributes: object, options: never): void {
    super.initialize(attributes, options);
    this.on('change:others change:cloud', this.follow, this);
    this.follow();
  }

  /** Moves our probe to wherever another panel's probe moves; then each kernel side decodes for its own panel. */
  private follow(): void {
    this.stopListening();
    const cloud: PointCloudModel | null = this.get('cloud');
    for (const other of this.get('others') as PointCloudModel[]) {
      this.listenTo(other, 'change:pointer', () => {
        if (cloud && !same(cloud.get('pointer'), other.get('pointer'))) {
          cloud.set('pointer', other.get('pointer'));
          cloud.save_changes();
        }
      });
    }
  }

  static override serializers = {
    ...DOMWidgetModel.serializers,
    grid: { deserialize: unpack_models },
    cloud: { deserialize: unpack_models },
    others: { deserialize: unpack_models },
    exact: arraySerializer,
    images: arraySerializer,
    reconstructions: arraySerializer,
    looked_image: arraySerializer,
    looked_reconstruction: arraySerializer,
  };
}

function same(a: number[], b: number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

interface Tile {
  box: HTMLElement;
  screen: Screen;
  caption: HTMLElement;
}

/**
 * What the decoder makes of the place under the probe and, of the point under it, the data and its reconstruction.
 * Pictures are drawn at once; their words follow a little later, because to lay out text takes longer than all else.
 */
export class DecodedPictureView extends DOMWidgetView {
  private here!: Tile;
  private data!: Tile;
  private again!: Tile;
  private frame!: SourceFrame;
  private source!: Source;
  private saying!: number;
  private measures!: number;

  override render(): void {
    super.render();
    this.saying = this.measures = 0;
    this.el.classList.add('dlw-decoded');
    const notice = mismatch(this.model.get('_protocol'), PROTOCOL);
    if (notice !== null) {
      this.el.classList.add('dlw-notice');
      this.el.textContent = notice;
      return;
    }
    [this.here, this.data, this.again] = ['here', 'data', 'again'].map((name) => this.tile(name));
    this.frame = new SourceFrame();
    this.here.screen.canvas.after(this.frame.canvas);
    const { cloud, grid, model } = this;
    this.listenTo(cloud, 'change:pointer', this.showHere);
    this.listenTo(cloud, 'change:hovered change:clicked', this.showPoint);
    this.listenTo(grid, 'change', this.showHere);
    this.listenTo(model, 'change:exact change:exact_at change:estimated change:axis_names', this.showHere);
    this.listenTo(
      model,
      'change:images change:reconstructions change:looked_at change:looked_image change:looked_reconstruction change:classes',
      this.showPoint,
    );
    for (const scale of this.scales) {
      this.listenTo(scale, 'domain_changed', this.sayLater);
    }
    // the colour of curves is known once the canvas is in the page
    void this.displayed.then(() => {
      this.showHere();
      this.showPoint();
    });
  }

  private get cloud(): PointCloudModel {
    return this.model.get('cloud');
  }

  private get grid(): DecodedGridModel {
    return this.model.get('grid');
  }

  private get scales(): (WidgetModel & { domain: number[] })[] {
    const { x, y } = this.cloud.get('scales');
    return [x, y];
  }

  /** From where to where the axes go. */
  private get domains(): number[][] {
    return this.scales.map(({ domain }) => domain);
  }

  private get place(): number[] {
    return this.cloud.get('pointer');
  }

  /** The index of the point to look at; -1 if there is none. */
  private get index(): number {
    const { cloud } = this;
    const [hovered, clicked]: number[] = [cloud.get('hovered'), cloud.get('clicked')];
    const index = hovered >= 0 ? hovered : clicked;
    return index < cloud.cloud.length ? index : -1;
  }

  private tile(name: string): Tile {
    const box = document.createElement('figure');
    box.className = `dlw-tile dlw-tile-${name}`;
    const screen = new Screen();
    screen.canvas.setAttribute('role', 'img');
    const caption = document.createElement('figcaption');
    box.append(screen.canvas, caption);
    this.el.append(box);
    return { box, screen, caption };
  }

  private showHere(): void {
    const start = performance.now();
    const { picture, source } = this.pictureAt(this.place);
    if (source !== this.source) {
      this.el.dataset.source = this.source = source;
      this.frame.show(source);
    }
    this.show(this.here, picture, this.grid.get('curve'));
    if (++this.measures % MAX_MEASURES === 0) {
      performance.clearMeasures(MEASURE);
    }
    performance.measure(MEASURE, { start });
  }

  private pictureAt(place: number[]): { picture: Picture | null; source: Source } {
    if (place.length !== 2) {
      return { picture: null, source: 'none' };
    }
    const at: number[] = this.model.get('exact_at');
    if (same(at, place)) {
      const picture = this.single('exact');
      return { picture, source: !picture ? 'failed' : this.model.get('estimated') ? 'estimated' : 'exact' };
    }
    const decoded = this.grid.decode(place[0], place[1]);
    const source: Source = !decoded ? 'none' : !decoded.picture ? 'failed' : decoded.inside ? 'interpolated' : 'beyond';
    return { picture: decoded?.picture ?? null, source };
  }

  private showPoint(): void {
    const { model, index } = this;
    const known = index >= 0;
    const own = known && model.get('looked_at') === index;
    const image = !known ? null : (this.nth('images', index) ?? (own ? this.single('looked_image') : null));
    const again = !known
      ? null
      : ((own ? this.single('looked_reconstruction') : null) ?? this.nth('reconstructions', index));
    this.show(this.data, image, model.get('image_curve'));
    this.show(this.again, again, this.grid.get('curve'));
  }

  private show({ box, screen }: Tile, picture: Picture | null, curve: boolean): void {
    screen.paint(picture, curve);
    box.classList.toggle('dlw-tile-empty', picture === null);
    this.sayLater();
  }

  private sayLater(): void {
    this.saying ||= window.setTimeout(() => {
      this.saying = 0;
      this.say();
    }, WORDS_INTERVAL);
  }

  private say(): void {
    this.frame.readColors();
    const { model, cloud, place, index } = this;
    const known = index >= 0;
    const color = known ? cloud.cloud.color?.[index] : undefined;
    const clicked = index === cloud.get('clicked');
    const names: string[] = model.get('axis_names');
    const name = color === undefined ? undefined : (model.get('classes') as string[])[color];
    for (const [{ screen, caption }, words] of [
      [this.here, describePlace(names, place, this.source, isOutOfSight(names, place, this.domains))],
      [this.data, known ? describePoint(index, name, model.get('image_curve'), clicked) : 'hover a point: its picture'],
      [this.again, known ? 'its reconstruction' : 'and its reconstruction'],
    ] as const) {
      if (caption.textContent !== words) {
        caption.textContent = words;
        screen.canvas.setAttribute('aria-label', words);
      }
    }
  }

  private single(name: string): Picture | null {
    const array: NDArray | null = this.model.get(name);
    return array && pictureOf(array.data as Uint8Array, array.shape);
  }

  private nth(name: string, index: number): Picture | null {
    const array: NDArray | null = this.model.get(name);
    return array && index < array.shape[0] ? pictureOf(array.data as Uint8Array, array.shape.slice(1), index) : null;
  }

  override remove(): void {
    clearTimeout(this.saying);
    super.remove();
  }
}
