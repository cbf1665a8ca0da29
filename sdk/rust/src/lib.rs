//! What a byname plug-in in Rust needs: no allocator, no other crate. docs/plugins.md describes the interface.
//!
//! ```text
//! cargo build --release --target wasm32-unknown-unknown --examples
//! ```
//! A plug-in is a type with [`Plugin`], a `static` of it, and `byname_plugin::export!`. One data worker has one instance, and calls it
//! from one thread.
#![no_std]

/// Bytes that byname may use of the buffer.
pub const BUFFER_BYTES: usize = 65_600;

/// Numbers are little-endian, as all of WebAssembly is.
#[repr(C)]
pub struct Header {
    pub version: u16,
    pub header_length: u16,
    message_length: u32,
    pub capacity: u32,
    pub is_reply: u8,
    pub is_tcp: u8,
    /// 4 or 6.
    pub family: u8,
    /// Of a reply: 0 mesh, 1 cache, 2 stale, 3 upstream, 4 local.
    pub source: u8,
    pub address: [u8; 16],
    pub port: u16,
    pub qtype: u16,
    pub qclass: u16,
    name_offset: u16,
    pub now_ms: u64,
    pub max_reply_length: u16,
    /// 1 EDNS, 2 DO, 4 CD, 8 RD, 16 the client is on this machine.
    pub flags: u16,
    rcode: u16,
    extended_error: u16,
    ttl: u32,
    question_end: u16,
    zero: u16,
}

/// What becomes of a query.
#[repr(i32)]
pub enum Action {
    Pass = 0,
    Answer = 1,
    Rewrite = 2,
    Rcode = 3,
    Drop = 4,
}

/// A plug-in.
pub trait Plugin {
    /// Called once, with `config` of byname's configuration. An error refuses it.
    fn configure(&mut self, config: &[u8]) -> Result<(), i32>;
    /// Called for each query.
    fn query(&mut self, query: &mut Query) -> Action;
}

#[repr(C, align(8))]
struct Storage([u8; BUFFER_BYTES]);

static mut STORAGE: Storage = Storage([0; BUFFER_BYTES]);

#[doc(hidden)]
pub fn storage() -> *mut u8 {
    core::ptr::addr_of_mut!(STORAGE) as *mut u8
}

/// The query in the buffer.
pub struct Query(());

impl Query {
    #[doc(hidden)]
    pub fn in_buffer() -> Query {
        Query(())
    }

    pub fn header(&self) -> &Header {
        // byname has written it, and writes nothing while the plug-in runs.
        unsafe { &*(storage() as *const Header) }
    }

    fn header_mut(&mut self) -> &mut Header {
        unsafe { &mut *(storage() as *mut Header) }
    }

    fn message_mut(&mut self) -> &mut [u8] {
        let start = self.header().header_length as usize;
        unsafe { core::slice::from_raw_parts_mut(storage().add(start), BUFFER_BYTES - start) }
    }

    /// The message, as it is on the wire.
    pub fn message(&self) -> &[u8] {
        let start = self.header().header_length as usize;
        unsafe { core::slice::from_raw_parts(storage().add(start), self.header().message_length as usize) }
    }

    /// Name of the question in wire format, its root included.
    pub fn name(&self) -> &[u8] {
        let start = self.header().name_offset as usize;
        let end = self.header().question_end as usize - 4;
        &self.message()[start..end]
    }

    /// Denies the query. `extended_error` as in RFC 8914: 15 blocked, 17 filtered.
    pub fn deny(&mut self, rcode: u16, extended_error: Option<u16>) -> Action {
        let header = self.header_mut();
        header.rcode = rcode;
        header.extended_error = extended_error.unwrap_or(0xffff);
        Action::Rcode
    }

