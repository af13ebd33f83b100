import assert from 'node:assert/strict';
import test from 'node:test';

import { packColor } from '../src/palette';
import { Cloud, colorTable, countColors, extentOf, flagsOf, roomy } from '../src/points/cloud';
import { isSoftware } from '../src/points/gl';
import { buildGrid, nearest } from '../src/points/grid';
import { pointsInPolygon, rectangle } from '../src/points/lasso';
import { axisOf, Placement, toPixel, toValue } from '../src/points/placement';
import { probeMoved } from '../src/points/probe';
import { CpuRasteriser } from '../src/points/raster';
import { describeCloud } from '../src/points/words';

/** Numbers from 0 to 1, the same in every run (a linear congruential generator). */
function randoms(seed: number): () => number {
  let state = seed;
  return () => (state = (1103515245 * state + 12345) % 2147483648) / 2147483648;
}

function cloudOf(x: ArrayLike<number>, y: ArrayLike<number>, color: number[] | null = null): Cloud {
  const colors = color && Uint8Array.from(color);
  return { x: Float32Array.from(x), y: Float32Array.from(y), color: colors, length: x.length };
}

const shown = () => true;
const random = randoms(1);
const spread = (length: number, scale: number) => Array.from({ length }, () => scale * (random() + random() - 1));

const CLOUDS: { [name: string]: Cloud } = {
  spread: cloudOf(spread(3000, 2), spread(3000, 50)),
  'all equal': cloudOf(Array(500).fill(2), Array(500).fill(-3)),
  'on a line': cloudOf(spread(500, 1), Array(500).fill(7)),
  'one far out': cloudOf([...spread(900, 1), 1e30], [...spread(900, 1), -1e30]),
  'some not finite': cloudOf([0, NaN, 1, Infinity, 2, 3], [0, 1, NaN, 2, -Infinity, 3]),
  'one point': cloudOf([1], [1]),
};

function nearestByHand({ x, y, length }: Cloud, at: number[], reach: number[], isShown: (i: number) => boolean): number {
  let best = -1;
  let least = 1;
  for (let i = 0; i < length; i++) {
    const distance = ((x[i] - at[0]) / reach[0]) ** 2 + ((y[i] - at[1]) / reach[1]) ** 2;
    if (distance <= least && isShown(i)) {
      [best, least] = [i, distance];
    }
  }
  return best;
}

for (const [name, cloud] of Object.entries(CLOUDS)) {
  test(`the grid finds the nearest of points that are ${name}, as looking at all of them does`, () => {
    const extent = extentOf(cloud);
    const grid = buildGrid(cloud, extent);
    const finite = [...cloud.x.keys()].filter((i) => Number.isFinite(cloud.x[i]) && Number.isFinite(cloud.y[i]));
    assert.deepEqual([...grid.order].sort((a, b) => a - b), finite);
    const odd = (i: number) => i % 2 === 1;
    for (let k = 0; k < 200; k++) {
      const at: [number, number] = [3 * (random() - 0.5), k % 2 ? 60 * (random() - 0.5) : 7 * random()];
      const reach: [number, number] = [0.5 * random() + 1e-3, 5 * random() + 1e-3];
      for (const isShown of [shown, odd]) {
        assert.equal(nearest(grid, cloud, at, reach, isShown), nearestByHand(cloud, at, reach, isShown));
      }
    }
    const first = [cloud.x[0], cloud.y[0]] as [number, number];
    assert.equal(nearest(grid, cloud, first, [1e-9, 1e-9], shown), nearestByHand(cloud, first, [1e-9, 1e-9], shown));
  });
}

test('points far outside of the grid are found too', () => {
  const cloud = CLOUDS['one far out'];
  const grid = buildGrid(cloud, extentOf(cloud));
  assert.equal(nearest(grid, cloud, [1e30, -1e30], [1e28, 1e28], shown), 900);
  assert.ok(grid.starts.filter((start, k) => k > 0 && start > grid.starts[k - 1]).length > 50, 'the others share cells');
});

/** The even-odd rule by the winding of angles: a point is inside if the polygon turns around it an odd number of times. */
function isInsideByAngles(polygon: number[], x: number, y: number): boolean {
  let turn = 0;
  for (let k = 0; k < polygon.length; k += 2) {
    const next = (k + 2) % polygon.length;
    const from = Math.atan2(polygon[k + 1] - y, polygon[k] - x);
    const to = Math.atan2(polygon[next + 1] - y, polygon[next] - x);
    turn += Math.atan2(Math.sin(to - from), Math.cos(to - from));
  }
  return Math.abs(Math.round(turn / (2 * Math.PI))) % 2 === 1;
}

