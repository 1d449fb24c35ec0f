//! Clients that show their credentials to us: the other side of SASL, PLAIN and SCRAM.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2, rand};
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::mechanisms::scram::properties::ScramStoredPassword;
use rsasl::prelude::Session;
use rsasl::prelude::{Mechname, SASLConfig, SASLServer, SessionError};
use rsasl::property::{AuthId, AuthzId, Password};
use rsasl::validate::{Validate, Validation, ValidationError};
use secrecy::{ExposeSecret, SecretString};

use crate::security::{PasswordMechanism, Word, has_whole_attributes};

/// Who may come in, and how they show that it is they.
#[derive(Clone)]
pub struct Users {
    mechanisms: Vec<PasswordMechanism>,
    config: Arc<SASLConfig>,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("mechanisms", &self.mechanisms).finish_non_exhaustive()
    }
}

/// The most that Kafka's own tools set.
const ITERATIONS: u32 = 16_384;
const SALT: usize = 32;

impl Users {
    /// Users by name.
    ///
    /// # Errors
    ///
    /// Says which user can't come in.
    pub fn new(
        mechanisms: Vec<PasswordMechanism>,
        users: impl IntoIterator<Item = (String, SecretString)>,
    ) -> Result<Self, String> {
        let mut known = HashMap::new();
        for (name, password) in users {
            if name.is_empty() || password.expose_secret().is_empty() {
                return Err(format!("user `{name}` needs a name and a password"));
            }
            // SCRAM writes both otherwise (RFC 5802, 5.1).
            if name.contains([',', '=']) {
                return Err(format!("the name of user `{name}` has a `,` or `=` in it"));
            }
            let sha256 = Keys::new(&password, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256)?;
            let sha512 = Keys::new(&password, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512)?;
            known.insert(name, User { password, sha256, sha512 });
        }
        let made_up = hmac::Key::generate(hmac::HMAC_SHA512, &rand::SystemRandom::new())
            .map_err(|_| "there are no random numbers".to_owned())?;
        let book = Book { known, made_up };
        let config = SASLConfig::builder().with_defaults().with_callback(book);
        Ok(Self { mechanisms, config: config.map_err(|why| why.to_string())? })
    }

    /// The names of the mechanisms, as SaslHandshake has them.
    pub fn mechanisms(&self) -> impl Iterator<Item = &'static str> {
        self.mechanisms.iter().map(|it| it.name())
    }

    /// Begins an exchange, if the mechanism is one of ours.
    pub fn begin(&self, mechanism: &str) -> Option<Login> {
        self.mechanisms().find(|it| *it == mechanism)?;
        let name = Mechname::parse(mechanism.as_bytes()).ok()?;
        let server = SASLServer::<Named>::new(Arc::clone(&self.config));
        let session = server.start_suggested(name).ok()?;
        let due = (mechanism != PasswordMechanism::Plain.name()).then_some(Word::ClientFirst);
        Some(Login { session, due })
    }
}

/// One client's exchange.
pub struct Login {
    session: Session<Named>,
    /// What is due next, in SCRAM.
    due: Option<Word>,
}

/// What follows from a client's word.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// It has to be told this, and will say more.
    More(Vec<u8>),
    /// It is who it says, and is told this last.
    In {
        /// Its name.
        user: String,
        /// The last word.
        told: Vec<u8>,
    },
    /// It is not. The reason is not told: a wrong name and a wrong password must look the same.
    Refused,
}

impl Login {
    /// Hears a client's word.
    pub fn hear(&mut self, said: &[u8]) -> Turn {
        if self.due.is_some_and(|which| !has_whole_attributes(said, which)) {
            return Turn::Refused;
        }
        self.due = self.due.map(|_| Word::Other);
        let mut told = Vec::new();
        let Ok(state) = self.session.step(Some(said), &mut told) else { return Turn::Refused };
        if state.is_running() {
            return Turn::More(told);
        }
        match self.session.validation() {
            Some(user) => Turn::In { user, told },
            None => Turn::Refused,
        }
    }
}

struct User {
    password: SecretString,
    sha256: Keys,
    sha512: Keys,
}

