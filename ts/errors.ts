/** The stable codes of every error that arrowlane throws. */
export type ErrorCode =
  | "ERR_COPY_REQUIRED"
  | "ERR_DISPOSED"
  | "ERR_INVALID_ARGUMENT"
  | "ERR_INVALID_DATA"
  | "ERR_OUT_OF_MEMORY"
  | "ERR_OUT_OF_SPACE"
  | "ERR_UNSUPPORTED_TYPE";

/** An error of arrowlane: a stable `code`, a sentence on what to do, and the cause where there is one. */
export class ArrowlaneError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** Thrown by every read of a batch after its handle was disposed. */
export class DisposedError extends ArrowlaneError {
  constructor(
    message = "this batch was disposed: read it before dispose(), or keep a copy() of what must live on",
    options?: { cause?: unknown },
  ) {
    super("ERR_DISPOSED", message, options);
  }
}

/** Thrown where a column has a type that apache-arrow cannot hold. */
export class UnsupportedTypeError extends ArrowlaneError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("ERR_UNSUPPORTED_TYPE", message, options);
  }
}
