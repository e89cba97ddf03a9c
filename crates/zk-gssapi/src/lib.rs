//! Kerberos by the system's GSSAPI library (MIT), which is opened when somebody asks for it: a
//! machine without Kerberos does not need it.
//!
//! Here is what a login by SASL's mechanism GSSAPI needs: credentials of a keytab, a security context of
//! either side, and the messages that it seals. What is said in them is not known here.
//!
//! Calls may read files and, on the side that dials, ask the KDC: they belong on a thread that may wait.
//!
//! Modules in reading order: `library` (the functions), this one (what holds what they give).
//! ref: RFC 2743, RFC 2744, RFC 4121.

mod library;

use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::null_mut;

use library::{Buffer, Library, StoreElement, StoreSet};

/// What did not work. The texts are the library's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library is not there, or is another one.
    #[error("no Kerberos library: {0} (Debian: apt-get install libgssapi-krb5-2)")]
    Library(String),
    /// The library says no.
    #[error("{doing}: {reason}")]
    Kerberos {
        /// What it should have done.
        doing: &'static str,
        /// Why it has not.
        reason: String,
    },
    /// A path or a name with a zero byte.
    #[error("a zero byte in {0}")]
    Zero(&'static str),
    /// The context does not seal what is said.
    #[error("the other side's tokens cannot be sealed")]
    NoIntegrity,
    /// The other side does not say who it is.
    #[error("the other side is anonymous")]
    Anonymous,
    /// The context is not there yet, or was there already.
    #[error("a token out of turn")]
    OutOfTurn,
}

/// Says where the system's Kerberos finds its configuration (`krb5.conf`), as `KRB5_CONFIG` does.
/// False: other threads run already and it is not there, and nothing was changed.
pub fn configure(path: &Path) -> bool {
    let is_alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if is_alone {
        // SAFETY: there is no other thread that could read the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var("KRB5_CONFIG", path);
        }
    }
    std::env::var_os("KRB5_CONFIG").is_some_and(|set| set == path.as_os_str())
}

/// The full name of a principal: with the realm of the system's configuration if it has none.
pub fn full_name(principal: &str) -> Result<String, Error> {
    Name::import(Library::get()?, principal)?.text()
}

/// A principal, as the library keeps it.
struct Name {
    library: &'static Library,
    raw: *mut c_void,
}

impl Name {
    /// Of a principal `name`, `name@REALM`, `service/host` or `service/host@REALM`.
    fn import(library: &'static Library, principal: &str) -> Result<Self, Error> {
        let (mut minor, mut raw) = (0, null_mut());
        let text = Buffer::of(principal.as_bytes());
        // SAFETY: all pointers are to values that live during the call, which keeps none of them.
        #[allow(unsafe_code)]
        let major = unsafe { (library.import_name)(&mut minor, &text, &library::PRINCIPAL, &mut raw) };
        library.check("understand the principal", major, minor)?;
        Self { library, raw }.completed()
    }

    /// As Kerberos has it: with the default realm if it has none. No name server is asked.
    fn completed(&self) -> Result<Self, Error> {
        let (mut minor, mut raw) = (0, null_mut());
        // SAFETY: the name is the library's own, and all else lives during the call.
        #[allow(unsafe_code)]
        let major =
            unsafe { (self.library.canonicalize_name)(&mut minor, self.raw, &library::KERBEROS, &mut raw) };
        self.library.check("complete the principal", major, minor)?;
        Ok(Self { library: self.library, raw })
    }

    fn text(&self) -> Result<String, Error> {
        let (mut minor, mut out) = (0, Buffer::EMPTY);
        // SAFETY: the name is the library's own, and all else lives during the call.
        #[allow(unsafe_code)]
        let major = unsafe { (self.library.display_name)(&mut minor, self.raw, &mut out, null_mut()) };
        let bytes = self.library.take(out);
        self.library.check("read a name", major, minor)?;
        String::from_utf8(bytes)
            .map_err(|_| Error::Kerberos { doing: "read a name", reason: "it is not UTF-8".to_owned() })
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: it is the library's own, and nobody uses it any more.
        #[allow(unsafe_code)]
        unsafe {
            (self.library.release_name)(&mut minor, &mut self.raw);
        }
    }
}

