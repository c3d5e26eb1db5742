//! Errors as JavaScript sees them: `code` is stable, `message` is for people.

use arrowlane_plane::PlaneError;

/// An error with a code of our own. `napi` puts the status into `code`.
pub type CodedError = napi::Error<String>;
/// The result of a native function.
pub type Result<T> = std::result::Result<T, CodedError>;

/// An error of the plane.
pub fn plane(error: PlaneError) -> CodedError {
    coded(error.code(), &error)
}

/// Any error, with its causes in the message.
pub fn coded(code: &str, error: &dyn std::error::Error) -> CodedError {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = next.source();
    }
    napi::Error::new(code.to_owned(), message)
}

/// A handle that stands for nothing: a mistake in our own TypeScript.
pub fn stale(what: &str) -> CodedError {
    napi::Error::new("ERR_INTERNAL".to_owned(), format!("no such {what}; please report this"))
}

/// An error of Node-API itself.
pub fn node(error: napi::Error) -> CodedError {
    napi::Error::new("ERR_INTERNAL".to_owned(), error.to_string())
}