test('the lasso takes the points that angles say are inside, for convex, concave and crossing outlines', () => {
  const cloud = CLOUDS.spread;
  const star = Array.from({ length: 5 }, (_, k) => [Math.cos((4 * Math.PI * k) / 5), 40 * Math.sin((4 * Math.PI * k) / 5)]).flat();
  const wild = Array.from({ length: 60 }, () => [2 * random() - 1, 60 * random() - 30]).flat();
  const circle = Array.from({ length: 300 }, (_, k) => [Math.cos((Math.PI * k) / 150), 20 * Math.sin((Math.PI * k) / 150)]).flat();
  for (const polygon of [star, wild, circle, rectangle([-1, -10], [0.5, 30]), [0, 0, 1, 50, 1, -50]]) {
    const taken = [...pointsInPolygon(cloud, polygon, shown)];
    const expected = [...cloud.x.keys()].filter((i) => isInsideByAngles(polygon, cloud.x[i], cloud.y[i]));
    assert.ok(expected.length > 0);
    assert.deepEqual(taken, expected);
    assert.deepEqual([...pointsInPolygon(cloud, polygon, (i) => i < 1000)], expected.filter((i) => i < 1000));
  }
});

test('an outline without an inside takes nothing, and points that are not finite are never taken', () => {
  const cloud = CLOUDS['some not finite'];
  for (const polygon of [[], [1, 1], [0, 0, 1, 1], [0, 0, 0, 5, 0, 9], [0, 3, 5, 3, 9, 3]]) {
    assert.equal(pointsInPolygon(cloud, polygon, shown).length, 0);
  }
  assert.deepEqual([...pointsInPolygon(cloud, rectangle([-9, -9], [9, 9]), shown)], [0, 5]);
});

/** What the painter's algorithm gives in floating point: premultiplied red, green, blue and alpha from 0 to 1. */
function paintedByHand(cloud: Cloud, place: Placement, table: Uint32Array, diameter: number, opacity: number): number[][] {
  const canvas = Array.from({ length: place.width * place.height }, () => [0, 0, 0, 0]);
  for (let i = 0; i < cloud.length; i++) {
    const quarter = (value: number) => (Math.floor(4 * value) + 0.5) / 4;
    const [px, py] = [quarter(toPixel(place.x, cloud.x[i])), quarter(toPixel(place.y, cloud.y[i]))];
    const source = table[cloud.color?.[i] ?? 0];
    for (let row = 0; row < place.height; row++) {
      for (let column = 0; column < place.width; column++) {
        const away = Math.hypot(column + 0.5 - px, row + 0.5 - py);
        const alpha = opacity * Math.max(0, Math.min(1, diameter / 2 + 0.5 - away));
        if (source !== 0 && alpha > 0) {
          const pixel = canvas[row * place.width + column];
          const color = [source & 255, (source >> 8) & 255, (source >> 16) & 255, 255].map((part) => part / 255);
          pixel.forEach((before, k) => (pixel[k] = before * (1 - alpha) + color[k] * alpha));
        }
      }
    }
  }
  return canvas;
}

test('the rasteriser paints what the painter’s algorithm does, up to rounding, also at the border', () => {
  const place: Placement = {
    width: 40,
    height: 30,
    x: { center: 0.5, scale: 11, offset: 20 },
    y: { center: 0, scale: -0.4, offset: 15 },
  };
  const colors = Array.from({ length: 300 }, (_, i) => i % 4);
  const cloud = cloudOf([...spread(297, 2.5), NaN, 0.5, 0.5], [...spread(297, 50), 0, 0, Infinity], colors);
  const table = colorTable([[255, 0, 0], [0, 200, 50], [0, 0, 255]], [2], 256);
  assert.equal(table[2], 0);
  assert.equal(table[3], packColor([255, 0, 0]));
  // hundreds of layers that hardly cover add up the rounding of bytes
  for (const [diameter, opacity, error] of [[1, 1, 0.01], [4, 0.8, 0.01], [7.5, 0.3, 0.02], [30, 0.05, 0.05]]) {
    const rasteriser = new CpuRasteriser();
    for (const twice of [1, 2]) {
      const out = new Uint32Array(place.width * place.height);
      rasteriser.clear(place, diameter);
      rasteriser.draw(cloud, place, table, diameter, opacity, null, 0);
      rasteriser.finish(place, out);
      const bytes = new Uint8Array(out.buffer);
      paintedByHand(cloud, place, table, diameter, opacity).forEach((pixel, at) => {
        const alpha = bytes[4 * at + 3] / 255;
        const got = [0, 1, 2].map((k) => (bytes[4 * at + k] / 255) * alpha);
        [...got, alpha].forEach((value, k) => {
          assert.ok(Math.abs(value - pixel[k]) < error, `${diameter} ${opacity} ${twice} pixel ${at}: ${got} ${alpha} ${pixel}`);
        });
      });
    }
  }
});