/// What a server of SCRAM has to know (RFC 5802, 3).
struct Keys {
    salt: [u8; SALT],
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    fn new(
        password: &SecretString,
        hmac: hmac::Algorithm,
        pbkdf2: pbkdf2::Algorithm,
    ) -> Result<Self, String> {
        let mut salt = [0; SALT];
        rand::fill(&mut salt).map_err(|_| "there are no random numbers".to_owned())?;
        let hash = hmac.digest_algorithm();
        let mut salted = vec![0; hash.output_len()];
        let iterations = NonZeroU32::new(ITERATIONS).expect("it is not zero");
        let password = password.expose_secret().as_bytes();
        pbkdf2::derive(pbkdf2, iterations, &salt, password, &mut salted);
        let key = hmac::Key::new(hmac, &salted);
        let client = hmac::sign(&key, b"Client Key");
        let stored = digest::digest(hash, client.as_ref()).as_ref().to_vec();
        let server = hmac::sign(&key, b"Server Key").as_ref().to_vec();
        Ok(Self { salt, stored, server })
    }

    fn password(&self) -> ScramStoredPassword<'_> {
        ScramStoredPassword::new(ITERATIONS, &self.salt, &self.stored, &self.server)
    }
}

/// The users, as the exchange asks for them.
struct Book {
    known: HashMap<String, User>,
    /// What unknown users are told comes from it, so that they look like those with a wrong password:
    /// each has a salt, and always the same one.
    made_up: hmac::Key,
}

/// An exchange ends with a user's name.
struct Named;

impl Validation for Named {
    type Value = String;
}

impl SessionCallback for Book {
    fn callback(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let name = context.get_ref::<AuthId>().unwrap_or_default();
        let user = self.known.get(name);
        let made_up = hmac::sign(&self.made_up, name.as_bytes());
        let made_up = |length: usize| {
            let (salt, key) = made_up.as_ref().split_at(SALT);
            let key = [key, key].concat();
            let salt = salt.try_into().expect("SHA-512 has twice as many bytes");
            Keys { salt, stored: key[..length].to_vec(), server: key[..length].to_vec() }
        };
        match (session.mechanism().mechanism.as_str(), user) {
            ("SCRAM-SHA-256", Some(user)) => {
                request.satisfy::<ScramStoredPassword>(&user.sha256.password())?
            }
            ("SCRAM-SHA-512", Some(user)) => {
                request.satisfy::<ScramStoredPassword>(&user.sha512.password())?
            }
            ("SCRAM-SHA-256", None) => {
                request.satisfy::<ScramStoredPassword>(&made_up(32).password())?
            }
            ("SCRAM-SHA-512", None) => {
                request.satisfy::<ScramStoredPassword>(&made_up(64).password())?
            }
            _ => return Ok(()),
        };
        Ok(())
    }

