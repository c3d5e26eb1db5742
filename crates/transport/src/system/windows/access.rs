//! Who may enter a folder, and which file is which.

use std::{
    fs::{File, OpenOptions},
    io,
    os::windows::{ffi::OsStrExt, fs::OpenOptionsExt, io::AsRawHandle},
    path::Path,
    ptr,
};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::{
        ACCESS_ALLOWED_ACE, ACE_HEADER, ACL,
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, SDDL_REVISION_1,
            SE_FILE_OBJECT,
        },
        DACL_SECURITY_INFORMATION, GetAce, OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES,
    },
    Storage::FileSystem::{
        BY_HANDLE_FILE_INFORMATION, CreateDirectoryW, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
        GetFileInformationByHandle,
    },
    System::SystemServices::{ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE},
};

use super::user::{own_user, text_of};

/// The system itself and its administrators can enter everything, as root can elsewhere.
const ALMIGHTY: [&str; 2] = ["S-1-5-18", "S-1-5-32-544"];
/// Stand for the owner, who is looked at by itself.
const OWNERS: [&str; 2] = ["S-1-3-0", "S-1-3-4"];

/// A security descriptor that the system made; freed with this.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: both functions that make one say that it is to be freed like this; nobody else has it.
        unsafe { LocalFree(self.0) };
    }
}

/// Makes a folder that this user alone can enter, and what is in it; what the folder around it allows does not count.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`], among others.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    let own = own_user().map_err(io::Error::other)?;
    let wanted = wide(format!("D:P(A;OICI;FA;;;{own})(A;OICI;FA;;;SY)"));
    let mut made = ptr::null_mut();
    // SAFETY: a text that a NUL ends, and a place for a pointer; both outlive the call.
    let parsed = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            wanted.as_ptr(),
            SDDL_REVISION_1,
            &mut made,
            ptr::null_mut(),
        )
    };
    if parsed == 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = Descriptor(made);
    let attributes = SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor.0,
        bInheritHandle: 0,
    };
    let path = wide(path);
    // SAFETY: a text that a NUL ends, and attributes whose descriptor is whole; all of it outlives the call.
    if unsafe { CreateDirectoryW(path.as_ptr(), &attributes) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Why others than this user could enter a folder; `None` when they cannot.
pub(crate) fn others_may_enter(path: &Path) -> io::Result<Option<String>> {
    let own = own_user().map_err(io::Error::other)?;
    let (mut owner, mut list, mut made) = (ptr::null_mut(), ptr::null_mut::<ACL>(), ptr::null_mut());
    let (name, asked) = (wide(path), OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION);
    // SAFETY: a text that a NUL ends, and places for pointers; all of them outlive the call.
    let failed = unsafe {
        GetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            asked,
            &mut owner,
            ptr::null_mut(),
            &mut list,
            ptr::null_mut(),
            &mut made,
        )
    };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed as i32));
    }
    let _descriptor = Descriptor(made);
    // SAFETY: the owner lies in the descriptor, which is kept.
    let owner = unsafe { text_of(owner)? };
    if owner != own && !ALMIGHTY.contains(&&*owner) {
        return Ok(Some(format!("it belongs to {owner}")));
    }
    if list.is_null() {
        return Ok(Some("everybody may enter it".into()));
    }
    // SAFETY: the list lies in the descriptor, which is kept.
    let entries = unsafe { (*list).AceCount };
    for index in 0..u32::from(entries) {
        // SAFETY: as above, and there are so many entries.
        let allowed = unsafe { allowed_to(list, index)? };
        let fits = |who: &str| who == own || ALMIGHTY.contains(&who) || OWNERS.contains(&who);
        match allowed {
            Entry::Allows(who) if !fits(&who) => return Ok(Some(format!("{who} may enter it"))),
            Entry::Strange(kind) => return Ok(Some(format!("its access list has an entry of kind {kind}"))),
            Entry::Allows(_) | Entry::Denies => {}
        }
    }
    Ok(None)
}

/// An entry of an access list.
enum Entry {
    Allows(String),
    Denies,
    /// It may allow something, in a way that is not looked into.
    Strange(u8),
}

/// Reads an entry.
///
/// # Safety
/// The list is whole, stays through the call, and has that many entries.
unsafe fn allowed_to(list: *const ACL, index: u32) -> io::Result<Entry> {
    let mut entry = ptr::null_mut();
    // SAFETY: the list is whole, as the caller promises; the place for a pointer outlives the call.
    if unsafe { GetAce(list, index, &mut entry) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: every entry begins with its header.
    let kind = unsafe { (*entry.cast::<ACE_HEADER>()).AceType };
    match u32::from(kind) {
        ACCESS_DENIED_ACE_TYPE => Ok(Entry::Denies),
        // SAFETY: the kind says that it is such an entry, at whose end the identifier lies.
        ACCESS_ALLOWED_ACE_TYPE => unsafe {
            let identifier = &raw mut (*entry.cast::<ACCESS_ALLOWED_ACE>()).SidStart;
            text_of(identifier.cast()).map(Entry::Allows)
        },
        _ => Ok(Entry::Strange(kind)),
    }
}

/// Volume and number of a file, which may be a socket; `None` where there is none.
pub(crate) fn file_identity(path: &Path) -> Option<(u64, u64)> {
    let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
    let file: File = OpenOptions::new().access_mode(0).custom_flags(flags).open(path).ok()?;
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: an open file, and a place for what is found, which outlive the call.
    if unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut found) } == 0 {
        return None;
    }
    let number = u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow);
    Some((u64::from(found.dwVolumeSerialNumber), number))
}

/// As the system reads text: two bytes a unit, and a NUL behind it.
fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
