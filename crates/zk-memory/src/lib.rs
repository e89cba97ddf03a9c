//! Gives memory back that a start or a burst of requests needed.
//!
//! An allocator keeps what is freed for the thread that had it, and what another thread frees until its owner asks
//! for more. After a million creates that is a fifth of what the nodes take. A thread that has nothing to do
//! any more calls [`give_back`]; one that uses a C++ library [`give_back_c`].
//!
//! A start reads arguments and files, opens RocksDB, recovers and spawns: most of a program of
//! 20 MB is touched once. The kernel counts those pages as resident until it runs short of
//! memory elsewhere, which is when nobody wants to wait for it.

use std::ffi::c_void;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MmapAdvise, madvise};

/// Lets go of the pages of this program's code and of its libraries' code. What is needed again
/// comes back from the kernel's page cache at its first use, 16 pages at a time. Gives the bytes
/// of the mappings.
///
/// # Errors
/// If `/proc/self/maps` cannot be read, or a mapping has changed meanwhile. Nothing is lost then.
pub fn forget_code() -> io::Result<usize> {
    let mut bytes = 0;
    for (start, len) in fs::read_to_string("/proc/self/maps")?.lines().filter_map(code_of_file) {
        let Some(start) = NonNull::new(start.get() as *mut c_void) else { continue };
        // SAFETY: the mapping is of a file, private, and cannot be written, so that its pages are
        // those of the file and the kernel reads the same bytes again. A debugger's breakpoints,
        // which are the exception, would go. Relocated data is never executable.
        #[allow(unsafe_code)]
        unsafe {
            madvise(start, len, MmapAdvise::MADV_DONTNEED)?;
        }
        bytes += len;
    }
    Ok(bytes)
}

/// Gives the kernel back what this thread and others have freed of what was allocated in this thread. Took
/// 0.05 to 0.4 ms after some hundred thousand requests. If the program has another allocator, nothing happens.
pub fn give_back() {
    // SAFETY: it takes no pointers, and may be called from any thread at any time.
    #[allow(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}

/// One heap for all threads of libraries in C and C++, as [`give_back_c`] wants it: of glibc's heaps of single
/// threads it leaves the end, where most of what is free is. To be called before there are threads.
pub fn one_heap_for_c() {
    // SAFETY: it takes no pointers, and may be called at any time.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Gives the kernel back what all threads have freed of what libraries in C and C++ allocated.
pub fn give_back_c() {
    // SAFETY: it takes no pointers, and may be called from any thread at any time.
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Address and length of a line's mapping if it is executable, cannot be written, is private,
/// and is of a file.
fn code_of_file(line: &str) -> Option<(NonZeroUsize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (range, rights) = (words.next()?, words.next()?);
    let (inode, path) = (words.nth(2)?, words.next()?);
    if rights != "r-xp" || inode == "0" || !path.starts_with('/') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    Some((NonZeroUsize::new(start)?, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_files() {
        let some = "55d0c0a00000-55d0c1a00000 r-xp 00100000 fe:00 4711   /usr/bin/zkd";
        let expected = NonZeroUsize::new(0x55d0_c0a0_0000).map(|at| (at, 0x100_0000));
        assert_eq!(code_of_file(some), expected);
        for other in [
            "55d0c0a00000-55d0c1a00000 r--p 00100000 fe:00 4711   /usr/bin/zkd",
            "55d0c0a00000-55d0c1a00000 rwxp 00100000 fe:00 4711   /usr/bin/zkd",
            "55d0c0a00000-55d0c1a00000 r-xs 00100000 fe:00 4711   /usr/bin/zkd",
            "7ffd1a5f2000-7ffd1a5f4000 r-xp 00000000 00:00 0      [vdso]",
            "7ffd1a5f2000-7ffd1a5f4000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(code_of_file(other), None, "{other}");
        }
    }

    #[test]
    fn the_program_goes_on() {
        let file_kb = || -> usize {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse().unwrap()
        };
        let before = file_kb();
        assert!(forget_code().unwrap() > 0);
        let after = file_kb();
        assert!(after < before, "{before} kB before, {after} kB after");
        assert_eq!(code_of_file("still here"), None);
    }
}
