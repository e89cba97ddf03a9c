//! The functions of the library, and the types that they take. (ref: RFC 2744, appendix A; MIT's
//! gssapi_ext.h for `gss_acquire_cred_from`)

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use crate::Error;

/// MIT's library, whose interface has this number since 1.0.
const FILE: &str = "libgssapi_krb5.so.2";

/// `gss_OID_desc`.
#[repr(C)]
pub struct OidDesc {
    length: u32,
    elements: *const c_void,
}

// SAFETY: nobody writes what it points to, which is static.
#[allow(unsafe_code)]
unsafe impl Sync for OidDesc {}

/// `gss_OID_set_desc`.
#[repr(C)]
pub struct OidSet {
    /// How many.
    pub count: usize,
    /// Which.
    pub elements: *const OidDesc,
}

/// `gss_buffer_desc`.
#[repr(C)]
pub struct Buffer {
    length: usize,
    value: *mut c_void,
}

impl Buffer {
    /// Nothing; what the library fills.
    pub const EMPTY: Self = Self { length: 0, value: null_mut() };

    /// For reading alone: it must not outlive `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len(), value: bytes.as_ptr().cast_mut().cast() }
    }
}

/// `gss_key_value_element_desc`.
#[repr(C)]
pub struct StoreElement {
    /// What.
    pub key: *const c_char,
    /// Which.
    pub value: *const c_char,
}

/// `gss_key_value_set_desc`.
#[repr(C)]
pub struct StoreSet {
    /// How many.
    pub count: u32,
    /// Which.
    pub elements: *const StoreElement,
}

/// 1.2.840.113554.1.2.2.
static KERBEROS_BYTES: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
/// 1.2.840.113554.1.2.2.1.
static PRINCIPAL_BYTES: [u8; 10] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x01];

/// The mechanism.
pub static KERBEROS: OidDesc = OidDesc { length: 9, elements: KERBEROS_BYTES.as_ptr().cast() };
/// The kind of name. (`GSS_KRB5_NT_PRINCIPAL_NAME`)
pub static PRINCIPAL: OidDesc = OidDesc { length: 10, elements: PRINCIPAL_BYTES.as_ptr().cast() };

/// `GSS_C_INITIATE`.
pub const INITIATE: c_int = 1;
/// `GSS_C_ACCEPT`.
pub const ACCEPT: c_int = 2;
/// `GSS_C_INDEFINITE`.
pub const INDEFINITE: u32 = u32::MAX;

/// `GSS_C_MUTUAL_FLAG`: the other side proves who it is too.
pub const MUTUAL: u32 = 2;
/// `GSS_C_REPLAY_FLAG`.
pub const REPLAY: u32 = 4;
/// `GSS_C_SEQUENCE_FLAG`.
pub const SEQUENCE: u32 = 8;
/// `GSS_C_INTEG_FLAG`.
pub const INTEGRITY: u32 = 32;
/// `GSS_C_ANON_FLAG`.
pub const ANONYMOUS: u32 = 64;

/// `GSS_S_CONTINUE_NEEDED`.
const CONTINUE: u32 = 1;
/// `GSS_C_GSS_CODE`.
const GSS_CODE: c_int = 1;
/// `GSS_C_MECH_CODE`.
const MECH_CODE: c_int = 2;

type Raw = *mut c_void;

/// The functions. Handles are opaque pointers.
pub struct Library {
    /// `gss_import_name`.
    pub import_name: unsafe extern "C" fn(*mut u32, *const Buffer, *const OidDesc, *mut Raw) -> u32,
    /// `gss_canonicalize_name`.
    pub canonicalize_name: unsafe extern "C" fn(*mut u32, Raw, *const OidDesc, *mut Raw) -> u32,
    /// `gss_display_name`.
    pub display_name: unsafe extern "C" fn(*mut u32, Raw, *mut Buffer, *mut *const OidDesc) -> u32,
    /// `gss_release_name`.
    pub release_name: unsafe extern "C" fn(*mut u32, *mut Raw) -> u32,
    /// `gss_acquire_cred_from`.
    pub acquire_cred_from: unsafe extern "C" fn(
        *mut u32,
        Raw,
        u32,
        *const OidSet,
        c_int,
        *const StoreSet,
        *mut Raw,
        *mut *const OidSet,
        *mut u32,
    ) -> u32,
    /// `gss_release_cred`.
    pub release_cred: unsafe extern "C" fn(*mut u32, *mut Raw) -> u32,
    /// `gss_accept_sec_context`.
    pub accept_sec_context: unsafe extern "C" fn(
        *mut u32,
        *mut Raw,
        Raw,
        *const Buffer,
        Raw,
        *mut Raw,
        *mut *const OidDesc,
        *mut Buffer,
        *mut u32,
        *mut u32,
        *mut Raw,
    ) -> u32,
    /// `gss_init_sec_context`.
    pub init_sec_context: unsafe extern "C" fn(
        *mut u32,
        Raw,
        *mut Raw,
        Raw,
        *const OidDesc,
        u32,
        u32,
        Raw,
        *const Buffer,
        *mut *const OidDesc,
        *mut Buffer,
        *mut u32,
        *mut u32,
    ) -> u32,
    /// `gss_delete_sec_context`.
    pub delete_sec_context: unsafe extern "C" fn(*mut u32, *mut Raw, *mut Buffer) -> u32,
    /// `gss_wrap`.
    pub wrap: unsafe extern "C" fn(*mut u32, Raw, c_int, u32, *const Buffer, *mut c_int, *mut Buffer) -> u32,
    /// `gss_unwrap`.
    pub unwrap: unsafe extern "C" fn(*mut u32, Raw, *const Buffer, *mut Buffer, *mut c_int, *mut u32) -> u32,
    display_status: unsafe extern "C" fn(*mut u32, u32, c_int, *const OidDesc, *mut u32, *mut Buffer) -> u32,
    release_buffer: unsafe extern "C" fn(*mut u32, *mut Buffer) -> u32,
}