/// What proves who this side is.
pub struct Credentials {
    library: &'static Library,
    raw: *mut c_void,
    principal: String,
}

// SAFETY: the library locks its credentials, and threads may share them (MIT, since 1.10).
#[allow(unsafe_code)]
unsafe impl Send for Credentials {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Credentials {}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("principal", &self.principal).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Of a service that others log in to. Without a keytab the system's own counts.
    ///
    /// # Errors
    /// If there is no library, or the keytab cannot be read or has no key of the principal.
    pub fn accept(principal: &str, keytab: Option<&Path>) -> Result<Self, Error> {
        let keytab = keytab.map(|path| (c"keytab".to_owned(), path));
        Self::acquire(principal, &keytab.into_iter().collect::<Vec<_>>(), library::ACCEPT)
    }

    /// Of somebody who logs in with the key of a keytab. Tickets stay in this process.
    ///
    /// # Errors
    /// If there is no library, or the keytab cannot be read or has no key of the principal.
    pub fn initiate(principal: &str, keytab: Option<&Path>) -> Result<Self, Error> {
        let keytab = keytab.map(|path| (c"client_keytab".to_owned(), path));
        // It takes tickets of one principal.
        let cache = format!("MEMORY:{}", full_name(principal)?);
        let cache = (c"ccache".to_owned(), Path::new(&cache));
        Self::acquire(principal, &keytab.into_iter().chain([cache]).collect::<Vec<_>>(), library::INITIATE)
    }

    /// The full name of whom they are of.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    fn acquire(principal: &str, store: &[(CString, &Path)], usage: i32) -> Result<Self, Error> {
        let library = Library::get()?;
        let name = Name::import(library, principal)?;
        let value = |path: &Path| {
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Error::Zero("the keytab's path"))
        };
        let values = store.iter().map(|(_, path)| value(path)).collect::<Result<Vec<_>, _>>()?;
        let elements: Vec<_> = store
            .iter()
            .zip(&values)
            .map(|((key, _), value)| StoreElement { key: key.as_ptr(), value: value.as_ptr() })
            .collect();
        let count = u32::try_from(elements.len()).expect("two at most");
        let store = StoreSet { count, elements: elements.as_ptr() };
        let mechanisms = library::OidSet { count: 1, elements: &library::KERBEROS };
        let (mut minor, mut raw) = (0, null_mut());
        // SAFETY: all pointers are to values that live during the call, which keeps none of them.
        #[allow(unsafe_code)]
        let major = unsafe {
            (library.acquire_cred_from)(
                &mut minor,
                name.raw,
                library::INDEFINITE,
                &mechanisms,
                usage,
                &store,
                &mut raw,
                null_mut(),
                null_mut(),
            )
        };
        library.check("read the keytab", major, minor)?;
        let principal = name.text()?;
        Ok(Self { library, raw, principal })
    }
}

impl Drop for Credentials {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: they are the library's own, and nobody uses them any more.
        #[allow(unsafe_code)]
        unsafe {
            (self.library.release_cred)(&mut minor, &mut self.raw);
        }
    }
}

/// What came of a token.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// For the other side; empty: it needs none.
    pub token: Vec<u8>,
    /// Whether the context is complete on this side.
    pub is_complete: bool,
}

/// A security context on its way, or complete.
pub struct Context {
    library: &'static Library,
    raw: *mut c_void,
    is_complete: bool,
}

// SAFETY: the library ties no context to a thread, and nothing here shares one: sealing needs the only
// reference too.
#[allow(unsafe_code)]
unsafe impl Send for Context {}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("is_complete", &self.is_complete).finish_non_exhaustive()
    }
}

impl Context {
    /// Nothing was said yet.
    ///
    /// # Errors
    /// If there is no library.
    pub fn new() -> Result<Self, Error> {
        Ok(Self { library: Library::get()?, raw: null_mut(), is_complete: false })
    }

