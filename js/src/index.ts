/** The registry: every model and view that Python may name, one line a file. */
import '../style/index.css';
import '../style/keys.css';
import '../style/dropout.css';
import '../style/gradient_flow.css';
import '../style/latent_space.css';

export * from './version';
export { DecodedGridModel } from './latent/decoded_grid';
export { DecodedPictureModel, DecodedPictureView } from './latent/decoded_picture';
export { FilmstripModel, FilmstripView } from './latent/filmstrip';
export { PointLegendModel, PointLegendView } from './latent/legend';
export { FieldMapModel } from './marks/field_map';
export { Manifold, ManifoldModel } from './marks/manifold';
export { PointCloud } from './marks/point_cloud';
export { PointCloudModel } from './marks/point_cloud_model';
export { Raster } from './marks/raster';
export { RasterModel } from './marks/raster_model';
export { CellReadoutModel, CellReadoutView } from './widgets/cell_readout';
export { ReadoutModel, ReadoutView } from './widgets/readout';
export { ExhibitModel, ExhibitView } from './widgets/exhibit';