test('points with the wanted flag lie above the others, whatever their order', () => {
  const place: Placement = { width: 9, height: 9, x: { center: 0, scale: 1, offset: 4.5 }, y: { center: 0, scale: 1, offset: 4.5 } };
  const cloud = cloudOf([0, 0], [0, 0], [0, 1]);
  const flags = flagsOf(Int32Array.of(0), 2)!;
  const rasteriser = new CpuRasteriser();
  rasteriser.clear(place, 5);
  const table = colorTable([[255, 0, 0], [0, 255, 0]], [], 256);
  rasteriser.draw(cloud, place, table, 5, 1, flags, 1);
  rasteriser.draw(cloud, place, table, 5, 1, flags, 0);
  const out = new Uint32Array(81);
  rasteriser.finish(place, out);
  assert.equal(out[40], packColor([255, 0, 0]));
  assert.equal(out[0], 0);
  assert.equal(flagsOf(new Int32Array(0), 2), null);
  assert.deepEqual([...flagsOf(Int32Array.of(1, 9), 2)!], [0, 1]);
});

test('an axis puts numbers where the scale does, in a deep zoom and far from 0, and leads back', () => {
  for (const [start, stop] of [[-1, 1], [3, -2], [1000, 1000.001], [1e30, 2e30], [-1e-30, 1e-30]]) {
    const pixelOf = (value: number) => 10 + ((value - start) / (stop - start)) * 600;
    const axis = axisOf(pixelOf, [start, stop], 2);
    for (const share of [0, 0.25, 1, 1.5]) {
      const value = start + share * (stop - start);
      assert.ok(Math.abs(toPixel(axis, value) - 2 * pixelOf(value)) < 0.05, `${start} ${stop} ${share}`);
      assert.ok(Math.abs(toValue(axis, 2 * pixelOf(value)) - value) <= 1e-6 * Math.abs(stop - start));
    }
  }
});

test('the extent is that of the points with two finite coordinates; one number alone gets room', () => {
  assert.deepEqual(extentOf(CLOUDS['some not finite']), { x: [0, 3], y: [0, 3], numFinite: 2 });
  assert.equal(extentOf(cloudOf([], [])).numFinite, 0);
  assert.deepEqual(roomy([2, 2]), [1.5, 2.5]);
  const [low, high] = roomy([1e20, 1e20]);
  assert.ok(low < 1e20 && high > 1e20);
  assert.deepEqual(roomy([-1, 4]), [-1, 4]);
});

test('arrow keys move the probe by a fiftieth of what is visible, and never out of it', () => {
  assert.deepEqual(probeMoved('ArrowRight', [], [0, 100], [10, 0]), [52, 5]);
  assert.deepEqual(probeMoved('ArrowUp', [20, 5], [0, 100], [0, 10]), [20, 5.2]);
  assert.deepEqual(probeMoved('ArrowDown', [20, 0.1], [0, 100], [0, 10]), [20, 0]);
  assert.deepEqual(probeMoved('ArrowLeft', [-7, 3], [0, 100], [0, 10]), [0, 3]);
  assert.deepEqual(probeMoved('Home', [-7, 3], [0, 100], [0, 10]), [50, 5]);
  assert.equal(probeMoved('a', [1, 1], [0, 1], [0, 1]), null);
  assert.equal(probeMoved('toString', [1, 1], [0, 1], [0, 1]), null);
});

test('a cloud is put into words', () => {
  const cloud = cloudOf([0, 1234.5, NaN], [1, 2, 3], [0, 7, 7]);
  assert.equal(countColors(cloud), 2);
  const words = describeCloud(cloud, extentOf(cloud), [3], 1, [0.12345, -2]);
  assert.equal(
    words,
    '3 points in 2 colours; x from 0 to 1230, y from 1 to 2; 1 point not drawn because a coordinate is not finite; ' +
      '1 colour hidden; 1 point selected; probe at x 0.123, y -2.',
  );
  assert.equal(describeCloud(cloudOf([], []), extentOf(cloudOf([], [])), [], 0, []), 'No points.');
  assert.match(describeCloud(cloudOf([1], [1]), extentOf(cloudOf([1], [1])), [], 0, []), /^1 point in 1 colour; x from 1 to 1/);
});

test('programs that play a graphics card are told from cards', () => {
  for (const name of ['ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero)))', 'llvmpipe (LLVM 15.0.6)', 'Microsoft Basic Render Driver']) {
    assert.ok(isSoftware(name));
  }
  for (const name of ['ANGLE (NVIDIA GeForce RTX 3060)', 'Mesa Intel(R) UHD Graphics 620', 'Apple M2']) {
    assert.ok(!isSoftware(name));
  }
});
