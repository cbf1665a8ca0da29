//! Another address for some clients. config: "10.1.0.0/16 api.example 10.9.9.9", network, name and address, any number of times;
//! the first that fits counts. A name is meant without those below it. AAAA gets NODATA, so that clients take the address.
#![no_std]
#![no_main]

use byname_plugin::{bytes_above, parse_address, parse_name, parse_number, words, Action, Plugin, Query};

const A: u16 = 1;
const AAAA: u16 = 28;
const MOST: usize = 200;

#[derive(Clone, Copy)]
struct View {
    network: u32,
    mask: u32,
    address: [u8; 4],
    name: [u8; 256],
    length: usize,
}

const NONE: View = View { network: 0, mask: 0, address: [0; 4], name: [0; 256], length: 0 };

struct Views {
    views: [View; MOST],
    used: usize,
}

impl Plugin for Views {
    fn configure(&mut self, config: &[u8]) -> Result<(), i32> {
        let mut words = words(config);
        while let Some(prefix) = words.next() {
            let view = self.views.get_mut(self.used).ok_or(2)?;
            let mut parts = prefix.splitn(2, |byte| *byte == b'/');
            view.network = u32::from_be_bytes(parse_address(parts.next().ok_or(1)?).ok_or(1)?);
            let bits = match parts.next() {
                Some(digits) => parse_number(digits).filter(|bits| *bits <= 32).ok_or(1)?,
                None => 32,
            };
            view.mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            view.length = parse_name(words.next().ok_or(1)?, &mut view.name).ok_or(1)?;
            view.address = parse_address(words.next().ok_or(1)?).ok_or(1)?;
            self.used += 1;
        }
        Ok(())
    }

    fn query(&mut self, query: &mut Query) -> Action {
        let header = query.header();
        let qtype = header.qtype;
        if header.family != 4 || (qtype != A && qtype != AAAA) {
            return Action::Pass;
        }
        let client = u32::from_be_bytes([header.address[0], header.address[1], header.address[2], header.address[3]]);
        for view in &self.views[..self.used] {
            if (client ^ view.network) & view.mask != 0 || bytes_above(query.name(), &view.name[..view.length]) != Some(0) {
                continue;
            }
            return if qtype == AAAA { query.deny(0, None) } else { query.answer(A, 30, &view.address) };
        }
        Action::Pass
    }
}

byname_plugin::export!(Views, Views { views: [NONE; MOST], used: 0 });