    /// Turns the query into a reply with one record of the question's name.
    pub fn answer(&mut self, rtype: u16, ttl: u32, data: &[u8]) -> Action {
        let name = self.header().name_offset;
        let end = self.header().question_end as usize;
        let message = self.message_mut();
        message[2] |= 0x80;
        message[3] = 0x80;
        message[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
        message[end..end + 2].copy_from_slice(&(0xc000 | name).to_be_bytes());
        message[end + 2..end + 4].copy_from_slice(&rtype.to_be_bytes());
        message[end + 4..end + 6].copy_from_slice(&[0, 1]);
        message[end + 6..end + 10].copy_from_slice(&ttl.to_be_bytes());
        message[end + 10..end + 12].copy_from_slice(&(data.len() as u16).to_be_bytes());
        message[end + 12..end + 12 + data.len()].copy_from_slice(data);
        self.header_mut().message_length = (end + 12 + data.len()) as u32;
        Action::Answer
    }

    /// Gives the question another name: `kept` bytes of its own, then `domain`. Passes the query on if that would be too long.
    pub fn rename(&mut self, kept: usize, domain: &[u8]) -> Action {
        if kept + domain.len() > 255 {
            return Action::Pass;
        }
        let name = self.header().name_offset as usize;
        let end = self.header().question_end as usize;
        let message = self.message_mut();
        let mut tail = [0; 4];
        tail.copy_from_slice(&message[end - 4..end]);
        let to = name + kept + domain.len();
        message[name + kept..to].copy_from_slice(domain);
        message[to..to + 4].copy_from_slice(&tail);
        message[6..12].fill(0);
        self.header_mut().message_length = (to + 4) as u32;
        Action::Rewrite
    }
}

/// How many bytes of `name` stand before `domain`: 0 if they are one name. None if the name is not at or below the domain.
pub fn bytes_above(name: &[u8], domain: &[u8]) -> Option<usize> {
    let mut at = 0;
    while name.len() - at > domain.len() {
        at += name[at] as usize + 1;
        if at >= name.len() {
            return None;
        }
    }
    name[at..].eq_ignore_ascii_case(domain).then_some(at)
}

/// Writes a name such as `ads.example` in wire format into `to`. Returns its bytes, None if it is no name.
pub fn parse_name(word: &[u8], to: &mut [u8]) -> Option<usize> {
    let word = word.strip_suffix(b".").unwrap_or(word);
    if word.is_empty() || word.len() > 253 || to.len() < word.len() + 2 {
        return None;
    }
    let mut at = 0;
    for label in word.split(|byte| *byte == b'.') {
        if label.is_empty() || label.len() > 63 {
            return None;
        }
        to[at] = label.len() as u8;
        to[at + 1..at + 1 + label.len()].copy_from_slice(label);
        at += label.len() + 1;
    }
    to[at] = 0;
    Some(at + 1)
}

/// The words of a configuration.
pub fn words(config: &[u8]) -> impl Iterator<Item = &[u8]> {
    config.split(|byte| *byte <= b' ').filter(|word| !word.is_empty())
}

/// A number in digits.
pub fn parse_number(word: &[u8]) -> Option<u32> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// An IPv4 address.
pub fn parse_address(word: &[u8]) -> Option<[u8; 4]> {
    let mut address = [0; 4];
    let mut parts = word.split(|byte| *byte == b'.');
    for byte in &mut address {
        *byte = core::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    }
    parts.next().is_none().then_some(address)
}

/// Bytes of the name that `names` begins with, its root included.
pub fn name_length(names: &[u8]) -> usize {
    let mut at = 0;
    while names[at] != 0 {
        at += names[at] as usize + 1;
    }
    at + 1
}

mod imports {
    #[link(wasm_import_module = "byname")]
    extern "C" {
        pub fn log(text: *const u8, length: u32);
        pub fn counter(id: u32, delta: u32);
        pub fn counter_name(id: u32, text: *const u8, length: u32);
        pub fn random() -> u32;
    }
}

/// A line in byname's log.
pub fn log(text: &str) {
    unsafe { imports::log(text.as_ptr(), text.len() as u32) }
}

/// Adds to a counter of the plug-in, 0 to 15.
pub fn count(id: u32, delta: u32) {
    unsafe { imports::counter(id, delta) }
}

/// Names a counter, while the plug-in is configured.
pub fn name_counter(id: u32, name: &str) {
    unsafe { imports::counter_name(id, name.as_ptr(), name.len() as u32) }
}

/// An unpredictable number.
pub fn random() -> u32 {
    unsafe { imports::random() }
}

/// Exports a plug-in: its type, and the constant that it begins as.
#[macro_export]
macro_rules! export {
    ($type:ty, $initial:expr) => {
        static mut PLUGIN: $type = $initial;

        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo) -> ! {
            core::arch::wasm32::unreachable()
        }

        #[no_mangle]
        pub extern "C" fn byname_abi() -> i32 {
            1
        }

        #[no_mangle]
        pub extern "C" fn byname_buffer() -> *mut u8 {
            $crate::storage()
        }

        #[no_mangle]
        pub extern "C" fn byname_configure(length: i32) -> i32 {
            let config = unsafe { core::slice::from_raw_parts($crate::storage(), length as usize) };
            let plugin = unsafe { &mut *core::ptr::addr_of_mut!(PLUGIN) };
            match $crate::Plugin::configure(plugin, config) {
                Ok(()) => 0,
                Err(code) => code,
            }
        }

        #[no_mangle]
        pub extern "C" fn byname_query(_length: i32) -> i32 {
            let plugin = unsafe { &mut *core::ptr::addr_of_mut!(PLUGIN) };
            $crate::Plugin::query(plugin, &mut $crate::Query::in_buffer()) as i32
        }
    };
}
