declare function require(path: string): { name: string; version: string };

const { name, version } = require('../../package.json');

export const MODULE_NAME = name;
export const MODULE_VERSION = version;

/** Counted up whenever the meaning of a synced trait changes; its twin is dlwidgets/_protocol.py. */
export const PROTOCOL = 1;
