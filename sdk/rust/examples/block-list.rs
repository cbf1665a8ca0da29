//! Denies names, and all below them. config: "ads.example tracker.example".
#![no_std]
#![no_main]

use byname_plugin::{bytes_above, count, name_counter, name_length, parse_name, words, Action, Plugin, Query};

const NXDOMAIN: u16 = 3;
const BLOCKED: u16 = 15;

/// Names in wire format, one after the other.
struct BlockList {
    names: [u8; 65_536],
    used: usize,
}

impl Plugin for BlockList {
    fn configure(&mut self, config: &[u8]) -> Result<(), i32> {
        name_counter(0, "blocked");
        for word in words(config) {
            self.used += parse_name(word, &mut self.names[self.used..]).ok_or(1)?;
        }
        Ok(())
    }

    fn query(&mut self, query: &mut Query) -> Action {
        let mut at = 0;
        while at < self.used {
            let length = name_length(&self.names[at..]);
            if bytes_above(query.name(), &self.names[at..at + length]).is_some() {
                count(0, 1);
                return query.deny(NXDOMAIN, Some(BLOCKED));
            }
            at += length;
        }
        Action::Pass
    }
}

byname_plugin::export!(BlockList, BlockList { names: [0; 65_536], used: 0 });
