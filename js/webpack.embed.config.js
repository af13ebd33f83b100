// The bundle for exported pages: an AMD module of the models and views, without the JupyterLab plugin,
// and beside it the two scripts such a page needs that no Python wheel carries.
const fs = require('fs');
const path = require('path');

const out = path.resolve(__dirname, '../dlwidgets/embed');

const copied = {
  'require.js': require.resolve('requirejs/require.js'),
  'embed-amd.js': path.join(path.dirname(require.resolve('@jupyter-widgets/html-manager/package.json')), 'dist/embed-amd.js'),
};

class CopyScripts {
  apply(compiler) {
    compiler.hooks.afterEmit.tap('CopyScripts', () => {
      for (const [name, source] of Object.entries(copied)) {
        fs.copyFileSync(source, path.join(out, name));
      }
    });
  }
}

module.exports = {
  mode: 'production',
  devtool: false,
  entry: path.resolve(__dirname, 'lib/index.js'),
  output: { path: out, filename: 'dlwidgets.js', library: { type: 'amd', name: 'dlwidgets' }, clean: true },
  externals: ['@jupyter-widgets/base', '@jupyter-widgets/controls', 'bqplot'],
  module: { rules: [{ test: /\.css$/, use: ['style-loader', 'css-loader'] }] },
  performance: { hints: 'error', maxAssetSize: 300000, maxEntrypointSize: 300000 },
  plugins: [new CopyScripts()],
};
