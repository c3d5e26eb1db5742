import type * as Layer from "./arrow/index.js";
import { ArrowlaneError } from "./errors.js";

/** What ts/arrow exports. */
export type ArrowLayer = typeof Layer;

let layer: ArrowLayer | undefined;

/** Called by the entry point, so that the command line works where apache-arrow is not installed. */
export function useArrow(loaded: ArrowLayer): void {
  layer = loaded;
}

/** The layer to apache-arrow. */
export function arrow(): ArrowLayer {
  if (layer !== undefined) return layer;
  throw new ArrowlaneError(
    "ERR_INTERNAL",
    "apache-arrow was asked for where it is not loaded; please report this",
  );
}

/** Whether apache-arrow is there. */
export function hasArrow(): boolean {
  return layer !== undefined;
}
