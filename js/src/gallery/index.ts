import { dropout } from './dropout';
import type { GalleryEntry } from './exhibit';
import { gradientFlow } from './gradient_flow';
import { latentSpace } from './latent_space';
import { receptiveField } from './receptive_field';

/** One entry an exhibit, in the order in which the palette shows them. */
export const gallery: GalleryEntry[] = [receptiveField, gradientFlow, dropout, latentSpace];
