/** The columns of a batch whose schema the caller does not state: every name, of any type. */
// biome-ignore lint/suspicious/noExplicitAny: what is not known cannot be stated more narrowly
export type UnknownColumns = any;