    /// The accepting side takes a token. With the last one comes the full name of the other side.
    ///
    /// # Errors
    /// If it proves nobody.
    pub fn accept(&mut self, own: &Credentials, token: &[u8]) -> Result<(Step, Option<String>), Error> {
        if self.is_complete {
            return Err(Error::OutOfTurn);
        }
        let token = Buffer::of(token);
        let (mut minor, mut flags) = (0, 0);
        let mut peer = Name { library: self.library, raw: null_mut() };
        let mut out = Buffer::EMPTY;
        // SAFETY: context and credentials are the library's own, all else lives during the call,
        // which keeps none of it.
        #[allow(unsafe_code)]
        let major = unsafe {
            (self.library.accept_sec_context)(
                &mut minor,
                &mut self.raw,
                own.raw,
                &token,
                null_mut(),
                &mut peer.raw,
                null_mut(),
                &mut out,
                &mut flags,
                null_mut(),
                null_mut(),
            )
        };
        let step = self.step("take the ticket", major, minor, out, flags)?;
        let peer = if step.is_complete { Some(peer.text()?) } else { None };
        Ok((step, peer))
    }

    /// The dialling side takes a token, an empty one first, and may have to ask the KDC for a ticket.
    ///
    /// # Errors
    /// If there is no ticket, or the other side's token is not right.
    pub fn initiate(&mut self, own: &Credentials, target: &str, token: &[u8]) -> Result<Step, Error> {
        if self.is_complete {
            return Err(Error::OutOfTurn);
        }
        let target = Name::import(self.library, target)?;
        let token = Buffer::of(token);
        let (mut minor, mut flags) = (0, 0);
        let mut out = Buffer::EMPTY;
        // SAFETY: context, credentials and name are the library's own, all else lives during the
        // call, which keeps none of it.
        #[allow(unsafe_code)]
        let major = unsafe {
            (self.library.init_sec_context)(
                &mut minor,
                own.raw,
                &mut self.raw,
                target.raw,
                &library::KERBEROS,
                library::MUTUAL | library::INTEGRITY | library::REPLAY | library::SEQUENCE,
                library::INDEFINITE,
                null_mut(),
                &token,
                null_mut(),
                &mut out,
                &mut flags,
                null_mut(),
            )
        };
        self.step("get a ticket", major, minor, out, flags)
    }

    fn step(
        &mut self,
        doing: &'static str,
        major: u32,
        minor: u32,
        out: Buffer,
        flags: u32,
    ) -> Result<Step, Error> {
        // An error may have a token too, which would tell the other side why.
        let token = self.library.take(out);
        let is_complete = !self.library.check(doing, major, minor)?;
        if is_complete && flags & library::INTEGRITY == 0 {
            return Err(Error::NoIntegrity);
        }
        if is_complete && flags & library::ANONYMOUS != 0 {
            return Err(Error::Anonymous);
        }
        self.is_complete = is_complete;
        Ok(Step { token, is_complete })
    }

    /// Seals a message: readable, and only by who has the context's key.
    ///
    /// # Errors
    /// If the context is not complete.
    pub fn wrap(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.complete()?;
        let message = Buffer::of(message);
        let (mut minor, mut out) = (0, Buffer::EMPTY);
        // SAFETY: the context is the library's own and complete, all else lives during the call.
        #[allow(unsafe_code)]
        let major =
            unsafe { (self.library.wrap)(&mut minor, self.raw, 0, 0, &message, null_mut(), &mut out) };
        let sealed = self.library.take(out);
        self.library.check("seal a message", major, minor)?;
        Ok(sealed)
    }

    /// Opens a message that the other side has sealed.
    ///
    /// # Errors
    /// If the context is not complete, or somebody else has sealed it, or it comes again.
    pub fn unwrap(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        self.complete()?;
        let sealed = Buffer::of(sealed);
        let (mut minor, mut out) = (0, Buffer::EMPTY);
        // SAFETY: the context is the library's own and complete, all else lives during the call.
        #[allow(unsafe_code)]
        let major =
            unsafe { (self.library.unwrap)(&mut minor, self.raw, &sealed, &mut out, null_mut(), null_mut()) };
        let message = self.library.take(out);
        self.library.check("open a sealed message", major, minor)?;
        Ok(message)
    }

    fn complete(&self) -> Result<(), Error> {
        if self.is_complete { Ok(()) } else { Err(Error::OutOfTurn) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let mut minor = 0;
        // SAFETY: it is the library's own, or null, and nobody uses it any more.
        #[allow(unsafe_code)]
        unsafe {
            (self.library.delete_sec_context)(&mut minor, &mut self.raw, null_mut());
        }
    }
}