impl Library {
    /// The library, opened by the first call and for ever.
    pub fn get() -> Result<&'static Self, Error> {
        static OPENED: OnceLock<Result<Library, String>> = OnceLock::new();
        let opened = OPENED.get_or_init(|| Self::open().map_err(|e| e.to_string()));
        opened.as_ref().map_err(|why| Error::Library(why.clone()))
    }

    fn open() -> Result<Self, libloading::Error> {
        // SAFETY: what the library does when it is opened is the system's: it is the one that every
        // program for Kerberos links. The functions have the types of RFC 2744 and of MIT's header
        // for the extension, and they stay, because the library is never closed.
        #[allow(unsafe_code)]
        unsafe {
            let file = libloading::Library::new(FILE)?;
            let opened = Self {
                import_name: *file.get(b"gss_import_name\0")?,
                canonicalize_name: *file.get(b"gss_canonicalize_name\0")?,
                display_name: *file.get(b"gss_display_name\0")?,
                release_name: *file.get(b"gss_release_name\0")?,
                acquire_cred_from: *file.get(b"gss_acquire_cred_from\0")?,
                release_cred: *file.get(b"gss_release_cred\0")?,
                accept_sec_context: *file.get(b"gss_accept_sec_context\0")?,
                init_sec_context: *file.get(b"gss_init_sec_context\0")?,
                delete_sec_context: *file.get(b"gss_delete_sec_context\0")?,
                wrap: *file.get(b"gss_wrap\0")?,
                unwrap: *file.get(b"gss_unwrap\0")?,
                display_status: *file.get(b"gss_display_status\0")?,
                release_buffer: *file.get(b"gss_release_buffer\0")?,
            };
            std::mem::forget(file);
            Ok(opened)
        }
    }

    /// Whether the exchange goes on, or what went wrong. Tokens that come again or late are wrong.
    pub fn check(&self, doing: &'static str, major: u32, minor: u32) -> Result<bool, Error> {
        match major {
            0 => Ok(false),
            CONTINUE => Ok(true),
            _ => {
                let texts = [self.status(major, GSS_CODE), self.status(minor, MECH_CODE)];
                Err(Error::Kerberos { doing, reason: texts.concat().join(": ") })
            }
        }
    }

    fn status(&self, code: u32, kind: c_int) -> Vec<String> {
        let mut texts = Vec::new();
        let mut more = 0;
        if code == 0 {
            return texts;
        }
        loop {
            let (mut minor, mut out) = (0, Buffer::EMPTY);
            // SAFETY: all pointers are to values that live during the call, which keeps none of them.
            #[allow(unsafe_code)]
            let major =
                unsafe { (self.display_status)(&mut minor, code, kind, &KERBEROS, &mut more, &mut out) };
            let text = self.take(out);
            if major == 0 {
                texts.push(String::from_utf8_lossy(&text).into_owned());
            }
            if major != 0 || more == 0 {
                break;
            }
        }
        texts
    }

    /// Copies what the library gave, and gives it back.
    pub fn take(&self, mut buffer: Buffer) -> Vec<u8> {
        if buffer.value.is_null() {
            return Vec::new();
        }
        let mut minor = 0;
        // SAFETY: the library has filled it, so it has this many bytes, which nobody else uses.
        #[allow(unsafe_code)]
        unsafe {
            let bytes = std::slice::from_raw_parts(buffer.value.cast::<u8>(), buffer.length).to_vec();
            (self.release_buffer)(&mut minor, &mut buffer);
            bytes
        }
    }
}
