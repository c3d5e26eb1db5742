//! Tokens that the server itself handed out after a handshake.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tonic::Status;

use crate::Identity;

/// How long a token is good for.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Most tokens; the one that ends first makes room.
const MOST: usize = 4096;

#[derive(Default)]
pub(crate) struct Tokens(Mutex<HashMap<String, (Identity, Instant)>>);

impl Tokens {
    /// A new token: 128 random bits as hexadecimal digits.
    pub fn hand_out(&self, identity: Identity) -> Result<String, Status> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|_| Status::internal("the system has no random numbers"))?;
        let token = format!("{:032x}", u128::from_be_bytes(bytes));
        let now = Instant::now();
        let mut tokens = self.0.lock();
        if tokens.len() >= MOST {
            tokens.retain(|_, (_, end)| *end > now);
        }
        if tokens.len() >= MOST {
            let first = tokens.iter().min_by_key(|(_, (_, end))| *end).map(|(token, _)| token.clone());
            first.and_then(|first| tokens.remove(&first));
        }
        tokens.insert(token.clone(), (identity, now + LIFETIME));
        Ok(token)
    }

    /// Whose token it is.
    pub fn find(&self, token: &str) -> Option<Identity> {
        let tokens = self.0.lock();
        let (identity, end) = tokens.get(token)?;
        (*end > Instant::now()).then(|| identity.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_until_there_are_too_many() {
        let tokens = Tokens::default();
        let first = tokens.hand_out("ada".into()).unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(tokens.find(&first).as_deref(), Some("ada"));
        assert!(tokens.find("x").is_none() && tokens.find("").is_none());
        for _ in 0..MOST {
            tokens.hand_out("grace".into()).unwrap();
        }
        assert!(tokens.find(&first).is_none());
        assert_eq!(tokens.0.lock().len(), MOST);
    }
}
