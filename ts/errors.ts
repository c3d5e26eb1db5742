/** The stable codes of every error that arrowlane throws; README.md says what each means and what to do. */
export type ErrorCode =
  | "ERR_ALIGNMENT"
  | "ERR_ARROW"
  | "ERR_BAD_ADDRESS"
  | "ERR_BAD_NAME"
  | "ERR_BIND"
  | "ERR_BUSY"
  | "ERR_CANCELLED"
  | "ERR_CLOSED"
  | "ERR_CONNECTION"
  | "ERR_COPY_REQUIRED"
  | "ERR_DAMAGED_DATA"
  | "ERR_DEVICE"
  | "ERR_DICTIONARY_OVERFLOW"
  | "ERR_DISPOSED"
  | "ERR_EVICTED"
  | "ERR_INTERNAL"
  | "ERR_INVALID_ARGUMENT"
  | "ERR_INVALID_ARROW"
  | "ERR_INVALID_DATA"
  | "ERR_INVALID_SCHEMA"
  | "ERR_IO"
  | "ERR_LEASE_ENDED"
  | "ERR_LEASE_REVOKED"
  | "ERR_MEMORY"
  | "ERR_NO_TRANSPORT"
  | "ERR_NOT_A_BATCH"
  | "ERR_NOT_FOUND"
  | "ERR_NOT_PERMITTED"
  | "ERR_OTHER_PROCESS"
  | "ERR_OTHER_USER"
  | "ERR_OUT_OF_MEMORY"
  | "ERR_OUT_OF_SPACE"
  | "ERR_PRODUCER"
  | "ERR_PROTOCOL"
  | "ERR_PUBLISHER_LOST"
  | "ERR_RELEASED"
  | "ERR_REMOTE"
  | "ERR_RUNTIME"
  | "ERR_SCHEMA"
  | "ERR_SCHEMA_MISMATCH"
  | "ERR_SYSTEM"
  | "ERR_TICKET"
  | "ERR_TIMEOUT"
  | "ERR_TOPIC_NOT_FOUND"
  | "ERR_TOPIC_TAKEN"
  | "ERR_TRANSPORT"
  | "ERR_TRANSPORT_UNAVAILABLE"
  | "ERR_UNAUTHENTICATED"
  | "ERR_UNKNOWN_FORMAT"
  | "ERR_UNKNOWN_OUTPUT"
  | "ERR_UNSAFE_FOLDER"
  | "ERR_UNSUPPORTED"
  | "ERR_UNSUPPORTED_PLATFORM"
  | "ERR_UNSUPPORTED_TYPE";

/** An error of arrowlane: a stable `code`, a sentence on what to do, and the cause where there is one. */
export class ArrowlaneError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
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

/** Thrown by every read of a batch that was taken away: by `leaseTimeout`, or by `close({ revoke: true })`. */
export class LeaseRevokedError extends ArrowlaneError {
  constructor(
    message = "this batch was revoked: it was held for longer than leaseTimeout, or its subscription was closed with revoke; dispose it sooner, or keep a copy() of what must live on",
    options?: { cause?: unknown },
  ) {
    super("ERR_LEASE_REVOKED", message, options);
  }
}

/** Thrown where a column has a type that apache-arrow cannot hold, or that cannot be written in place. */
export class UnsupportedTypeError extends ArrowlaneError {
  constructor(message: string, options?: { cause?: unknown }) {
    super("ERR_UNSUPPORTED_TYPE", message, options);
  }
}

/** Code and message of anything that was thrown. */
export function describe(thrown: unknown): string[] {
  try {
    const { code, message } = (thrown ?? {}) as { code?: unknown; message?: unknown };
    return [typeof code === "string" ? code : "ERR_PUBLISHER", String(message ?? thrown)];
  } catch {
    return ["ERR_PUBLISHER", "something was thrown that says nothing of itself"];
  }
}

/** The error of a sending that strictZeroCopy forbids. */
export function copyRequired(): ArrowlaneError {
  return new ArrowlaneError(
    "ERR_COPY_REQUIRED",
    "sending this would copy it: write it through `allocate`, or unset strictZeroCopy",
  );
}
