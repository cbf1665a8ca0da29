//! Asks for other names, and all below them. config: "old.example new.example", in pairs.
#![no_std]
#![no_main]

use byname_plugin::{bytes_above, name_length, parse_name, words, Action, Plugin, Query};

struct Rename {
    names: [u8; 65_536],
    used: usize,
}

impl Plugin for Rename {
    fn configure(&mut self, config: &[u8]) -> Result<(), i32> {
        let mut count = 0;
        for word in words(config) {
            self.used += parse_name(word, &mut self.names[self.used..]).ok_or(1)?;
            count += 1;
        }
        // An odd number of names is a mistake.
        if count % 2 == 0 { Ok(()) } else { Err(1) }
    }

    fn query(&mut self, query: &mut Query) -> Action {
        let mut at = 0;
        while at < self.used {
            let middle = at + name_length(&self.names[at..]);
            let end = middle + name_length(&self.names[middle..]);
            if let Some(kept) = bytes_above(query.name(), &self.names[at..middle]) {
                return query.rename(kept, &self.names[middle..end]);
            }
            at = end;
        }
        Action::Pass
    }
}

byname_plugin::export!(Rename, Rename { names: [0; 65_536], used: 0 });