    fn validate(
        &self,
        session: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        let Some(name) = context.get_ref::<AuthId>() else { return Ok(()) };
        // Nobody may act as another here.
        if context.get_ref::<AuthzId>().is_some_and(|it| !it.is_empty() && it != name) {
            return Ok(());
        }
        let Some(user) = self.known.get(name) else { return Ok(()) };
        // SCRAM has proved it by now.
        if session.mechanism().mechanism.as_str() == "PLAIN" {
            let shown = context.get_ref::<Password>().unwrap_or_default();
            let password = user.password.expose_secret().as_bytes();
            if constant_time::verify_slices_are_equal(shown, password).is_err() {
                return Ok(());
            }
        }
        validate.with::<Named, _>(|| Ok(name.to_owned()))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sasl;
    use crate::security::Exchange;

    const ALL: [PasswordMechanism; 3] =
        [PasswordMechanism::Plain, PasswordMechanism::ScramSha256, PasswordMechanism::ScramSha512];

    /// How our own client fares with a name and a password.
    async fn outcome(users: &Users, mechanism: PasswordMechanism, name: &str, key: &str) -> Turn {
        let (username, password) = (name.to_owned(), key.to_owned().into());
        let sasl = Sasl::Password { mechanism, username, password };
        let mut login = users.begin(mechanism.name()).unwrap();
        let mut exchange = sasl.begin().await.unwrap();
        let mut said = exchange.step(None).unwrap().unwrap();
        loop {
            match login.hear(&said) {
                Turn::More(told) => said = exchange.step(Some(&told)).unwrap().unwrap_or_default(),
                Turn::In { user, told } => {
                    // SCRAM's server proves itself too.
                    exchange.step(Some(&told)).unwrap();
                    return Turn::In { user, told: Vec::new() };
                }
                Turn::Refused => return Turn::Refused,
            }
        }
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_comes_in() {
        let known = [("alice", "secret"), ("bob", "öther")];
        let known = known.map(|(name, key)| (name.to_owned(), key.to_owned().into()));
        let users = Users::new(ALL.to_vec(), known).unwrap();
        for mechanism in ALL {
            for (name, key) in [("alice", "secret"), ("bob", "öther")] {
                let user = name.to_owned();
                let wanted = Turn::In { user, told: Vec::new() };
                assert_eq!(outcome(&users, mechanism, name, key).await, wanted, "{mechanism:?}");
            }
            // Nobody learns who is known here.
            if mechanism != PasswordMechanism::Plain {
                let told = |name: &str| {
                    let said = format!("n,,n={name},r=abc");
                    match users.begin(mechanism.name()).unwrap().hear(said.as_bytes()) {
                        Turn::More(told) => String::from_utf8(told).unwrap(),
                        other => panic!("{other:?}"),
                    }
                };
                let salt = |name: &str| told(name).split(',').skip(1).collect::<String>();
                assert_eq!((salt("alice"), salt("carol")), (salt("alice"), salt("carol")));
                assert_eq!(salt("alice").len(), salt("carol").len());
            }
            for (name, key) in [("alice", "öther"), ("carol", "secret"), ("alice", "secre")] {
                let found = outcome(&users, mechanism, name, key).await;
                assert_eq!(found, Turn::Refused, "{mechanism:?} {name} {key}");
            }
            for nonsense in [&b""[..], b"\0", b"n,,", b"n,,n=alice", &[0xff; 300]] {
                let mut login = users.begin(mechanism.name()).unwrap();
                assert_eq!(login.hear(nonsense), Turn::Refused, "{mechanism:?} {nonsense:?}");
            }
        }
        let other = Users::new(vec![PasswordMechanism::ScramSha512], []).unwrap();
        assert!(other.begin("PLAIN").is_none());
        // Somebody else's rights can't be asked for.
        let mut login = users.begin("PLAIN").unwrap();
        assert_eq!(login.hear(b"bob\0alice\0secret"), Turn::Refused);
        assert_eq!(
            users.begin("PLAIN").unwrap().hear(b"alice\0alice\0secret"),
            Turn::In { user: "alice".to_owned(), told: Vec::new() }
        );
    }

    /// Words that nearly are some.
    fn word() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            prop::sample::select(vec![
                "", "n", "y", "p=x", "n=alice", "r=", "r=abc", "c=biws", "p=", "p=AAAA", "a",
                "a=b", "m", "m=1", "s=QQ==", "i=4096", "i=", "v=AA==", "e=x", "=", "\0",
                "n=\u{fc}",
            ])
            .prop_map(|it| it.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..5),
        ];
        prop::collection::vec(part, 0..6).prop_map(|it| it.join(&b','))
    }

    proptest! {
        #[test]
        fn no_word_panics(first in word(), second in word(), heard in word()) {
            let known = [("alice".to_owned(), "secret".to_owned().into())];
            let users = Users::new(ALL.to_vec(), known).unwrap();
            for mechanism in ALL {
                let mut login = users.begin(mechanism.name()).unwrap();
                if let Turn::More(_) = login.hear(&first) {
                    login.hear(&second);
                }
                let mut login = users.begin(mechanism.name()).unwrap();
                if let Turn::More(_) = login.hear(b"n,,n=alice,r=abc") {
                    login.hear(&second);
                }
                let (username, password) = ("alice".to_owned(), "secret".to_owned().into());
                let sasl = Sasl::Password { mechanism, username, password };
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let mut exchange: Exchange = runtime.block_on(sasl.begin()).unwrap();
                exchange.step(None).unwrap();
                if exchange.step(Some(&heard)).is_ok() {
                    let _ = exchange.step(Some(&second));
                }
            }
        }
    }
}
