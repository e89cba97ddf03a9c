//! The mechanism GSSAPI, both sides (RFC 4752), with Kerberos alone and no security layer behind the
//! login: tokens of Kerberos until both sides have a context, then the layer is agreed on in sealed
//! messages, in the last of which the dialling side says under whose name it wants to act.
//!
//! Every step may have to wait: see `pool`.
//!
//! ref: com.sun.security.sasl.gsskerb.GssKrb5Server, GssKrb5Client.

use zk_gssapi::{Context, Credentials};

/// Longest token, in bytes: twice what the largest Kerberos ticket takes.
pub const MAX_TOKEN: usize = zk_proto::limits::MAX_AUTH_TOKEN;

/// The one layer that is offered and chosen: none. The other bytes are the size of what it could take.
const NO_LAYER: [u8; 4] = [1, 0, 0, 0];

/// Why a token is not taken. For the own log alone; the other side hears that it failed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Kerberos says no.
    #[error(transparent)]
    Kerberos(#[from] zk_gssapi::Error),
    /// It has no place for the layers.
    #[error("its message about layers is too short")]
    Short,
    /// It wants or offers nothing but layers that are not there.
    #[error("it insists on a security layer")]
    Layer,
    /// Something was said where nothing is to be said, or the exchange is over.
    #[error("its token is out of turn")]
    OutOfTurn,
    /// The name to act under is no text.
    #[error("the name that it wants to act under is not UTF-8")]
    Name,
}

/// Who proved to be somebody.
#[derive(Debug, PartialEq, Eq)]
pub struct Proven {
    /// The full name of the principal.
    pub principal: String,
    /// Whether it wants to act under another name.
    pub acts_as_other: bool,
}

/// What comes of a token.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// A token for the other side, which may be empty.
    Token(Vec<u8>),
    /// The exchange is over. There is nothing more to say.
    Proven(Proven),
}

/// The accepting side of one exchange.
#[derive(Debug)]
pub struct Acceptor {
    context: Context,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The other side's ticket is on its way.
    Ticket,
    /// It is this principal, and has to hear the proof of this side first.
    Proof(String),
    /// It has to choose a layer.
    Choice(String),
    Over,
}

impl Acceptor {
    /// Nothing was said yet.
    ///
    /// # Errors
    /// If there is no library.
    pub fn new() -> Result<Self, Refused> {
        Ok(Self { context: Context::new()?, stage: Stage::Ticket })
    }

    /// Takes a token. After an error there is nothing more to take.
    ///
    /// # Errors
    /// If it proves nobody.
    pub fn take(&mut self, own: &Credentials, token: &[u8]) -> Result<Taken, Refused> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Ticket => {
                let (step, peer) = self.context.accept(own, token)?;
                match peer {
                    None => self.stage = Stage::Ticket,
                    Some(peer) if step.token.is_empty() => return self.offer(peer),
                    Some(peer) => self.stage = Stage::Proof(peer),
                }
                Ok(Taken::Token(step.token))
            }
            Stage::Proof(peer) if token.is_empty() => self.offer(peer),
            Stage::Choice(peer) => {
                let choice = self.context.unwrap(token)?;
                let (head, name) = choice.split_first_chunk::<4>().ok_or(Refused::Short)?;
                if head[0] != NO_LAYER[0] {
                    return Err(Refused::Layer);
                }
                let name = std::str::from_utf8(name).map_err(|_| Refused::Name)?;
                let acts_as_other = !name.is_empty() && name != peer;
                Ok(Taken::Proven(Proven { principal: peer, acts_as_other }))
            }
            Stage::Proof(_) | Stage::Over => Err(Refused::OutOfTurn),
        }
    }

    fn offer(&mut self, peer: String) -> Result<Taken, Refused> {
        let offer = self.context.wrap(&NO_LAYER)?;
        self.stage = Stage::Choice(peer);
        Ok(Taken::Token(offer))
    }
}

/// The dialling side of one exchange.
#[derive(Debug)]
pub struct Initiator {
    context: Context,
    is_complete: bool,
    is_over: bool,
}

impl Initiator {
    /// Nothing was said yet.
    ///
    /// # Errors
    /// If there is no library.
    pub fn new() -> Result<Self, Refused> {
        Ok(Self { context: Context::new()?, is_complete: false, is_over: false })
    }

    /// Whether there is nothing more to say.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes a token, an empty one first, and gives the answer, which may be empty.
    ///
    /// # Errors
    /// If there is no ticket, or the other side does not prove that it is `target`.
    pub fn take(&mut self, own: &Credentials, target: &str, token: &[u8]) -> Result<Vec<u8>, Refused> {
        if self.is_over {
            return Err(Refused::OutOfTurn);
        }
        if !self.is_complete {
            let step = self.context.initiate(own, target, token)?;
            self.is_complete = step.is_complete;
            return Ok(step.token);
        }
        let offer = self.context.unwrap(token)?;
        let layers = *offer.first().filter(|_| offer.len() == NO_LAYER.len()).ok_or(Refused::Short)?;
        if layers & NO_LAYER[0] == 0 {
            return Err(Refused::Layer);
        }
        self.is_over = true;
        Ok(self.context.wrap(&[&NO_LAYER, own.principal().as_bytes()].concat())?)
    }
}
